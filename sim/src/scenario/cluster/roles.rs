//! What each machine of the cluster does: the same calls that the program makes.

use std::{path::PathBuf, sync::Arc, time::Duration};

use actors::{
    client::{BackupRequest, Client, Means, RestoreRequest, Stamina, enroll},
    net::Pace,
    operator::{Candidate, NewToken, Operator, init},
    system::{self, System},
};
use anyhow::{Context, bail, ensure};
use env::Env;
use protocol::{
    failure::{Code, Failure},
    ids::RepositoryId,
    records::{Domain, Storage, Trust},
    sign::Signer,
    time::UnixMillis,
    token::{Token, Welcome},
};
use repo::{CancellationToken, Outcome, Progress, ReadData, RestoreOptions};

use super::{ORCHESTRATORS, SOURCE, SharedScript, TARGET, credential, tree};
use crate::{kernel::lock, world::BootInfo};

/// Where orchestrators listen.
pub const PORT: u16 = 7400;
/// How many times the client backs up.
const BACKUPS: usize = 5;
/// Until what is in the source tree counts as old.
const SETTLING: Duration = Duration::from_secs(3);
/// Between two looks at something that others must do first.
const PAUSE: Duration = Duration::from_millis(200);

/// An orchestrator, until it dies.
pub async fn orchestrate(env: Env, info: BootInfo) -> anyhow::Result<()> {
    let seat = system::orchestrator(&env, (info.address, PORT).into())?;
    let mut system = System::start(&env, vec![seat.role]).await?;
    system.ended().await;
    Ok(())
}

/// What an operator has made: a cluster with one storage and one domain.
pub struct Founded {
    /// The connection to it.
    pub operator: Operator,
    /// The domain.
    pub domain: Domain,
    /// Its secrets.
    pub secrets: Welcome,
    /// The root key's seed.
    pub root_seed: [u8; 32],
    /// The admin key's seed.
    pub admin_seed: [u8; 32],
}

/// Makes a cluster of the orchestrators, a storage and a domain.
pub async fn found(env: &Env) -> anyhow::Result<Founded> {
    let root_seed: [u8; 32] = env.rng.array();
    let root = Signer::from_seed(&root_seed);
    let admin_seed: [u8; 32] = env.rng.array();
    let candidates: Vec<Candidate> = (0..ORCHESTRATORS)
        .map(|number| Candidate { name: format!("o{number}"), address: format!("o{number}:{PORT}"), key: None })
        .collect();
    let keyset = init(env, "simulated", &candidates, &root, admin_seed, "operator").await.context("cluster init")?;
    let trust = actors::client::Trust {
        root: root.public(),
        keyset_floor: keyset.version(),
        addresses: candidates.into_iter().map(|candidate| candidate.address).collect(),
    };
    let operator = Operator::new(env, admin_seed, trust)?;
    let storage = Storage {
        repository: RepositoryId(env.rng.array()),
        name: "main".into(),
        endpoint: "https://storage.example".into(),
        region: "sim".into(),
        bucket: "nuts".into(),
        prefix: "hoard".into(),
        virtual_host: false,
        authorities: Vec::new(),
    };
    let storage = operator.add_storage(storage, &credential(), false).await.context("storage add")?;
    let secrets = operator.make_secrets();
    let domain = operator.add_domain("home", &storage, Trust::Trusting, &secrets).await.context("domain create")?;
    Ok(Founded { operator, domain, secrets, root_seed, admin_seed })
}

/// The operator: makes the cluster, a storage, a domain and a token.
pub(super) async fn operate(env: Env, _: BootInfo, script: SharedScript) -> anyhow::Result<()> {
    let Founded { operator, domain, secrets, .. } = found(&env).await?;
    let new = NewToken {
        name: "first".into(),
        uses: 1,
        expires: UnixMillis(env.clock.now().0).plus_secs(3600),
        domain: domain.id,
        tags: vec!["laptop".into()],
    };
    let token = operator.add_token(new, &secrets).await.context("token create")?;
    lock(&script).token = Some(token.to_text());
    operator.close().await;
    Ok(())
}

/// The client: joins, backs up twice, restores, and tries to join a second time.
pub(super) async fn back_up(env: Env, info: BootInfo, script: SharedScript) -> anyhow::Result<()> {
    let token: Token = loop {
        if let Some(text) = &lock(&script).token {
            break text.parse()?;
        }
        env.clock.sleep(PAUSE).await;
    };
    enroll(&env, &token, "laptop").await.context("enroll")?;
    let mut client = Client::open(&env, Pace::Busy)?;
    // Files younger than two seconds are read again the next time, on purpose.
    env.clock.sleep(SETTLING).await;
    for number in 0..BACKUPS {
        if number > 0 {
            tree::edit(&*env.files, number, &env.rng.array())?;
        }
        let outcome = back_up_once(&mut client).await.with_context(|| format!("backup {number}"))?;
        ensure!(outcome.problems.count == 0, "backup {number}: {:?}", outcome.problems);
        info.tracer.note(format_args!("backup {number}: {} {:?}", outcome.snapshot, outcome.stats));
        lock(&script).backups.push(outcome.snapshot.to_string());
        if number > 0 {
            ensure!(outcome.stats.files_unchanged > 0, "backup {number} opened every file: {:?}", outcome.stats);
        }
    }
    let snapshots = client.snapshots().await.context("snapshot list")?;
    ensure!(snapshots.len() == BACKUPS, "{} snapshots", snapshots.len());
    let snapshot = snapshots.last().context("a snapshot")?.clone();
    let request = RestoreRequest {
        snapshot: snapshot.clone(),
        path: None,
        target: PathBuf::from(TARGET),
        options: RestoreOptions::default(),
        means: Means::default(),
    };
    let restored = client.restore(request, Arc::new(Progress::default()), CancellationToken::new()).await;
    let restored = restored.context("restore")?;
    ensure!(restored.problems.count == 0, "restore: {:?}", restored.problems);
    lock(&script).restored = true;
    let progress = Arc::new(Progress::default());
    let verified = client.verify(&snapshots, ReadData::All, Means::default(), progress, CancellationToken::new()).await;
    let verified = verified.context("verify")?;
    ensure!(verified.damages_count == 0, "verify: {:?}", verified.damages);
    let report = client.link().report();
    info.tracer.note(format_args!("failovers {} bytes sent {}", report.failovers, report.bytes_sent));
    client.close().await?;
    refuse_second(&env, &token).await?;
    lock(&script).refused = true;
    Ok(())
}

async fn back_up_once(client: &mut Client) -> anyhow::Result<Outcome> {
    let request = BackupRequest {
        sources: vec![PathBuf::from(SOURCE)],
        rules: repo::Rules::default(),
        stream: None,
        host: "client".into(),
        description: String::new(),
        tags: Vec::new(),
        means: Means { memory_bytes: 32 << 20, transfers: 4 },
        stamina: Stamina::default(),
    };
    Ok(client.backup(request, Arc::new(Progress::default()), CancellationToken::new()).await?)
}

/// I4: the token is spent, so other keys are refused.
async fn refuse_second(env: &Env, token: &Token) -> anyhow::Result<()> {
    env.disk.remove("client")?;
    match enroll(env, token, "thief").await {
        Err(Failure { code: Code::Denied, .. }) => Ok(()),
        other => bail!("a spent token was answered with {other:?}"),
    }
}

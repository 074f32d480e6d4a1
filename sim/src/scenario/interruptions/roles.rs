//! What the operator and the person at the client do.

use std::{path::PathBuf, sync::Arc, time::Duration};

use actors::{
    client::{BackupRequest, Client, Contention, Means, RestoreRequest, Stamina, enroll},
    net::Pace,
    operator::NewToken,
};
use anyhow::{Context, bail, ensure};
use env::Env;
use protocol::{
    failure::{Code, Failure},
    token::Token,
};
use repo::{CancellationToken, Kind, Outcome, Progress, ReadData, RepoError, RestoreOptions, Rules};

use super::{BACKUPS, Restored, SOURCE, SharedScript, TARGET};
use crate::{
    kernel::lock,
    scenario::cluster::{
        roles::{Founded, found},
        tree,
    },
    world::BootInfo,
};

/// Between two looks at something that others must do first, or after something failed.
const PAUSE: Duration = Duration::from_millis(700);
/// Until what is in the source tree counts as old.
const SETTLING: Duration = Duration::from_secs(3);

/// The operator: makes the cluster and a token.
pub async fn operate(env: Env, script: SharedScript) -> anyhow::Result<()> {
    if lock(&script).token.is_some() {
        return Ok(());
    }
    let Founded { operator, domain, secrets, .. } = found(&env).await?;
    // Clocks jump in this world.
    let expires = env.clock.now().plus_secs(90 * 86_400);
    let new = NewToken { name: "first".into(), uses: 1, expires, domain: domain.id, tags: Vec::new() };
    let token = operator.add_token(new, &secrets).await.context("token create")?;
    lock(&script).token = Some(token.to_text());
    operator.close().await;
    Ok(())
}

/// The person at the client, in each of its lives: joins, backs up until there are
/// enough complete snapshots, restores them all.
pub async fn back_up(env: Env, info: BootInfo, script: SharedScript) -> anyhow::Result<()> {
    join(&env, &script).await?;
    env.clock.sleep(SETTLING).await;
    let mut last = false;
    while !last {
        if lock(&script).complete.len() >= BACKUPS {
            while !lock(&script).calm {
                env.clock.sleep(PAUSE).await;
            }
            // I14: this one completes, whatever happened before.
            last = true;
        }
        work(&env, &script)?;
        match Box::pin(back_up_once(&env, &info, &script)).await {
            Ok(outcome) => {
                info.tracer.note(format_args!("complete {} {:?}", outcome.snapshot, outcome.stats));
                ensure!(outcome.facts.complete && outcome.problems.count == 0, "{:?}", outcome.problems);
                let mut script = lock(&script);
                let tree = script.files.as_ref().context("files")?.entries(SOURCE)?;
                script.complete.push((outcome.snapshot.to_string(), tree));
            }
            // What a person does who reads "run it again". Refused tickets are those of
            // orchestrators whose clocks are off.
            Err(error)
                if !last && matches!(error.kind, Kind::Retry | Kind::Denied | Kind::Fenced | Kind::Superseded) =>
            {
                info.tracer.note(format_args!("again, after {error:?}"));
                env.clock.sleep(PAUSE).await;
            }
            Err(error) => bail!("backup: {error:?}"),
        }
    }
    restore_all(&env, &script).await?;
    lock(&script).done = true;
    Ok(())
}

async fn join(env: &Env, script: &SharedScript) -> anyhow::Result<()> {
    let token: Token = loop {
        if let Some(text) = &lock(script).token {
            break text.parse()?;
        }
        env.clock.sleep(PAUSE).await;
    };
    loop {
        match enroll(env, &token, "laptop").await {
            Ok(_) => return Ok(()),
            Err(Failure { code: Code::Retry, .. }) => env.clock.sleep(PAUSE).await,
            Err(failure) => bail!("enroll: {failure}"),
        }
    }
}

/// A day's work in the tree, once for each complete snapshot.
fn work(env: &Env, script: &SharedScript) -> anyhow::Result<()> {
    let mut script = lock(script);
    if script.complete.len() > script.day {
        script.day = script.complete.len();
        tree::edit(&*env.files, script.day, &env.rng.array())?;
    }
    Ok(())
}

/// One backup; now and then a second one comes into its way.
async fn back_up_once(env: &Env, info: &BootInfo, script: &SharedScript) -> Result<Outcome, RepoError> {
    let chance = |below: u8| env.rng.array::<1>()[0] % below;
    let parts = [u64::MAX, 1 << 20, 3 << 20, 6 << 20][usize::from(chance(4))];
    let mut client = Client::open(env, Pace::Busy)?;
    let backup = run(&mut client, parts, Contention::Refuse);
    if chance(3) > 0 {
        let done = backup.await;
        client.close().await?;
        return done;
    }
    let contention = if chance(2) == 0 { Contention::Wait } else { Contention::TakeOver };
    let second = async {
        env.clock.sleep(Duration::from_millis(u64::from(chance(200)) * 20)).await;
        let mut second = Client::open(env, Pace::Busy)?;
        let done = run(&mut second, parts, contention).await;
        second.close().await?;
        done
    };
    let (first, second) = tokio::join!(backup, second);
    client.close().await?;
    info.tracer.note(format_args!("{contention:?} at the same time: {:?}", first.as_ref().map(|done| done.snapshot)));
    match first {
        Err(error) if error.kind == Kind::Superseded => {
            lock(script).superseded += 1;
            if contention == Contention::Wait {
                return Err(RepoError::internal("nobody took over, and yet the backup says so"));
            }
        }
        Ok(first) => {
            let tree = lock(script).files.as_ref().and_then(|files| files.entries(SOURCE).ok()).unwrap_or_default();
            lock(script).complete.push((first.snapshot.to_string(), tree));
        }
        Err(_) => {}
    }
    second
}

async fn run(client: &mut Client, part_bytes: u64, contention: Contention) -> Result<Outcome, RepoError> {
    let stamina = Stamina {
        me: "someone".into(),
        contention,
        patience: Duration::from_secs(60),
        part_after: Duration::from_secs(20),
        part_bytes,
    };
    let request = BackupRequest {
        sources: vec![PathBuf::from(SOURCE)],
        rules: Rules::default(),
        stream: None,
        host: "client".into(),
        description: String::new(),
        tags: Vec::new(),
        means: Means { memory_bytes: 32 << 20, transfers: 4 },
        stamina,
    };
    client.backup(request, Arc::new(Progress::default()), CancellationToken::new()).await
}

/// Restores every snapshot that there is, and verifies them. Nothing fails any more.
async fn restore_all(env: &Env, script: &SharedScript) -> anyhow::Result<()> {
    let mut client = Client::open(env, Pace::Busy)?;
    let snapshots = client.snapshots().await.context("snapshot list")?;
    let life: [u8; 4] = env.rng.array();
    let mut restored = Vec::new();
    for (number, snapshot) in snapshots.iter().enumerate() {
        let at = format!("{TARGET}/{}-{number}", u32::from_le_bytes(life));
        let request = RestoreRequest {
            snapshot: snapshot.clone(),
            path: None,
            target: PathBuf::from(&at),
            options: RestoreOptions::default(),
            means: Means::default(),
        };
        let done = client.restore(request, Arc::new(Progress::default()), CancellationToken::new()).await;
        let done = done.with_context(|| format!("restore {number}"))?;
        ensure!(done.problems.count == 0, "restore {number}: {:?}", done.problems);
        restored.push(Restored { snapshot: snapshot.id.to_string(), complete: snapshot.commit.complete, at });
    }
    let progress = Arc::new(Progress::default());
    let verified =
        client.verify(&snapshots, ReadData::Nothing, Means::default(), progress, CancellationToken::new()).await;
    let verified = verified.context("verify")?;
    ensure!(verified.damages_count == 0, "verify: {:?}", verified.damages);
    client.close().await?;
    lock(script).restored = restored;
    Ok(())
}

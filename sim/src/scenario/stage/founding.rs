//! A cluster as an operator makes it, with the same calls that the program makes.

use std::{collections::BTreeMap, time::Duration};

use actors::{
    client::Trust as Trusted,
    operator::{Candidate, NewToken, Operator, init},
    system::{self, System},
};
use anyhow::{Context, ensure};
use env::Env;
use protocol::{
    audit::Act,
    ids::{ClientId, Hash, RepositoryId, SnapshotId},
    levels::Levels,
    records::{Domain, Storage, StorageCredential, Subject, Trust},
    sign::Signer,
    token::Welcome,
};

use super::{MayRetry, ORCHESTRATORS, Player};
use crate::history::{Outcome, What};

/// Where orchestrators listen.
pub const PORT: u16 = 7400;
/// How long a token is good for: clocks jump in some of these worlds.
const TOKEN_SECS: u64 = 90 * 86_400;
/// After how long a person tries once more to make a cluster.
const INIT_AGAIN: Duration = Duration::from_secs(1);
/// How long orchestrators that run may take to come to agree.
const AGREE: Duration = Duration::from_secs(20);

/// The credential that orchestrators use.
pub fn credential() -> StorageCredential {
    StorageCredential::new("minter", "the minter's secret")
}

/// An orchestrator, until it dies.
pub async fn orchestrate<S>(me: Player<S>) -> anyhow::Result<()> {
    let mut system = start(&me).await?;
    system.ended().await;
    Ok(())
}

/// Starts an orchestrator.
pub async fn start<S>(me: &Player<S>) -> anyhow::Result<System> {
    start_as(me, Levels::OWN).await
}

/// Starts an orchestrator that speaks these levels, as another version of the program does.
pub async fn start_as<S>(me: &Player<S>, levels: Levels) -> anyhow::Result<System> {
    let seat = system::orchestrator(&me.env, (me.info.address, PORT).into(), levels)?;
    Ok(System::start(&me.env, vec![seat.role]).await?)
}

/// The orchestrator of this number, as an operator names it.
pub fn candidate(number: u32) -> Candidate {
    Candidate { name: format!("o{number}"), address: format!("o{number}:{PORT}"), key: None }
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

/// The operator's directory: what a later life of its machine goes on from.
#[derive(Debug, Clone)]
pub struct Home {
    /// The root key's seed.
    pub root_seed: [u8; 32],
    /// The admin key's seed.
    pub admin_seed: [u8; 32],
    /// Whom it trusts.
    pub trust: Trusted,
}

impl Home {
    /// The root key.
    pub fn root(&self) -> Signer {
        Signer::from_seed(&self.root_seed)
    }

    /// A connection as the operator.
    pub fn operator(&self, env: &Env) -> anyhow::Result<Operator> {
        Ok(Operator::new(env, self.admin_seed, self.trust.clone())?)
    }
}

impl Founded {
    /// What the operator keeps.
    pub fn home(&self) -> Home {
        Home { root_seed: self.root_seed, admin_seed: self.admin_seed, trust: self.operator.trust() }
    }

    /// Makes a token for the domain, as text.
    pub async fn token<S>(&self, me: &Player<S>, name: &str, uses: u32) -> anyhow::Result<String> {
        self.token_for(me, &self.domain, &self.secrets, name, uses).await
    }

    /// The same for another domain.
    pub async fn token_for<S>(
        &self,
        me: &Player<S>,
        domain: &Domain,
        secrets: &Welcome,
        name: &str,
        uses: u32,
    ) -> anyhow::Result<String> {
        let (domain, expires) = (domain.id, me.env.clock.now().plus_secs(TOKEN_SECS));
        let new = NewToken { name: name.into(), uses, expires, domain, tags: vec!["laptop".into()] };
        let token = self.operator.add_token(new, secrets).await.context("token create")?;
        let id = token.id().to_string();
        me.info.recorder.note(What::Token { token: id, uses, outcome: Outcome::Done });
        act(me, Subject::Token(token.id()), 1);
        Ok(token.to_text())
    }
}

/// Makes a cluster of the orchestrators, a storage and a domain.
pub async fn found(env: &Env) -> anyhow::Result<Founded> {
    let root_seed: [u8; 32] = env.rng.array();
    let root = Signer::from_seed(&root_seed);
    let admin_seed: [u8; 32] = env.rng.array();
    let candidates: Vec<Candidate> = (0..ORCHESTRATORS).map(candidate).collect();
    let keyset = loop {
        match init(env, "simulated", &candidates, &root, admin_seed, "operator").await {
            // All of them have to be there. Whoever runs it again goes on from where it was.
            Err(failure) if failure.may_retry() => env.clock.sleep(INIT_AGAIN).await,
            made => break made.context("cluster init")?,
        }
    };
    let trust = Trusted {
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

/// Records that something was signed, handed in and taken.
pub fn act<S>(me: &Player<S>, subject: Subject, version: u64) {
    me.info.recorder.note(What::Act { subject: format!("{subject:?}"), version, outcome: Outcome::Done });
}

/// Makes a cluster and its first token, as text, and goes.
pub async fn found_with_token<S>(me: &Player<S>) -> anyhow::Result<String> {
    let founded = found(&me.env).await?;
    let token = founded.token(me, "first", 1).await?;
    founded.operator.close().await;
    Ok(token)
}

/// I3: the snapshots that clients were told are made are listed.
pub async fn invariant_told_is_listed<S>(
    me: &Player<S>,
    operator: &Operator,
    told: &BTreeMap<ClientId, Vec<SnapshotId>>,
) -> anyhow::Result<()> {
    for (client, snapshots) in told {
        let decided = me.persist(|| operator.snapshots(*client)).await?;
        let decided: Vec<SnapshotId> = decided.iter().map(|snapshot| snapshot.id).collect();
        let lost = snapshots.iter().find(|snapshot| !decided.contains(snapshot));
        ensure!(lost.is_none(), "I3: {client} was told of {lost:?}, which is gone");
    }
    Ok(())
}

/// I2: waits until all orchestrators hold the same records and have applied the same log.
pub async fn agree<S>(me: &Player<S>, operator: &Operator) -> anyhow::Result<()> {
    let give_up = me.env.clock.monotonic() + AGREE;
    loop {
        let status = operator.status().await?;
        let answers = status.iter().filter_map(|(_, status)| status.as_ref().ok());
        let seen: Vec<(Hash, u64, u64)> =
            answers.map(|status| (status.records, status.records_count, status.applied)).collect();
        if seen.len() == ORCHESTRATORS as usize && seen.windows(2).all(|pair| pair[0] == pair[1]) {
            return record_clients(me, operator).await;
        }
        ensure!(me.env.clock.monotonic() < give_up, "I2: the records do not converge: {status:?}");
        me.pause().await;
    }
}

/// Records all clients, as the cluster lists them now.
pub async fn record_clients<S>(me: &Player<S>, operator: &Operator) -> anyhow::Result<()> {
    let from_ms = me.info.recorder.now_ms();
    let clients = me.persist(|| operator.clients()).await.context("client list")?;
    let clients = clients.iter().map(|status| status.enrollment.client.to_string()).collect();
    me.info.recorder.note_since(from_ms, What::Clients { clients });
    Ok(())
}

/// Records the audit trail as it is now. An orchestrator that is lost may take with it what
/// it was told seconds before, so this is for those that were not.
pub async fn record_audit<S>(me: &Player<S>, operator: &Operator) -> anyhow::Result<()> {
    let from_ms = me.info.recorder.now_ms();
    let trail = me.persist(|| operator.audit()).await.context("audit")?;
    let signed = trail.into_iter().filter_map(|entry| match entry.act {
        Act::Signed { subject, version, .. } => Some((format!("{subject:?}"), version)),
        _ => None,
    });
    me.info.recorder.note_since(from_ms, What::Audit { entries: signed.collect() });
    Ok(())
}

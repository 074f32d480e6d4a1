//! What an operator does over the network: makes a cluster, signs records, asks.
//!
//! Invariant: secrets leave the operator's machine only sealed: the storage's
//! credential to the orchestrators' keys, the domain's to a token.

mod acts;
mod admins;
mod rebuild;
mod roster;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use env::Env;
use protocol::{
    audit::AuditEntry,
    codec,
    commands::SnapshotRecord,
    failure::{Code, Failure},
    ids::{ClientId, ClusterId, PublicKey, TokenId},
    limits,
    records::{Admin, Keyset, Orchestrator, Payload, Record, RecordBody, Revocation, SecretId, SharedSecret, Subject},
    sealed,
    sign::{Signed, Signer},
    wire::{self, Call},
};

use crate::{
    AGENT,
    client::{Link, Trust, any_port},
    identity::Identity,
    net::{Endpoint, Pace},
};

pub use acts::{CHUNKER, CODEC, NewToken};
pub use admins::ChangedAdmins;
pub use rebuild::{Rebuilt, Remains, survivor};
pub use roster::{Changed, Roster};

/// How long one node may take to answer an operator.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a node is asked to take its adoption: one that restarts is waited for.
const ADOPT_PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts.
pub(super) const PAUSE: Duration = Duration::from_millis(500);

/// A node that is to be an orchestrator, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// For people.
    pub name: String,
    /// Where it listens: `host:port`.
    pub address: String,
    /// Its key, as it printed it at its start. None: whatever key is found there is believed.
    pub key: Option<PublicKey>,
}

/// Makes a cluster of nodes that wait to be adopted: asks each for its card, has
/// the root sign keyset 1, and hands it to all of them.
pub async fn init(
    env: &Env,
    name: &str,
    candidates: &[Candidate],
    root: &Signer,
    admin_seed: [u8; 32],
    admin_name: &str,
) -> Result<Record, Failure> {
    let addresses: Vec<String> = candidates.iter().map(|candidate| candidate.address.clone()).collect();
    let identity = Identity::of_operator(admin_seed);
    let endpoint = Endpoint::bind(env, &identity, any_port(&addresses), false)?;
    let made = async {
        let mut orchestrators = Vec::new();
        let mut adopted = None;
        for candidate in candidates {
            let met = meet(&endpoint, candidate, &root.public()).await?;
            orchestrators.push(met.0);
            adopted = adopted.or(met.1);
        }
        let admins = vec![Admin { name: admin_name.into(), key: identity.key() }];
        let keyset = Keyset { name: name.into(), admins, orchestrators: orchestrators.clone() };
        let cluster = ClusterId::of_root(&root.public());
        // Some may have been adopted before an earlier attempt was interrupted: what was
        // signed then is what the others get.
        let record = match adopted {
            Some(record) if names_the_same(&record, &keyset) => record,
            Some(_) => {
                return Err(Failure::invalid("this cluster was begun with other orchestrators: name the same ones"));
            }
            None => Record::sign(root, RecordBody { cluster, version: 1, payload: Payload::Keyset(keyset) }),
        };
        for (orchestrator, candidate) in orchestrators.iter().zip(candidates) {
            let adopt = wire::Adopt { keyset: record.signed().clone(), root: root.public(), genesis: true };
            adopt_one(env, &endpoint, orchestrator, adopt).await.map_err(|failure| about(candidate, failure))?;
        }
        Ok(record)
    }
    .await;
    endpoint.close().await;
    made
}

/// Whether a keyset was made for the same nodes and admins.
fn names_the_same(record: &Record, keyset: &Keyset) -> bool {
    let keys = |keyset: &Keyset| -> BTreeSet<PublicKey> {
        let nodes = keyset.orchestrators.iter().map(|orchestrator| orchestrator.key);
        nodes.chain(keyset.admins.iter().map(|admin| admin.key)).collect()
    };
    matches!(record.payload(), Payload::Keyset(known) if keys(known) == keys(keyset))
}

/// Asks a node for its card, and for the keyset by which this root has adopted it.
async fn meet(
    endpoint: &Endpoint,
    candidate: &Candidate,
    root: &PublicKey,
) -> Result<(Orchestrator, Option<Record>), Failure> {
    // Whoever answers is looked at first: an unexpected key is not an unreachable node.
    let dialed = endpoint.dial(&candidate.address, None, Pace::Busy, PATIENCE).await;
    let peer = dialed.map_err(|failure| about(candidate, failure))?;
    if let Some(expected) = candidate.key.filter(|expected| expected != peer.key()) {
        let found = *peer.key();
        peer.close();
        return Err(Failure::denied(format!(
            "the node at {} has the key {found}, and not {expected}: compare with what it printed at its start",
            candidate.address
        )));
    }
    let hello = peer.call(wire::Hello { agent: AGENT.into() }, PATIENCE).await;
    let welcome = hello.map_err(|failure| about(candidate, failure))?;
    let own = |keyset| Record::open(keyset, &ClusterId::of_root(root)).ok().filter(|record| record.author() == root);
    let adopted = match welcome.keyset.map(own) {
        None => None,
        Some(Some(record)) => Some(record),
        Some(None) => {
            return Err(Failure::invalid(format!(
                "the node at {} belongs to another cluster: start it with an empty data directory",
                candidate.address
            )));
        }
    };
    let orchestrator = Orchestrator {
        name: candidate.name.clone(),
        key: *peer.key(),
        sealing: welcome.card.sealing,
        voter: welcome.card.voter,
        address: candidate.address.clone(),
    };
    peer.close();
    Ok((orchestrator, adopted))
}

/// Hands the adoption to one node. Repeated until it is taken, since a cluster of
/// which some nodes know and others do not is of no use to anyone.
async fn adopt_one(env: &Env, endpoint: &Endpoint, node: &Orchestrator, adopt: wire::Adopt) -> Result<(), Failure> {
    let give_up = env.clock.monotonic() + ADOPT_PATIENCE;
    loop {
        let attempt = async {
            let peer = endpoint.dial(&node.address, Some(node.key), Pace::Busy, PATIENCE).await?;
            let adopted = peer.call(adopt.clone(), PATIENCE).await;
            peer.close();
            adopted
        };
        match attempt.await {
            Err(failure) if failure.code == Code::Retry && env.clock.monotonic() < give_up => {
                env.clock.sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

fn about(candidate: &Candidate, failure: Failure) -> Failure {
    Failure::new(failure.code, format!("{}: {}", candidate.address, failure.message))
}

/// An operator's connection to the cluster.
pub struct Operator {
    env: Env,
    signer: Signer,
    cluster: ClusterId,
    endpoint: Endpoint,
    link: Link,
}

impl Operator {
    /// Connects when it is first needed.
    pub fn new(env: &Env, admin_seed: [u8; 32], trust: Trust) -> Result<Self, Failure> {
        let identity = Identity::of_operator(admin_seed);
        let endpoint = Endpoint::bind(env, &identity, any_port(&trust.addresses), false)?;
        let cluster = ClusterId::of_root(&trust.root);
        let link = Link::new(env, endpoint.clone(), trust, Pace::Busy);
        Ok(Self { env: env.clone(), signer: Signer::from_seed(&admin_seed), cluster, endpoint, link })
    }

    /// Says goodbye.
    pub async fn close(&self) {
        self.link.close().await;
    }

    /// What the connection has learnt about the orchestrators.
    pub fn trust(&self) -> Trust {
        self.link.trust()
    }

    /// Calls whichever orchestrator answers.
    pub async fn call<C: Call + Sync>(&self, call: C) -> Result<C::Reply, Failure> {
        self.link.call(call).await
    }

    /// The winning records about these subjects; of all if there are none. Each is
    /// checked to be signed for this cluster.
    pub async fn records(&self, subjects: Vec<Subject>) -> Result<Vec<Record>, Failure> {
        let mut records: Vec<Record> = Vec::new();
        loop {
            let after = records.last().map(Record::subject);
            let page = self.call(wire::GetRecords { subjects: subjects.clone(), after }).await?;
            let more = page.more && !page.items.is_empty();
            for signed in page.items {
                let record = Record::open(signed, &self.cluster)?;
                if after.is_some_and(|after| record.subject() <= after) || records.len() >= limits::LIST_ITEMS_MAX {
                    return Err(Failure::new(Code::Corrupt, "the orchestrator's list of records does not end"));
                }
                records.push(record);
            }
            if !more {
                return Ok(records);
            }
        }
    }

    /// The newest keyset.
    pub async fn keyset(&self) -> Result<(u64, Keyset), Failure> {
        let record = self.keyset_record().await?;
        match record.payload() {
            Payload::Keyset(keyset) => Ok((record.version(), keyset.clone())),
            _ => Err(Failure::retry("the orchestrator showed no keyset")),
        }
    }

    async fn keyset_record(&self) -> Result<Record, Failure> {
        let records = self.records(vec![Subject::Keyset]).await?;
        let newest = records.into_iter().next().ok_or_else(|| Failure::retry("the orchestrator showed no keyset"))?;
        self.check_keyset(newest)
    }

    /// The root signs its next keyset on top of this one: it must be the root's own, and
    /// no older than any that was seen.
    fn check_keyset(&self, record: Record) -> Result<Record, Failure> {
        let trust = self.trust();
        if *record.author() != trust.root || !matches!(record.payload(), Payload::Keyset(_)) {
            return Err(Failure::denied("the orchestrator showed a keyset that the root key did not sign"));
        }
        if record.version() < trust.keyset_floor {
            return Err(Failure::retry(format!(
                "the orchestrator showed keyset {} although {} is known: it lags, or lies",
                record.version(),
                trust.keyset_floor
            )));
        }
        Ok(record)
    }

    /// Signs payloads, each a version above what is there, and submits them together.
    pub async fn submit(&self, payloads: Vec<Payload>) -> Result<(), Failure> {
        let present = self.versions(payloads.iter().map(Payload::subject).collect()).await?;
        let records = payloads.into_iter().map(|payload| {
            let version = present.get(&payload.subject()).copied().unwrap_or_default();
            let next = version.checked_add(1).ok_or_else(|| Failure::invalid("there are no more versions"))?;
            Ok(self.sign(next, payload))
        });
        self.call(wire::Submit { records: records.collect::<Result<_, Failure>>()? }).await
    }

    /// The newest version of each of these records that any orchestrator has. One that was
    /// away may lack it, and a record under a number that is taken may lose against that one.
    /// Who does not answer is left out, and so is what nobody of the keyset signed.
    async fn versions(&self, subjects: Vec<Subject>) -> Result<BTreeMap<Subject, u64>, Failure> {
        let mut records = self.records(subjects.clone()).await?;
        let (_, keyset) = self.keyset().await?;
        let call = wire::GetRecords { subjects, after: None };
        let asked = keyset.orchestrators.iter().map(|node| self.ask(node, call.clone()));
        for page in futures_util::future::join_all(asked).await.into_iter().flatten() {
            records.extend(page.items.into_iter().filter_map(|signed| Record::open(signed, &self.cluster).ok()));
        }
        let admins = keyset.admins.iter().map(|admin| admin.key);
        let orchestrators = keyset.orchestrators.iter().map(|orchestrator| orchestrator.key);
        let authors: BTreeSet<PublicKey> = admins.chain(orchestrators).chain([self.trust().root]).collect();
        let mut newest = BTreeMap::new();
        for record in records.iter().filter(|record| authors.contains(record.author())) {
            let version: &mut u64 = newest.entry(record.subject()).or_default();
            *version = record.version().max(*version);
        }
        Ok(newest)
    }

    /// Signs a record with the admin key.
    fn sign(&self, version: u64, payload: Payload) -> Signed {
        Record::sign(&self.signer, RecordBody { cluster: self.cluster, version, payload }).signed().clone()
    }

    /// Seals a secret to every orchestrator of the newest keyset.
    pub async fn seal(&self, id: SecretId, secret: &[u8]) -> Result<SharedSecret, Failure> {
        let (_, keyset) = self.keyset().await?;
        let info = codec::encode(&Subject::Secret(id));
        let mut fill = |bytes: &mut [u8]| self.env.rng.fill(bytes);
        let boxes = keyset
            .orchestrators
            .iter()
            .map(|orchestrator| sealed::seal_to(&orchestrator.sealing, &info, secret, &mut fill))
            .collect::<Result<_, _>>()?;
        Ok(SharedSecret { id, boxes })
    }

    /// Everyone who is enrolled.
    pub async fn clients(&self) -> Result<Vec<wire::ClientStatus>, Failure> {
        let page =
            |last: Option<&wire::ClientStatus>| wire::ListClients { after: last.map(|last| last.enrollment.client) };
        self.link.list(page).await
    }

    /// A client's decided snapshots.
    pub async fn snapshots(&self, client: ClientId) -> Result<Vec<SnapshotRecord>, Failure> {
        let page = |last: Option<&SnapshotRecord>| wire::ListSnapshots {
            client: Some(client),
            after: last.map(|last| last.id),
        };
        self.link.list(page).await
    }

    /// Every token that was made, and what became of it.
    pub async fn tokens(&self) -> Result<Vec<wire::TokenStatus>, Failure> {
        let page = |last: Option<&wire::TokenStatus>| wire::ListTokens { after: last.map(|last| last.token) };
        self.link.list(page).await
    }

    /// The audit trail, oldest first.
    pub async fn audit(&self) -> Result<Vec<AuditEntry>, Failure> {
        let page = |last: Option<&AuditEntry>| wire::ListAudit { after: last.map_or(0, |last| last.number) };
        self.link.list(page).await
    }

    /// Ends a client for good: its keys are refused from now on, and what it has open is cut.
    pub async fn revoke_client(&self, id: ClientId, reason: &str) -> Result<(), Failure> {
        let reason = reason.into();
        self.submit(vec![Payload::ClientRevocation(Revocation { id, reason })]).await
    }

    /// Ends a token for good. Clients that have joined with it stay.
    pub async fn revoke_token(&self, id: TokenId, reason: &str) -> Result<(), Failure> {
        let reason = reason.into();
        self.submit(vec![Payload::TokenRevocation(Revocation { id, reason })]).await
    }

    /// Asks every orchestrator of the newest keyset how it sees the cluster.
    pub async fn status(&self) -> Result<Vec<(Orchestrator, Result<wire::NodeStatus, Failure>)>, Failure> {
        Ok(self.roster().await?.nodes)
    }
}

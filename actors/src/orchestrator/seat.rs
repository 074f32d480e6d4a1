//! Opening and closing a seat: everything with which an adopted node takes part.
//!
//! Invariant: nothing of the log is answered before it is known that this disk is one to
//! vote with; and once a seat is closed, its databases are.

use std::{collections::BTreeMap, io, sync::Arc};

use control::Ledger;
use env::Env;
use protocol::{
    failure::{Code, Failure},
    ids::{ClusterId, NodeId},
    levels::Statement,
    records::{Payload, Record},
};
use ractor::ActorRef;
use tokio::sync::Semaphore;

use super::{
    Message, State, archivist,
    began::Began,
    clerk,
    desk::{Desk, Reports},
    editions::Editions,
    gossip::{self, Gossip},
    not_naming,
    records::{Loaded, Records},
    same_disk::{self, Verdict},
    stewards::Stewards,
    vault::Vault,
    verifier,
};
use crate::{
    log::{Log, Opening},
    net::Peers,
    small_file,
};

const GENERATION_FILE: &str = "generation";
/// Commit objects read at the same time.
const COMMIT_FETCHES_MAX: usize = 8;
/// Objects said to be damaged that are looked at at the same time.
const LOOKS_MAX: usize = 2;
/// The incarnation of a ledger that was never rebuilt.
pub(super) const FIRST_INCARNATION: u32 = 1;

impl State {
    /// Ends what callers have under way and the seat's actors, so that its databases
    /// are closed.
    pub(super) async fn close_seat(&mut self, myself: &ActorRef<Message>) {
        self.front.close().await;
        if let Some(log) = self.log.take() {
            log.stop().await;
        }
        myself.stop_children_and_wait(None, None).await;
    }

    pub(super) async fn open_seat(&mut self, myself: &ActorRef<Message>) -> Result<(), Failure> {
        let opened = self.try_open_seat(myself).await;
        if opened.is_err() {
            self.close_seat(myself).await;
        }
        opened
    }

    async fn try_open_seat(&mut self, myself: &ActorRef<Message>) -> Result<(), Failure> {
        let adoption = self.membership.clone().ok_or_else(|| Failure::internal("not adopted"))?;
        let (env, me, supervisor) = (&self.env, self.identity.node(), myself.get_cell());
        let cluster = ClusterId::of_root(&adoption.root);

        let disk = same_disk::check(env)?;
        if let Verdict::Old(why) = disk {
            self.stand_aside(myself, why).await;
            return Ok(());
        }
        let loaded = Loaded::load(env, adoption.root).await?;
        let set = loaded.set.clone();
        let peers = Peers::new(self.endpoint.clone(), set.clone(), me);
        let records = Records::start(env, loaded, me, peers.clone(), &supervisor).await?;
        let keyset = Record::open(adoption.keyset.clone(), &cluster)?;
        records.insert(vec![keyset.clone()]).await?;
        let other = not_naming(&records.set().read(), me);
        if let Some(keyset) = other {
            self.front.removed(keyset);
            self.leave(myself).await;
            return Ok(());
        }

        let empty = Ledger::new(cluster, adoption.root, FIRST_INCARNATION);
        let doubtful = disk == Verdict::Doubtful;
        let opening = Opening { voter: self.identity.voter(), empty, doubtful, levels: self.levels };
        let log = Log::start(env, opening, peers.clone(), &supervisor).await?;
        self.log = Some(log.clone());
        // Nothing reaches the log before this was asked.
        let began = match Began::check(env, &log).await {
            Err(Failure { code: Code::Corrupt, message }) => {
                self.stand_aside(myself, message).await;
                return Ok(());
            }
            checked => checked?,
        };
        let start = gossip::Start { cluster, me, generation: next_generation(env)? };
        let gossip = Gossip::start(env, start, peers.clone(), records.clone(), &supervisor).await?;
        let (report, reported) = archivist::report();
        let desk = Desk {
            env: env.clone(),
            me,
            identity: self.identity.clone(),
            began: began.clone(),
            stewards: Stewards::new(env, self.identity.clone(), set),
            vault: Vault::open(env).await?,
            records,
            editions: Editions::default(),
            log: log.clone(),
            levels: self.levels,
            statement: Statement { cluster, levels: self.levels }.sign(&self.identity.signer()),
            gossip,
            peers,
            fetches: Arc::new(Semaphore::new(COMMIT_FETCHES_MAX)),
            reports: Reports::default(),
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
            connections: self.connections.clone(),
            client_bytes: self.client_bytes.clone(),
            backups: reported,
            acts: self.acts.clone(),
            // A cluster begins with keyset 1; one that begins with a later one was lost before.
            rebuilds: adoption.genesis && keyset.version() > 1,
        };
        clerk::start(desk.clone(), self.front.clone(), &supervisor)
            .await
            .map_err(|error| Failure::internal(format!("cannot start the clerk: {error}")))?;
        verifier::start(desk.clone(), &supervisor)
            .await
            .map_err(|error| Failure::internal(format!("cannot start the verifier: {error}")))?;
        archivist::start(desk.clone(), report, &supervisor)
            .await
            .map_err(|error| Failure::internal(format!("cannot start the archivist: {error}")))?;
        if let (true, Payload::Keyset(keyset)) = (adoption.genesis, keyset.payload()) {
            let members: BTreeMap<u64, NodeId> =
                keyset.orchestrators.iter().map(|member| (member.voter, member.id())).collect();
            log.begin(members).await?;
        }
        began.note(&log).await?;
        self.watch_roster(myself, &desk);
        self.watch_memory(myself, &log);
        self.front.open(desk);
        // Who came while there was nobody to judge them is looked at now.
        self.connections.review(&*self.front);
        Ok(())
    }
}

/// Counts the starts of this node, durably: gossip tells its lives apart by it.
fn next_generation(env: &Env) -> Result<u64, Failure> {
    let disk = &*env.disk;
    let last = match disk.read(GENERATION_FILE) {
        Ok(bytes) => bytes.try_into().map(u64::from_le_bytes).unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(small_file::failure("read", disk, &error)),
    };
    // The wall clock joins in, so that a lost count does not bring back an old life.
    let next = last.max(env.clock.now().0) + 1;
    disk.replace(GENERATION_FILE, &next.to_le_bytes()).map_err(|error| small_file::failure("write", disk, &error))?;
    Ok(next)
}

//! The decided log, as the rest of an orchestrator uses it.
//!
//! Any orchestrator takes proposals: they are gathered into one entry, which the
//! leader writes. A proposal that got no clear answer is proposed again; commands
//! are made so that this is harmless.
//!
//! Invariant: `propose` returns what a majority has decided and this node has
//! applied, so a later look at the shared ledger sees it.

mod images;
mod level;
mod machine;
mod membership;
mod memory;
mod network;
mod proposer;
mod store;
mod sync;
pub mod types;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use control::ledger::Ledger;
use env::Env;
use openraft::{
    Config, SnapshotPolicy,
    error::{ClientWriteError, InitializeError, RaftError},
};
use probe::{Plant, Point};
use protocol::{
    codec,
    commands::{Command, Decided, Entry, Lease, Outcome, View},
    failure::{Code, Failure},
    ids::{ClientId, NodeId},
    levels::Levels,
    limits, wire,
};
use ractor::{Actor, ActorCell, ActorRef};
use tokio::sync::{Semaphore, watch};

use self::{
    machine::Machine,
    network::Network,
    proposer::{Message, Pending, Proposer},
    store::Store,
    sync::Syncs,
    types::{Member, Raft},
};
use crate::{net::Peers, shared::Shared};

/// Well above fsync plus round trip on slow disks, since an append lives that long.
const HEARTBEAT_MS: u64 = 250;
/// A client must go on within 5 seconds of a leader's death.
const ELECTION_MS: std::ops::Range<u64> = 900..1500;
/// Entries after which the ledger is written out and the log cut.
const ENTRIES_PER_SNAPSHOT: u64 = 2_000;
/// Entries kept behind a snapshot for a voter that lags a little.
const ENTRIES_KEPT: u64 = 500;
/// A snapshot goes in parts of this size, each of which has this long: a link of a megabit a
/// second is enough.
const SNAPSHOT_PART_BYTES: u64 = 1 << 20;
const SNAPSHOT_PART_MS: u64 = 12_000;
/// Entries in one message of replication: together they fit in a frame.
const ENTRIES_PER_MESSAGE: u64 = 8;
/// How long a proposal is tried: several elections.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long one attempt may take.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(3);
/// Between attempts while there is no leader.
const PAUSE: Duration = Duration::from_millis(100);

/// A handle to the log. Clones are cheap.
#[derive(Clone)]
pub struct Log {
    actor: ActorRef<Message>,
    core: Core,
    network: Network,
    credit: Arc<Semaphore>,
    syncs: Arc<Syncs>,
}

/// What the handle and the actor share.
#[derive(Clone)]
pub struct Core {
    env: Env,
    raft: Raft,
    ledger: Shared<Ledger>,
    progress: watch::Receiver<u64>,
    peers: Peers,
    voter: u64,
    levels: Levels,
}

/// How the log looks from here.
#[derive(Debug, Clone)]
pub struct LogStatus {
    /// The voter believed to lead.
    pub leader: Option<u64>,
    /// Raft's term.
    pub term: u64,
    /// Index applied here.
    pub applied: u64,
    /// Nodes that vote.
    pub voters: Vec<NodeId>,
}

/// How a log is opened.
pub struct Opening {
    /// As which voter.
    pub voter: u64,
    /// The ledger before the first entry.
    pub empty: Ledger,
    /// Whether all others are asked what they remember before this node takes part.
    pub doubtful: bool,
    /// What the program speaks.
    pub levels: Levels,
}

impl Log {
    /// Opens the log from disk and starts its actor under `supervisor`.
    pub async fn start(env: &Env, opening: Opening, peers: Peers, supervisor: &ActorCell) -> Result<Self, Failure> {
        let Opening { voter, empty, doubtful, levels } = opening;
        let refuse = |error: &dyn std::fmt::Display| Failure::internal(format!("cannot start the log: {error}"));
        let store = Store::open(env, voter, levels).await?;
        store.memory().doubt_disk(doubtful);
        let (progress, watched) = watch::channel(0);
        let machine = Machine::restore(store.clone(), empty, progress).await.map_err(|error| refuse(&error))?;
        let ledger = machine.ledger();
        let (entries_per_snapshot, entries_kept) = match probe::buggify(Point::SnapshotEarly) {
            true => (8, 2),
            false => (ENTRIES_PER_SNAPSHOT, ENTRIES_KEPT),
        };
        let config = Config {
            cluster_name: "nuthatch".into(),
            heartbeat_interval: HEARTBEAT_MS,
            election_timeout_min: ELECTION_MS.start,
            election_timeout_max: ELECTION_MS.end,
            install_snapshot_timeout: SNAPSHOT_PART_MS,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(entries_per_snapshot),
            max_in_snapshot_log_to_keep: entries_kept,
            max_payload_entries: ENTRIES_PER_MESSAGE,
            snapshot_max_chunk_size: SNAPSHOT_PART_BYTES,
            ..Config::default()
        };
        let config = Arc::new(config.validate().map_err(|error| refuse(&error))?);
        let network = Network { peers: peers.clone(), memory: store.memory().clone(), mark: store.mark().clone() };
        let raft = Raft::new(voter, config, network.clone(), store, machine).await.map_err(|error| refuse(&error))?;
        let core = Core { env: env.clone(), raft, ledger, progress: watched, peers, voter, levels };
        let (actor, _) = Actor::spawn_linked(None, Proposer, core.clone(), supervisor.clone())
            .await
            .map_err(|error| refuse(&error))?;
        let credit = Arc::new(Semaphore::new(limits::PROPOSALS_WAITING_MAX));
        Ok(Self { actor, core, network, credit, syncs: Arc::default() })
    }

    /// Whether the log has entries, or had some, or has voted.
    pub async fn has_begun(&self) -> bool {
        self.core.raft.is_initialized().await.unwrap_or(false)
    }

    /// Makes these nodes the first voters. All of them may call it, with the same
    /// members; a log that has begun is left alone.
    pub async fn begin(&self, members: BTreeMap<u64, NodeId>) -> Result<(), Failure> {
        let members: BTreeMap<u64, Member> =
            members.into_iter().map(|(voter, node)| (voter, Member { node })).collect();
        if self.has_begun().await {
            return Ok(());
        }
        match self.core.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(Failure::internal(format!("cannot begin the log: {error}"))),
        }
    }

    /// The ledger as applied here.
    pub fn ledger(&self) -> &Shared<Ledger> {
        &self.core.ledger
    }

    /// Has a command decided. One whose caller goes away may be decided or not.
    pub async fn propose(&self, command: Command) -> Result<Decided, Failure> {
        check_size(std::slice::from_ref(&command))?;
        let permit = self.credit.clone().try_acquire_owned().map_err(|_| {
            Failure::retry("too many decisions are waiting on this orchestrator: try again, or try another")
        })?;
        let busy = || Failure::retry("the log is restarting on this orchestrator: try again");
        let client = if let Command::Grant { client, .. } = &command { Some(*client) } else { None };
        let decided =
            ractor::call!(self.actor, |reply| Message::Propose(Box::new(Pending::new(command, reply, permit))));
        let (index, outcome) = decided.map_err(|_| busy())??;
        self.core.applied(index).await?;
        match (outcome?, client) {
            (Decided::Granted(lease), Some(client)) => self.core.with_view(&client, lease).map(Decided::Granted),
            (decided, _) => Ok(decided),
        }
    }

    /// Waits until this node has applied everything that was decided before the call.
    pub async fn sync(&self) -> Result<(), Failure> {
        self.syncs.join(|| self.core.sync()).await
    }

    /// The decided index, if this node leads.
    pub async fn read_index(&self) -> Result<u64, Failure> {
        self.core.read_index().await
    }

    /// Has another orchestrator's commands decided, if this node leads.
    pub async fn take_proposals(&self, commands: Vec<Command>) -> Result<wire::Decision, Failure> {
        if commands.len() > limits::COMMANDS_PER_ENTRY_MAX {
            return Err(Failure::invalid(format!("{} commands in one proposal are too many", commands.len())));
        }
        check_size(&commands)?;
        self.core.write(commands).await
    }

    /// Takes a message of replication from a node.
    pub async fn take_raft(&self, from: NodeId, call: &wire::Raft) -> Result<Vec<u8>, Failure> {
        if call.to != self.core.voter {
            return Err(Failure::denied(format!("voter {} is no longer at this node: its disk was replaced", call.to)));
        }
        network::take(&self.core.raft, &self.network, from, &call.message).await
    }

    /// What this node remembers of a voter's promises.
    pub fn recall(&self, voter: u64) -> Option<wire::Promise> {
        self.network.memory.of(voter)
    }

    /// Whether this node waits until all others were asked.
    pub fn doubt(&self) -> watch::Receiver<bool> {
        self.network.memory.doubt()
    }

    /// Why this voter may not vote any more, once another has told.
    pub fn verdict(&self) -> watch::Receiver<Option<String>> {
        self.network.memory.verdict()
    }

    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        self.core.leader().is_some_and(|(voter, _)| voter == self.core.voter)
    }

    /// How the log looks from here.
    pub fn status(&self) -> LogStatus {
        let metrics = self.core.raft.metrics().borrow().clone();
        LogStatus {
            leader: metrics.current_leader,
            term: metrics.current_term,
            applied: *self.core.progress.borrow(),
            voters: {
                let membership = metrics.membership_config.membership();
                let node = |voter| membership.get_node(&voter).map(|member| member.node);
                membership.voter_ids().filter_map(node).collect()
            },
        }
    }

    /// Stops replication.
    pub async fn stop(&self) {
        // The actor first: it would take the end of replication for a failure.
        let _ = self.actor.stop_and_wait(None, None).await;
        let _ = self.core.raft.shutdown().await;
    }
}

impl Core {
    fn leader(&self) -> Option<(u64, NodeId)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let voter = metrics.current_leader?;
        let member = metrics.membership_config.membership().get_node(&voter)?;
        Some((voter, member.node))
    }

    /// Waits until this node has applied `index`.
    async fn applied(&self, index: u64) -> Result<(), Failure> {
        let mut progress = self.progress.clone();
        let caught_up = tokio::time::timeout(PATIENCE, progress.wait_for(|applied| *applied >= index)).await;
        match caught_up {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Failure::retry("this orchestrator lags behind the others: try another")),
        }
    }

    /// Writes one entry, if this node leads.
    async fn write(&self, commands: Vec<Command>) -> Result<wire::Decision, Failure> {
        self.check_levels(&commands)?;
        let entry = Entry { at: self.env.clock.now(), commands };
        match self.raft.client_write(entry).await {
            Ok(written) => {
                let outcomes = written.data.into_iter().map(without_view).collect();
                Ok(wire::Decision { index: written.log_id.index, outcomes })
            }
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                Err(Failure::retry("this orchestrator does not lead the log"))
            }
            Err(RaftError::APIError(error)) => Err(Failure::internal(error.to_string())),
            Err(RaftError::Fatal(error)) => Err(Failure::retry(format!("the log has stopped here: {error}"))),
        }
    }

    /// What some voter could not read is not written, whoever proposes it.
    fn check_levels(&self, commands: &[Command]) -> Result<(), Failure> {
        let level = self.ledger.read().level();
        let early = |command: &&Command| match command {
            Command::Raise { level, .. } => !self.levels.speaks(*level),
            command => command.level() > level,
        };
        match commands.iter().find(early) {
            None => Ok(()),
            Some(command) => Err(Failure::retry(format!(
                "this needs level {} of the log, which is at {level} here: try again once all orchestrators are up to date",
                command.level()
            ))),
        }
    }

    /// Fills the view of a lease whose grant was applied here.
    fn with_view(&self, client: &ClientId, lease: Lease) -> Result<Lease, Failure> {
        let ledger = self.ledger.read();
        match ledger.open_lease(&lease.id).and_then(|open| ledger.view(open)) {
            Some(view) => Ok(Lease { view, ..lease }),
            None => Err(ledger.ended(client, &lease.id)),
        }
    }

    /// The decided index. Nothing decided before this call lies beyond it: the index is
    /// taken first, and then a majority confirms that this node still leads.
    async fn read_index(&self) -> Result<u64, Failure> {
        if probe::planted(Plant::ReadUnconfirmed) {
            return Ok(*self.progress.borrow());
        }
        let read = self.raft.get_read_log_id().await;
        let (read, _) = read.map_err(|error| Failure::retry(format!("this orchestrator does not lead: {error}")))?;
        Ok(read.map_or(0, |read| read.index))
    }

    /// Tries something at the leader, wherever that is, until it works or time is up.
    async fn at_leader<T, Here, There, A, B>(&self, here: Here, there: There) -> Result<T, Failure>
    where
        Here: Fn() -> A,
        There: Fn(NodeId) -> B,
        A: Future<Output = Result<T, Failure>>,
        B: Future<Output = Result<T, Failure>>,
    {
        let mut last = Failure::retry(
            "no majority of the orchestrators answers, so nothing can be decided now: check `nuthatch cluster status`",
        );
        let attempts = async {
            loop {
                let attempt = match self.leader() {
                    Some((voter, _)) if voter == self.voter => {
                        tokio::time::timeout(ATTEMPT_PATIENCE, here()).await.unwrap_or_else(|_| Err(last.clone()))
                    }
                    Some((_, node)) => there(node).await,
                    None => Err(last.clone()),
                };
                match attempt {
                    Err(failure) if failure.code == Code::Retry => last = failure,
                    decided => return decided,
                }
                self.env.clock.sleep(PAUSE).await;
            }
        };
        match tokio::time::timeout(PATIENCE, attempts).await {
            Ok(done) => done,
            Err(_) => Err(last),
        }
    }

    async fn sync(&self) -> Result<(), Failure> {
        let index = self
            .at_leader(|| self.read_index(), |node| self.peers.call(node, wire::ReadIndex {}, ATTEMPT_PATIENCE))
            .await?;
        self.applied(index).await
    }

    async fn decide(&self, commands: Vec<Command>) -> Result<wire::Decision, Failure> {
        self.at_leader(
            || self.write(commands.clone()),
            |node| self.peers.call(node, wire::Propose { commands: commands.clone() }, ATTEMPT_PATIENCE),
        )
        .await
    }
}

/// What travels between orchestrators fits in a frame, also when it is replicated.
fn check_size(commands: &[Command]) -> Result<(), Failure> {
    let bytes: usize = commands.iter().map(|command| codec::encode(command).len()).sum();
    if bytes <= limits::ENTRY_BYTES_MAX {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "a decision of {bytes} bytes is too large: {} are allowed; commit in smaller parts",
        limits::ENTRY_BYTES_MAX
    )))
}

/// A view may fill a frame, and an answer may carry as many as an entry has commands:
/// each proposer fills it in from its own ledger.
fn without_view(outcome: Outcome) -> Outcome {
    match outcome {
        Ok(Decided::Granted(mut lease)) => {
            let View { epoch, index, .. } = lease.view;
            lease.view = View { epoch, index, ..View::default() };
            Ok(Decided::Granted(lease))
        }
        other => other,
    }
}

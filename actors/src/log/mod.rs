//! The decided log, as the rest of an orchestrator uses it.
//!
//! Any orchestrator takes proposals: they are gathered into one entry, which the
//! leader writes. A proposal that got no clear answer is proposed again; commands
//! are made so that this is harmless.
//!
//! Invariant: `propose` returns what a majority has decided and this node has
//! applied, so a later look at the shared ledger sees it.

mod network;
mod store;
mod machine;
pub mod types;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use control::ledger::Ledger;
use env::Env;
use openraft::{
    Config, SnapshotPolicy,
    error::{ClientWriteError, InitializeError, RaftError},
};
use protocol::{
    codec,
    commands::{Command, Decided, Entry, Outcome},
    failure::{Code, Failure},
    ids::NodeId,
    limits, wire,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::{machine::Machine, network::Network, store::Store, types::{Member, Raft}};
use crate::{net::Peers, shared::Shared, tasks::Tasks};

/// Well above fsync plus round trip on slow disks, since an append lives that long.
const HEARTBEAT_MS: u64 = 250;
/// A client must go on within 5 seconds of a leader's death.
const ELECTION_MS: std::ops::Range<u64> = 900..1500;
/// Entries after which the ledger is written out and the log cut.
const ENTRIES_PER_SNAPSHOT: u64 = 2_000;
/// Entries kept behind a snapshot for a voter that lags a little.
const ENTRIES_KEPT: u64 = 500;
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
    credit: Arc<Semaphore>,
}

/// What the handle and the actor share.
#[derive(Clone)]
struct Core {
    env: Env,
    raft: Raft,
    ledger: Shared<Ledger>,
    progress: watch::Receiver<u64>,
    peers: Peers,
    voter: u64,
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

impl Log {
    /// Opens the log from disk and starts its actor under `supervisor`.
    pub async fn start(
        env: &Env,
        voter: u64,
        empty: Ledger,
        peers: Peers,
        supervisor: &ActorCell,
    ) -> Result<Self, Failure> {
        let refuse = |error: &dyn std::fmt::Display| Failure::internal(format!("cannot start the log: {error}"));
        let store = Store::open(&*env.disk, env.blocking.clone())?;
        let (progress, watched) = watch::channel(0);
        let machine = Machine::restore(store.clone(), empty, progress).map_err(|error| refuse(&error))?;
        let ledger = machine.ledger();
        let config = Config {
            cluster_name: "nuthatch".into(),
            heartbeat_interval: HEARTBEAT_MS,
            election_timeout_min: ELECTION_MS.start,
            election_timeout_max: ELECTION_MS.end,
            install_snapshot_timeout: 3_000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(ENTRIES_PER_SNAPSHOT),
            max_in_snapshot_log_to_keep: ENTRIES_KEPT,
            max_payload_entries: ENTRIES_PER_MESSAGE,
            snapshot_max_chunk_size: limits::FRAME_BYTES_MAX as u64 / 2,
            ..Config::default()
        };
        let config = Arc::new(config.validate().map_err(|error| refuse(&error))?);
        let network = Network { peers: peers.clone() };
        let raft = Raft::new(voter, config, network, store, machine).await.map_err(|error| refuse(&error))?;
        let core = Core { env: env.clone(), raft, ledger, progress: watched, peers, voter };
        let (actor, _) = Actor::spawn_linked(None, Proposer, core.clone(), supervisor.clone())
            .await
            .map_err(|error| refuse(&error))?;
        Ok(Self { actor, core, credit: Arc::new(Semaphore::new(limits::PROPOSALS_WAITING_MAX)) })
    }

    /// Makes these nodes the first voters. All of them may call it, with the same
    /// members; a log that has begun is left alone.
    pub async fn begin(&self, members: BTreeMap<u64, NodeId>) -> Result<(), Failure> {
        let members: BTreeMap<u64, Member> =
            members.into_iter().map(|(voter, node)| (voter, Member { node })).collect();
        if self.core.raft.is_initialized().await.unwrap_or(false) {
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

    /// Has a command decided.
    pub async fn propose(&self, command: Command) -> Result<Decided, Failure> {
        let permit = self.credit.clone().try_acquire_owned().map_err(|_| {
            Failure::retry("too many decisions are waiting on this orchestrator: try again, or try another")
        })?;
        let busy = || Failure::retry("the log is restarting on this orchestrator: try again");
        let decided = ractor::call!(self.actor, |reply| Message::Propose(Box::new(Pending { command, reply, _permit: permit })));
        let (index, outcome) = decided.map_err(|_| busy())??;
        self.core.applied(index).await?;
        outcome
    }

    /// Waits until this node has applied everything that was decided before the call.
    pub async fn sync(&self) -> Result<(), Failure> {
        self.core.sync().await
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
        self.core.write(commands).await
    }

    /// Takes a message of replication.
    pub async fn take_raft(&self, call: &wire::Raft) -> Result<Vec<u8>, Failure> {
        if call.to != self.core.voter {
            return Err(Failure::denied(format!(
                "voter {} is no longer at this node: its disk was replaced",
                call.to
            )));
        }
        network::take(&self.core.raft, &call.message).await
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
            voters: metrics.membership_config.nodes().map(|(_, member)| member.node).collect(),
        }
    }

    /// Stops replication. The database is closed when this returns.
    pub async fn stop(&self) {
        let _ = self.core.raft.shutdown().await;
        let _ = self.actor.stop_and_wait(None, None).await;
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
        let entry = Entry { at: self.env.clock.now(), commands };
        match self.raft.client_write(entry).await {
            Ok(written) => Ok(wire::Decision { index: written.log_id.index, outcomes: written.data }),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => {
                Err(Failure::retry("this orchestrator does not lead the log"))
            }
            Err(RaftError::APIError(error)) => Err(Failure::internal(error.to_string())),
            Err(RaftError::Fatal(error)) => Err(Failure::retry(format!("the log has stopped here: {error}"))),
        }
    }

    async fn read_index(&self) -> Result<u64, Failure> {
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
            .at_leader(
                || self.read_index(),
                |node| self.peers.call(node, wire::ReadIndex {}, ATTEMPT_PATIENCE),
            )
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

/// A command that waits to be decided.
struct Pending {
    command: Command,
    reply: RpcReplyPort<Result<(u64, Outcome), Failure>>,
    /// Bounds how many wait: given back when this is dropped.
    _permit: OwnedSemaphorePermit,
}

enum Message {
    Propose(Box<Pending>),
    Finished(Vec<Pending>, Result<wire::Decision, Failure>),
}

/// Gathers proposals into entries, one entry under way at a time.
struct Proposer;

struct ProposerState {
    core: Core,
    waiting: VecDeque<Pending>,
    busy: bool,
    tasks: Tasks,
}

impl Actor for Proposer {
    type Msg = Message;
    type State = ProposerState;
    type Arguments = Core;

    async fn pre_start(&self, _: ActorRef<Message>, core: Core) -> Result<ProposerState, ActorProcessingErr> {
        Ok(ProposerState { core, waiting: VecDeque::new(), busy: false, tasks: Tasks::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut ProposerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Propose(pending) => state.waiting.push_back(*pending),
            Message::Finished(batch, decision) => {
                state.busy = false;
                answer(batch, decision);
            }
        }
        if !state.busy && !state.waiting.is_empty() {
            state.busy = true;
            let batch = state.next_batch();
            let core = state.core.clone();
            state.tasks.spawn(async move {
                let commands = batch.iter().map(|pending| pending.command.clone()).collect();
                let decision = core.decide(commands).await;
                let _ = myself.cast(Message::Finished(batch, decision));
            });
        }
        Ok(())
    }
}

impl ProposerState {
    /// As many waiting commands as fit in one entry, and at least one.
    fn next_batch(&mut self) -> Vec<Pending> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(pending) = self.waiting.front() {
            bytes += codec::encode(&pending.command).len();
            let full = batch.len() == limits::COMMANDS_PER_ENTRY_MAX || bytes > limits::ENTRY_BYTES_MAX;
            if full && !batch.is_empty() {
                break;
            }
            batch.extend(self.waiting.pop_front());
        }
        batch
    }
}

/// Gives each proposer its outcome. One that has gone is of no concern.
fn answer(batch: Vec<Pending>, decision: Result<wire::Decision, Failure>) {
    match decision {
        Ok(wire::Decision { index, outcomes }) if outcomes.len() == batch.len() => {
            for (pending, outcome) in batch.into_iter().zip(outcomes) {
                let _ = pending.reply.send(Ok((index, outcome)));
            }
        }
        Ok(_) => fail(batch, &Failure::internal("the leader answered for another number of commands")),
        Err(failure) => fail(batch, &failure),
    }
}

fn fail(batch: Vec<Pending>, failure: &Failure) {
    for pending in batch {
        let _ = pending.reply.send(Err(failure.clone()));
    }
}

//! The log's replication over QUIC.
//!
//! openraft gives up a message after one heartbeat interval and sends it anew. Over a link
//! on which it takes longer than that, none would ever arrive; so a message with entries
//! travels on, and whoever asks for it again waits for the one that is under way. Heartbeats
//! beside it tell that both sides live.

use std::time::Duration;

use openraft::{
    RaftNetwork, RaftNetworkFactory,
    error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Unreachable},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
        VoteResponse,
    },
};
use protocol::{codec, failure::Failure, ids::NodeId, wire, wire::Promise};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::task::JoinSet;

use super::{
    level::Mark,
    memory::Memory,
    types::{LogId, Member, Raft, TypeConfig},
};
use crate::net::Peers;

/// How long replication waits after a peer was unreachable.
const BACKOFF: Duration = Duration::from_millis(200);
/// How long a message with entries may travel: the largest one, over a link of two megabits
/// a second.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(10);

/// A message of replication, with openraft's types in it. Before it goes a byte: the level
/// of the sender's log, without which nobody knows whether it can be read.
#[derive(Serialize, Deserialize)]
enum Message {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<u64>),
    Snapshot(InstallSnapshotRequest<TypeConfig>),
}

/// Makes connections to voters.
#[derive(Clone)]
pub struct Network {
    /// The nodes behind them.
    pub peers: Peers,
    /// What they promised.
    pub memory: Memory,
    /// The level of this node's log.
    pub mark: Mark,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Voter;
    async fn new_client(&mut self, target: u64, member: &Member) -> Voter {
        Voter { route: Route { network: self.clone(), target, member: member.clone() }, transfer: None }
    }
}

/// One voter, as another sees it.
pub struct Voter {
    route: Route,
    transfer: Option<Transfer>,
}

/// The way to a voter.
#[derive(Clone)]
struct Route {
    network: Network,
    target: u64,
    member: Member,
}

type Appended = Result<AppendEntriesResponse<u64>, RPCError<u64, Member, RaftError<u64>>>;

/// Entries on their way to a voter. Dropping it calls them back.
struct Transfer {
    vote: openraft::Vote<u64>,
    prev: Option<LogId>,
    last: Option<LogId>,
    /// The one task that sends them.
    task: JoinSet<Appended>,
}

impl Transfer {
    /// Whether this is what is to be sent, or the beginning of it.
    fn begins(&self, request: &AppendEntriesRequest<TypeConfig>) -> bool {
        let has_last = || request.entries.iter().any(|entry| Some(entry.log_id) == self.last);
        self.vote == request.vote && self.prev == request.prev_log_id && has_last()
    }

    /// What became of it. May be asked again if this future is dropped.
    async fn answer(&mut self) -> Appended {
        match self.task.join_next().await {
            Some(Ok(answer)) => answer,
            _ => Err(unreachable(&Failure::retry("the sending of entries was ended"))),
        }
    }
}

fn unreachable<E: std::error::Error>(failure: &Failure) -> RPCError<u64, Member, E> {
    RPCError::Unreachable(Unreachable::new(failure))
}

impl Route {
    async fn send<T, E>(&self, message: &Message, patience: Duration) -> Result<T, RPCError<u64, Member, E>>
    where
        T: DeserializeOwned,
        E: DeserializeOwned + std::error::Error,
    {
        let Network { peers, memory, mark } = &self.network;
        // Taken before anything of the message can be: the mark is there before the entry.
        let mut bytes = vec![mark.get()];
        bytes.extend(codec::encode(message));
        let call = wire::Raft { to: self.target, message: bytes };
        memory.meet(peers, self.member.node).await.map_err(|failure| unreachable(&failure))?;
        let answer = peers.call(self.member.node, call, patience).await;
        let bytes = answer.map_err(|failure| unreachable(&failure))?;
        match codec::decode::<Result<T, E>>("replication reply", &bytes) {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(RPCError::RemoteError(RemoteError::new(self.target, error))),
            Err(error) => Err(RPCError::Network(NetworkError::new(&error))),
        }
    }

    /// Sends entries, and takes down what the voter has promised by taking them.
    async fn append(&self, request: AppendEntriesRequest<TypeConfig>, patience: Duration) -> Appended {
        let sent = promised(&request.vote, last_of(&request));
        let answer = self.send(&Message::Append(request), patience).await?;
        match answer {
            AppendEntriesResponse::Success => self.network.memory.note(self.target, sent),
            AppendEntriesResponse::PartialSuccess(Some(matched)) => {
                self.network.memory.note(self.target, Promise { index: matched.index, ..sent });
            }
            _ => {}
        }
        Ok(answer)
    }

    fn transfer(&self, request: AppendEntriesRequest<TypeConfig>) -> Transfer {
        let (vote, prev, last) = (request.vote, request.prev_log_id, last_of(&request));
        let (route, mut task) = (self.clone(), JoinSet::new());
        task.spawn(async move { route.append(request, TRANSFER_PATIENCE).await });
        Transfer { vote, prev, last, task }
    }
}

impl RaftNetwork<TypeConfig> for Voter {
    async fn append_entries(&mut self, request: AppendEntriesRequest<TypeConfig>, option: RPCOption) -> Appended {
        // All that waits here ends before openraft drops the future at its hard limit, so that
        // silence is counted.
        let patience = option.soft_ttl();
        if request.entries.is_empty() {
            return self.route.append(request, patience).await;
        }
        let under_way = self.transfer.take().filter(|transfer| transfer.begins(&request));
        let (vote, prev_log_id, last) = (request.vote, request.prev_log_id, last_of(&request));
        let heartbeat = under_way.is_some().then(|| {
            probe::sometimes("entries travel for longer than a heartbeat interval");
            AppendEntriesRequest { vote, prev_log_id, leader_commit: request.leader_commit, entries: Vec::new() }
        });
        let transfer = self.transfer.insert(under_way.unwrap_or_else(|| self.route.transfer(request)));
        let slow = || unreachable(&Failure::retry(format!("no reply to entries within {patience:?}")));
        let lives = async {
            let late = tokio::time::timeout(patience, std::future::pending::<()>());
            let Some(heartbeat) = heartbeat else {
                let _ = late.await;
                return Err(slow());
            };
            tokio::join!(self.route.append(heartbeat, patience), late).0
        };
        let answer = tokio::select! {
            biased;
            arrived = transfer.answer() => match arrived {
                // More may be asked for by now than what was under way.
                Ok(AppendEntriesResponse::Success) if transfer.last != last => {
                    Ok(AppendEntriesResponse::PartialSuccess(transfer.last))
                }
                answer => answer,
            },
            lives = lives => match lives {
                Ok(AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_)) => {
                    // openraft knows no success with nothing.
                    let nothing_new = AppendEntriesResponse::PartialSuccess(prev_log_id);
                    return prev_log_id.map(|_| nothing_new).ok_or_else(slow);
                }
                Err(failed) => return Err(failed),
                answer => answer,
            },
        };
        self.transfer = None;
        answer
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, Member, RaftError<u64, InstallSnapshotError>>> {
        let sent = request.done.then(|| promised(&request.vote, request.meta.last_log_id));
        let vote = request.vote;
        let answer: InstallSnapshotResponse<u64> =
            self.route.send(&Message::Snapshot(request), option.soft_ttl()).await?;
        if let Some(sent) = sent.filter(|_| answer.vote == vote) {
            self.route.network.memory.note(self.route.target, sent);
        }
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, Member, RaftError<u64>>> {
        let vote = request.vote;
        let answer: VoteResponse<u64> = self.route.send(&Message::Vote(request), option.soft_ttl()).await?;
        if answer.vote_granted {
            self.route.network.memory.note(self.route.target, promised(&vote, None));
        }
        Ok(answer)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}

/// What a voter promises under a vote, with the log up to an entry.
fn promised(vote: &openraft::Vote<u64>, last: Option<LogId>) -> Promise {
    let leader = vote.leader_id();
    let candidate = leader.voted_for().unwrap_or_default();
    Promise { term: leader.term, candidate, index: last.map_or(0, |last| last.index) }
}

fn last_of(request: &AppendEntriesRequest<TypeConfig>) -> Option<LogId> {
    request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id)
}

/// Takes a message of replication from another voter, at node `from`, and makes the answer.
pub async fn take(raft: &Raft, network: &Network, from: NodeId, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let (level, message) = message.split_first().ok_or_else(|| Failure::invalid("an empty replication message"))?;
    network.mark.check(*level)?;
    let message = codec::decode("replication message", message)?;
    if let Message::Append(request) = &message {
        network.mark.check_entries(&request.entries)?;
    }
    network.memory.meet(&network.peers, from).await?;
    // Who sends holds to what it sends: it is the first to whom a candidate gives its vote,
    // and the first to whom a leader sends its entries.
    let (vote, last) = match &message {
        Message::Append(request) => (&request.vote, last_of(request)),
        Message::Vote(request) => (&request.vote, None),
        Message::Snapshot(request) => (&request.vote, None),
    };
    let sent = promised(vote, last);
    network.memory.note(sent.candidate, sent);
    Ok(match message {
        Message::Append(request) => codec::encode(&raft.append_entries(request).await),
        Message::Vote(request) => codec::encode(&raft.vote(request).await),
        Message::Snapshot(request) => codec::encode(&raft.install_snapshot(request).await),
    })
}

//! The log's replication over QUIC.

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

use super::{
    level::Mark,
    memory::Memory,
    types::{LogId, Member, Raft, TypeConfig},
};
use crate::net::Peers;

/// How long replication waits after a peer was unreachable.
const BACKOFF: Duration = Duration::from_millis(200);

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
        Voter { network: self.clone(), target, member: member.clone() }
    }
}

/// One voter, as another sees it.
pub struct Voter {
    network: Network,
    target: u64,
    member: Member,
}

impl Voter {
    async fn send<T, E>(&self, message: &Message, option: &RPCOption) -> Result<T, RPCError<u64, Member, E>>
    where
        T: DeserializeOwned,
        E: DeserializeOwned + std::error::Error,
    {
        let Network { peers, memory, mark } = &self.network;
        // Taken before anything of the message can be: the mark is there before the entry.
        let mut bytes = vec![mark.get()];
        bytes.extend(codec::encode(message));
        let call = wire::Raft { to: self.target, message: bytes };
        let met = memory.meet(peers, self.member.node).await;
        met.map_err(|failure| RPCError::Unreachable(Unreachable::new(&failure)))?;
        // Before openraft drops the future at its hard limit, so that silence is counted.
        let answer = peers.call(self.member.node, call, option.soft_ttl()).await;
        let bytes = answer.map_err(|failure| RPCError::Unreachable(Unreachable::new(&failure)))?;
        match codec::decode::<Result<T, E>>("replication reply", &bytes) {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(RPCError::RemoteError(RemoteError::new(self.target, error))),
            Err(error) => Err(RPCError::Network(NetworkError::new(&error))),
        }
    }
}

impl RaftNetwork<TypeConfig> for Voter {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, Member, RaftError<u64>>> {
        let sent = promised(&request.vote, last_of(&request));
        let answer = self.send(&Message::Append(request), &option).await?;
        match answer {
            AppendEntriesResponse::Success => self.network.memory.note(self.target, sent),
            AppendEntriesResponse::PartialSuccess(Some(matched)) => {
                self.network.memory.note(self.target, Promise { index: matched.index, ..sent });
            }
            _ => {}
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, Member, RaftError<u64, InstallSnapshotError>>> {
        let sent = request.done.then(|| promised(&request.vote, request.meta.last_log_id));
        let vote = request.vote;
        let answer: InstallSnapshotResponse<u64> = self.send(&Message::Snapshot(request), &option).await?;
        if let Some(sent) = sent.filter(|_| answer.vote == vote) {
            self.network.memory.note(self.target, sent);
        }
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, Member, RaftError<u64>>> {
        let vote = request.vote;
        let answer: VoteResponse<u64> = self.send(&Message::Vote(request), &option).await?;
        if answer.vote_granted {
            self.network.memory.note(self.target, promised(&vote, None));
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

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
    memory::Memory,
    types::{LogId, Member, Raft, TypeConfig},
};
use crate::net::Peers;

/// How long replication waits after a peer was unreachable.
const BACKOFF: Duration = Duration::from_millis(200);

/// A message of replication. Between orchestrators of one version only: openraft's
/// types are inside.
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
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Voter;
    async fn new_client(&mut self, target: u64, member: &Member) -> Voter {
        Voter { peers: self.peers.clone(), memory: self.memory.clone(), target, member: member.clone() }
    }
}

/// One voter, as another sees it.
pub struct Voter {
    peers: Peers,
    memory: Memory,
    target: u64,
    member: Member,
}

impl Voter {
    async fn send<T, E>(&self, message: &Message, option: &RPCOption) -> Result<T, RPCError<u64, Member, E>>
    where
        T: DeserializeOwned,
        E: DeserializeOwned + std::error::Error,
    {
        let call = wire::Raft { to: self.target, message: codec::encode(message) };
        let met = self.memory.meet(&self.peers, self.member.node).await;
        met.map_err(|failure| RPCError::Unreachable(Unreachable::new(&failure)))?;
        // Before openraft drops the future at its hard limit, so that silence is counted.
        let answer = self.peers.call(self.member.node, call, option.soft_ttl()).await;
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
            AppendEntriesResponse::Success => self.memory.note(self.target, sent),
            AppendEntriesResponse::PartialSuccess(Some(matched)) => {
                self.memory.note(self.target, Promise { index: matched.index, ..sent });
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
            self.memory.note(self.target, sent);
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
            self.memory.note(self.target, promised(&vote, None));
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
    let message = codec::decode("replication message", message)?;
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

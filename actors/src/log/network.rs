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
use protocol::{codec, failure::Failure, wire};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::types::{Member, Raft, TypeConfig};
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
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Voter;
    async fn new_client(&mut self, target: u64, member: &Member) -> Voter {
        Voter { peers: self.peers.clone(), target, member: member.clone() }
    }
}

/// One voter, as another sees it.
pub struct Voter {
    peers: Peers,
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
        self.send(&Message::Append(request), &option).await
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, Member, RaftError<u64, InstallSnapshotError>>> {
        self.send(&Message::Snapshot(request), &option).await
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, Member, RaftError<u64>>> {
        self.send(&Message::Vote(request), &option).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}

/// Takes a message of replication from another voter and makes the answer.
pub async fn take(raft: &Raft, message: &[u8]) -> Result<Vec<u8>, Failure> {
    Ok(match codec::decode("replication message", message)? {
        Message::Append(request) => codec::encode(&raft.append_entries(request).await),
        Message::Vote(request) => codec::encode(&raft.vote(request).await),
        Message::Snapshot(request) => codec::encode(&raft.install_snapshot(request).await),
    })
}

//! What the log is made of, for openraft.

use protocol::{commands, ids::NodeId};
use serde::{Deserialize, Serialize};

/// A member of the log's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node behind the voter id.
    pub node: NodeId,
}

/// openraft wants a default; no member has it.
impl Default for Member {
    fn default() -> Self {
        Self { node: NodeId([0; 16]) }
    }
}

openraft::declare_raft_types!(
    /// The log's types.
    pub TypeConfig:
        D = commands::Entry,
        R = Vec<commands::Outcome>,
        NodeId = u64,
        Node = Member,
        SnapshotData = super::images::ImageFile,
);

/// The log of this cluster.
pub type Raft = openraft::Raft<TypeConfig>;
/// One entry of it.
pub type RaftEntry = openraft::Entry<TypeConfig>;
/// What goes wrong in its storage.
pub type StorageError = openraft::StorageError<u64>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::SnapshotMeta<u64, Member>;
/// Who votes.
pub type Membership = openraft::StoredMembership<u64, Member>;
/// A place in the log.
pub type LogId = openraft::LogId<u64>;

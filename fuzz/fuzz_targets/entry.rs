//! Entries of the decided log, messages of replication, and the state of the ledger.
#![no_main]

use actors::log::types::{RaftEntry, TypeConfig};
use control::Ledger;
use fuzz::{bounded, message};
use libfuzzer_sys::fuzz_target;
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest};
use protocol::commands::{Decided, Entry};

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        message::<Entry>(data);
        message::<Decided>(data);
        message::<RaftEntry>(data);
        message::<AppendEntriesRequest<TypeConfig>>(data);
        message::<InstallSnapshotRequest<TypeConfig>>(data);
        message::<VoteRequest<u64>>(data);
        message::<Ledger>(data);
    });
});

//! Messages of gossip, as one orchestrator reads them from another.
#![no_main]

use actors::orchestrator::read_gossip;
use chitchat::{ChitchatMessage, Serializable as _};
use fuzz::bounded_by;
use libfuzzer_sys::fuzz_target;
use protocol::limits;

/// What a block may become: 64 KiB of operations of nine bytes, each of them 200 in memory.
const BLOCK_MEMORY: usize = 3 << 20;

fuzz_target!(|data: &[u8]| {
    bounded_by(limits::GOSSIP_BLOCKS_MAX * BLOCK_MEMORY + (4 << 20) + 64 * data.len(), || {
        let mut message = ChitchatMessage::BadCluster.serialize_to_vec();
        // Behind the magic number and the version stands the kind.
        message.pop();
        message.extend_from_slice(data);
        let _ = (read_gossip(data), read_gossip(&message));
    });
});

//! Every bound of the system, with its reason.

/// Largest RPC frame, in bytes: a push of records or a batch of log commands fits
/// well, and a peer cannot make us hold more than this per stream.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Largest gossip message, in bytes. chitchat's own messages stay under the size
/// of a UDP datagram.
pub const GOSSIP_BYTES_MAX: usize = 65_507;
/// Streams that one peer may have open at once: bounds the work in flight per peer.
pub const STREAMS_PER_PEER_MAX: u32 = 256;
/// Largest signed record, in bytes: a keyset of five orchestrators and fifty admins is under 16 KiB.
pub const RECORD_BYTES_MAX: usize = 64 << 10;
/// Records in one push or pull: with `RECORD_BYTES_MAX` it bounds a reply; the rest is pulled again.
pub const RECORDS_PER_FRAME_MAX: usize = 512;
/// Bytes of records in one push or pull.
pub const RECORDS_BYTES_MAX: usize = 2 << 20;
/// Commands in one entry of the log: one fsync serves them all, and an entry stays far below a frame.
pub const COMMANDS_PER_ENTRY_MAX: usize = 256;
/// Proposals waiting for the log on one orchestrator: beyond that callers are told to retry.
pub const PROPOSALS_WAITING_MAX: usize = 4096;
/// Tickets asked for in one call: enough for a client's packs in flight.
pub const TICKETS_PER_CALL_MAX: usize = 64;
/// How long a lease may be open, in seconds (DESIGN: at most two hours, never renewed).
pub const LEASE_SECS_MAX: u64 = 2 * 3600;
/// Sealed chunk bytes that a pack gathers before it is closed. Large enough that
/// requests are few, small enough that four in flight fit in memory.
pub const PACK_BYTES_TARGET: usize = 16 << 20;
/// Largest object of any kind, in bytes. A pack overshoots its target by at most one chunk.
pub const OBJECT_BYTES_MAX: usize = 64 << 20;
/// Largest chunk of plaintext, in bytes.
pub const CHUNK_BYTES_MAX: usize = 8 << 20;
/// Longest path, in bytes, that a tree entry's name may have (POSIX NAME_MAX is 255).
pub const NAME_BYTES_MAX: usize = 4096;
/// Deepest tree that is walked or restored: bounds the stack of open directories.
pub const TREE_DEPTH_MAX: usize = 4096;
/// Segments that one commit may add: a two-hour lease at full speed writes fewer packs than one holds.
pub const SEGMENTS_PER_COMMIT_MAX: usize = 64;
/// Longest human-given name (domain, token, client, host), in bytes.
pub const LABEL_BYTES_MAX: usize = 128;
/// Uses that one token may have.
pub const TOKEN_USES_MAX: u32 = 100_000;
/// Orchestrators in a roster: more add latency to every decision and no safety.
pub const ROSTER_MAX: usize = 9;
/// Orchestrator addresses that a token carries.
pub const TOKEN_ADDRESSES_MAX: usize = 9;

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
/// Bytes of commands in one entry of the log, so that several fit in one frame of replication.
pub const ENTRY_BYTES_MAX: usize = 256 << 10;
/// A client's own segments that one lease names: at 47 bytes each they stay below
/// a frame. Of more, the newest are named, and older ones only cost savings.
pub const VIEW_SEGMENTS_MAX: usize = 65_536;
/// How long a client leaves an orchestrator alone after its first failure, in milliseconds.
pub const FAILOVER_BACKOFF_MIN_MS: u64 = 100;
/// How long at most, in milliseconds: long enough that a fleet without orchestrators does not
/// drown the first to return, short enough that nobody notices the wait.
pub const FAILOVER_BACKOFF_MAX_MS: u64 = 8_000;
/// Problems that an outcome names; all are counted. Enough for a person to read.
pub const PROBLEMS_NAMED_MAX: usize = 1000;
/// Plaintext that a backup reads before it hands it on, in bytes: few enough hops
/// that their cost vanishes, small enough that all cores get work early.
pub const BATCH_BYTES: usize = 4 << 20;
/// Entries in a batch: bounds what a tree of empty files puts into one.
pub const BATCH_ITEMS_MAX: usize = 4096;
/// Sealed tree chunks that a pack of their own gathers, in bytes. Smaller than
/// data packs, since two are open at a time and most backups have few trees.
pub const TREE_PACK_BYTES_TARGET: usize = 4 << 20;
/// Least memory budget of a backup or restore, in bytes: two open packs, and
/// batches of the largest chunks on their way to them.
pub const MEMORY_BYTES_MIN: usize = 96 << 20;
/// Entries of one index segment: 11 MiB. With `SEGMENTS_PER_COMMIT_MAX` one
/// commit may add 16 million chunks.
pub const SEGMENT_ROWS_MAX: usize = 256 << 10;
/// Plaintext hashes that a backup remembers, in two halves: 36 MiB at most.
pub const KNOWN_CHUNKS_MAX: usize = 256 << 10;
/// Hard-linked files that a backup or restore remembers; beyond that a further
/// name is read, or written, as a file of its own.
pub const HARD_LINKS_MAX: usize = 1 << 20;
/// Blocks of index segments kept open in memory: 16 MiB.
pub const INDEX_BLOCKS_OPEN_MAX: usize = 256;
/// Objects read ahead or written at the same time, at most.
pub const TRANSFERS_MAX: usize = 64;
/// How long an upload ticket is good for, in seconds: what S3 itself allows a
/// signed date to be off.
pub const PUT_TICKET_SECS: u64 = 15 * 60;
/// How long a read ticket is good for, in seconds: one batch serves a while of restoring.
pub const READ_TICKET_SECS: u64 = 3600;
/// Longest path of an object with its prefix, in bytes: S3's own bound.
pub const OBJECT_PATH_BYTES_MAX: usize = 1024;
/// Longest pause without any byte from or to a storage, in seconds: some write
/// to slow disks before they answer.
pub const STORE_STALL_SECS_MAX: u64 = 60;
/// Slowest useful transfer to or from a storage, in bytes a second: below it the
/// transfer is given up, so that a trickle cannot hold memory for ever.
pub const STORE_BYTES_PER_SEC_MIN: u64 = 32 << 10;
/// Bytes read of a storage's error answer: it is an XML document of a few lines.
pub const STORE_ERROR_BYTES_MAX: usize = 64 << 10;
/// Connections that the built-in storage serves at once; others wait to be accepted.
pub const STORAGE_CONNECTIONS_MAX: usize = 256;
/// Objects on one page of the built-in storage's listings: S3's own bound.
pub const STORAGE_LIST_PAGE_MAX: usize = 1000;
/// Segments in the path of an object in the built-in storage: bounds how deep its directories go.
pub const STORAGE_PATH_DEPTH_MAX: usize = 32;
/// Bytes of a page of a list: with one item more it still fits in a frame.
pub const PAGE_BYTES_MAX: usize = 1 << 20;
/// Items that are fetched of one list: ten times what is normal, against a callee
/// whose lists never end.
pub const LIST_ITEMS_MAX: usize = 1_000_000;
/// Calls that a client may have under way on one connection: a backup has a few.
pub const STREAMS_PER_CLIENT_MAX: u32 = 64;
/// Calls that someone who is not known may have under way: joining takes one at a time.
pub const STREAMS_PER_STRANGER_MAX: u32 = 8;
/// Longest request of a client or a stranger, in bytes: a keyset, or tickets for
/// `TICKETS_PER_CALL_MAX` objects, fit twice.
pub const REQUEST_BYTES_MAX: usize = 128 << 10;
/// Bytes of a connection that may be on their way and not yet read, for clients and
/// strangers: eight of the requests that they may make.
pub const WINDOW_BYTES_MIN: u32 = 1 << 20;
/// The same between orchestrators, and for replies: two frames.
pub const WINDOW_BYTES_MAX: u32 = 8 << 20;
/// Connections that one orchestrator keeps: a fleet of 100,000 when it is the last one up.
pub const CONNECTIONS_MAX: usize = 120_000;
/// Connections of one key: an agent, a few commands, and what a crash left behind.
pub const CONNECTIONS_PER_KEY_MAX: usize = 16;
/// Connections of keys that are not known. A stranger joins within seconds.
pub const STRANGERS_MAX: usize = 256;

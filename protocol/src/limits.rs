//! Every bound of the system, with its reason.

/// Largest RPC frame, in bytes: a push of records or a batch of log commands fits
/// well, and a peer cannot make us hold more than this per stream.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Largest gossip message, in bytes. chitchat's own messages stay under the size
/// of a UDP datagram.
pub const GOSSIP_BYTES_MAX: usize = 65_507;
/// Compressed blocks in a gossip message. chitchat closes a block at 16 KiB, and all
/// that is gossiped is a few; a message made of nothing but blocks of zeros would be
/// hundreds of mebibytes.
pub const GOSSIP_BLOCKS_MAX: usize = 16;
/// Streams that one peer may have open at once: bounds the work in flight per peer.
pub const STREAMS_PER_PEER_MAX: u32 = 256;
/// Largest signed record, in bytes: a keyset of five orchestrators and fifty admins is under 16 KiB.
pub const RECORD_BYTES_MAX: usize = 64 << 10;
/// Records in one push or fetch: their hashes are few, and with `RECORDS_BYTES_MAX` it bounds the work that one frame makes.
pub const RECORDS_PER_FRAME_MAX: usize = 512;
/// Bytes of records in one push or fetch.
pub const RECORDS_BYTES_MAX: usize = 2 << 20;
/// Commands in one entry of the log: one fsync serves them all, and an entry stays far below a frame.
pub const COMMANDS_PER_ENTRY_MAX: usize = 256;
/// Proposals waiting for the log on one orchestrator: beyond that callers are told to retry.
pub const PROPOSALS_WAITING_MAX: usize = 4096;
/// Tickets asked for in one call: enough for a client's packs in flight.
pub const TICKETS_PER_CALL_MAX: usize = 64;
/// How long a lease may be open, in seconds (DESIGN: at most two hours, never renewed).
pub const LEASE_SECS_MAX: u64 = 2 * 3600;
/// Leases without a commit that a client may use the packs of: with retries this is days
/// of interruptions. What older ones left is garbage.
pub const LEFT_LEASES_MAX: usize = 64;
/// Attempts at a lease that the log remembers of one client in one repository: a
/// repetition comes within minutes, and that many leases take hours.
pub const ATTEMPTS_KEPT_MAX: usize = 16;
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
/// A client's own segments that one lease names: at 47 bytes each, 1.5 MiB of a frame.
/// Of more, the newest are named, and older ones only cost savings. They are few, since
/// published ones soon take their place.
pub const VIEW_SEGMENTS_MAX: usize = 32_768;
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
/// Most memory that a backup uses for contents on their way, in bytes: more gains nothing.
pub const MEMORY_BYTES_MAX: usize = 1 << 30;
/// Entries of one index segment: 11 MiB. With `SEGMENTS_PER_COMMIT_MAX` one
/// commit may add 16 million chunks.
pub const SEGMENT_ROWS_MAX: usize = 256 << 10;
/// Segments after which a backup winds up and commits in part: the rest of
/// `SEGMENTS_PER_COMMIT_MAX` is for what is on its way by then. The most that can be is a
/// row for each 256 bytes of `MEMORY_BYTES_MAX`, 16 segments, and two open packs of tiny chunks.
pub const SEGMENTS_WIND_UP: usize = 32;
/// Packs of dead leases that a backup looks at: a tebibyte.
pub const LEFT_PACKS_MAX: usize = 64 << 10;
/// Segments that a backup writes of packs that dead leases left; what is in more is
/// uploaded again.
pub const LEFT_SEGMENTS_MAX: usize = 16;
/// Parts of trees in such packs that a backup remembers: 16 MiB.
pub const LEFT_TREES_MAX: usize = 256 << 10;
/// Plaintext hashes that a backup remembers, in two halves: 36 MiB at most.
pub const KNOWN_CHUNKS_MAX: usize = 256 << 10;
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
/// Bytes of one page of a storage's listing: a thousand of the longest keys, each
/// with what else S3 says of an object.
pub const STORE_LIST_BYTES_MAX: usize = 4 << 20;
/// Certificates that a storage's record carries, in bytes: a root, its successor and
/// some intermediates, of at most 4 KiB each, within `RECORD_BYTES_MAX`.
pub const STORAGE_CA_BYTES_MAX: usize = 16 << 10;
/// Longest session token of a storage, in bytes: they stand in URLs and headers,
/// of which common servers take 8 KiB.
pub const SESSION_TOKEN_BYTES_MAX: usize = 4 << 10;
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
/// Extended attributes of one entry, in bytes: twice the 64 KiB that Linux allows one
/// value, and what XFS and ext4 hold in practice.
pub const XATTRS_BYTES_MAX: usize = 128 << 10;
/// Hashes of a range that are told one by one, and not divided further: about what
/// the fingerprints of its sixteen parts would take twice.
pub const RANGE_HASHES_MAX: usize = 32;
/// Ranges in one call of reconciliation: what is told of each has at most 1 KiB, so
/// that an answer is far below a frame.
pub const PROBES_MAX: usize = 1024;
/// Calls of one reconciliation: enough for two sets of a million records that have
/// none in common, and an end for a peer whose answers never agree.
pub const RECONCILE_CALLS_MAX: usize = 1024;
/// Published segments of one domain in one repository: at 58 bytes each they take
/// 0.9 MiB of a lease's frame, and have room for four billion chunks.
pub const SHARED_SEGMENTS_MAX: usize = 16_384;
/// Objects that may be condemned in one domain and repository: at 50 bytes each they
/// take 0.8 MiB of a lease's frame, and are 250 GiB of packs. A storage that loses more is
/// not to be relied upon.
pub const CONDEMNED_MAX: usize = 16_384;
/// Objects in one report of damage: each is read whole by the orchestrator that is told.
pub const REPORT_OBJECTS_MAX: usize = 16;
/// Own segments that one publication replaces: with the names of what it publishes, it
/// stays far below an entry of the log.
pub const PUBLISH_OWN_MAX: usize = 64;
/// Runs (sorted rows of published segments) of one size class; more are merged into one.
pub const RUNS_PER_CLASS_MAX: usize = 8;
/// Homes of one chunk that a published run keeps. More would only matter if all of
/// these were lost.
pub const CHUNK_HOMES_MAX: usize = 3;
/// What a restore remembers of things with several names whose other names are still to
/// come, in bytes. Further ones are restored as things of their own, and it says so.
pub const RESTORE_LINKS_BYTES_MAX: usize = 24 << 20;
/// Damaged or lost objects that a verification lists: beyond that a repository is lost.
pub const DAMAGED_OBJECTS_MAX: usize = 64 << 10;
/// The longest hole that one reference stands for, in bytes: a hole of 1 TiB is 512 of them.
pub const HOLE_BYTES_MAX: u32 = 1 << 31;
/// Patterns that exclude files, given at once, and those of one `.nuthatchignore`: each is
/// tried on every name.
pub const EXCLUDES_MAX: usize = 4096;
/// Bytes of all those patterns, and of one `.nuthatchignore`: what a person would write by hand.
pub const EXCLUDES_BYTES_MAX: usize = 1 << 20;
/// Heads of index segments kept open in memory, in bytes: the filters of 39 million chunks.
pub const INDEX_HEADS_BYTES_MAX: u64 = 48 << 20;
/// Chunks of lost packs that a backup remembers so as to read their files again: 16 MiB.
/// Of more, every file is read again.
pub const SUSPECTS_MAX: usize = 1 << 19;
/// Reused chunks that a backup reads again before it commits: of a domain in which one
/// chunk in ten is false, five backups in six notice.
pub const SAMPLE_CHUNKS_MAX: usize = 16;
/// Bytes of them.
pub const SAMPLE_BYTES_MAX: u64 = 8 << 20;
/// Files below this length are sealed under the client's own secret in a domain of
/// strangers: what is short can be guessed, and its chunks' lengths tell it apart.
pub const PRIVATE_FILE_BYTES_MAX: u64 = 64 << 10;
/// What a backup remembers of files with several names whose other names are still to come,
/// in bytes. The other names of more are read as well, which costs time and nothing else.
pub const BACKUP_LINKS_BYTES_MAX: usize = 24 << 20;
/// Voters whose last promise is remembered: all that a roster can have had in several years
/// of replacements.
pub const PROMISES_KEPT_MAX: usize = 64;
/// Bytes that a part of the ledger's backup gathers before the next begins.
pub const LEDGER_PART_BYTES: usize = 4 << 20;
/// Parts of one backup of the ledger: with 4 MiB each, 4 GiB, and a head of 50 KiB.
pub const LEDGER_PARTS_MAX: usize = 1024;
/// Backups of the ledger that are kept in a storage: the newest, and what was before a
/// mishap that nobody noticed at once.
pub const LEDGER_BACKUPS_KEPT: usize = 16;
/// Pieces of a ledger in one command: it stays below `ENTRY_BYTES_MAX` with the longest
/// names, and decodes to little memory.
pub const IMPORT_ITEMS_MAX: usize = 256;
/// Entries of the audit trail that are kept: years of what people do, and at most 10 MiB of
/// a ledger.
pub const AUDIT_ENTRIES_MAX: usize = 4096;
/// The longest record that the audit trail keeps whole, in bytes; of others, the hash. A
/// keyset of five orchestrators and ten admins fits.
pub const AUDIT_RECORD_BYTES_MAX: usize = 2048;
/// Acts that wait on one orchestrator to be entered into the audit trail: as many as can be
/// submitted at once, four times.
pub const ACTS_WAITING_MAX: usize = 2048;

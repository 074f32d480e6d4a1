//! What nodes say to each other over QUIC. `WIRE.md` is the reference.
//!
//! One bidirectional stream per call: the caller sends one `Envelope` and
//! finishes; the callee answers with one `Result<Reply, Failure>` and finishes.
//! Both are postcard, bounded by `limits::FRAME_BYTES_MAX`; nothing may follow.
//! Unidirectional streams carry one gossip message each, between orchestrators.
//!
//! Invariant: variants are only ever appended. Identity comes from the TLS
//! session, never from a message.

mod admin;
mod client;
mod joining;
mod peer;

use serde::{Deserialize, Serialize};

pub use self::{admin::*, client::*, joining::*, peer::*};
use crate::{
    audit::AuditEntry,
    codec,
    commands::{Enrollment, Lease, SnapshotRecord, View},
    failure::Failure,
    ids::SnapshotId,
    limits,
    names::ObjectKey,
    reconcile::Part,
    sign::Signed,
};

/// ALPN protocol names, newest first. A node offers all that it speaks.
pub const ALPN: &[&[u8]] = &[b"nuthatch/1"];
/// The server name that every dialer sends: identity is a key, not a name.
pub const SERVER_NAME: &str = "nuthatch";
/// The label under which a redemption's keying material is exported from TLS.
pub const REDEMPTION_EXPORTER: &[u8] = b"EXPORTER-nuthatch-redemption";

/// One call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    /// How long the caller will wait, in milliseconds.
    pub patience_ms: u32,
    /// What it asks.
    pub request: Request,
}

/// Reads one call. One that this program does not know has an error that says so: it came
/// with a newer one.
pub fn read_call(bytes: &[u8]) -> Result<Envelope, Failure> {
    codec::decode("request", bytes).map_err(|error| {
        let number = postcard::take_from_bytes::<u32>(bytes)
            .and_then(|(_, rest)| postcard::take_from_bytes::<u32>(rest))
            .map(|(number, _)| number);
        match number {
            Ok(number) if number as usize >= Request::NAMES.len() => Failure::invalid(format!(
                "call {number} is not known here: this program is older than the caller's, so update it"
            )),
            _ => Failure::invalid(error.to_string()),
        }
    })
}

/// What a callee answers.
pub type Answer = Result<Reply, Failure>;

/// A request with a reply of its own type.
pub trait Call: Into<Request> + Clone + Send + 'static {
    /// What comes back.
    type Reply: Send + 'static;
    /// Takes the reply out of the envelope; `None` if the peer answered something else.
    fn reply(reply: Reply) -> Option<Self::Reply>;
}

macro_rules! calls {
    ($($(#[$doc:meta])* $request:ident => $reply:ident($reply_type:ty)),* $(,)?) => {
        /// All requests.
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub enum Request { $($(#[$doc])* $request($request)),* }

        /// All replies.
        #[expect(clippy::large_enum_variant, reason = "one is held for each call under way")]
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub enum Reply { $(
            #[doc = concat!("Answers `", stringify!($request), "`.")]
            $reply($reply_type)
        ),* }

        impl Request {
            /// The names of all requests, by their numbers.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($request)),*];

            /// The name of the request, for logs and errors.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$request(_) => stringify!($request)),* }
            }
        }

        $(
            impl From<$request> for Request {
                fn from(request: $request) -> Self { Self::$request(request) }
            }
            impl Call for $request {
                type Reply = $reply_type;
                fn reply(reply: Reply) -> Option<$reply_type> {
                    match reply { Reply::$reply(value) => Some(value), _ => None }
                }
            }
        )*
    };
}

calls! {
    /// First words on a connection, from anyone.
    Hello => Welcome(Welcome),
    /// Makes a node that has no cluster yet an orchestrator of one. From anyone who
    /// can show a keyset that names the node.
    Adopt => Adopted(()),
    /// Redeems a token. From a stranger.
    Redeem => Redeemed(Enrollment),
    /// The release value of a token. From a client that redeemed it.
    Release => Released(ReleaseValue),
    /// The caller has opened its welcome: the use needs no release any more.
    Acknowledge => Acknowledged(()),
    /// The records that a client works by. From a client.
    Configure => Configured(Vec<Signed>),
    /// A lease. From a client.
    Grant => Granted(Lease),
    /// Rights to upload. From a client that holds the lease.
    MintPuts => MintedPuts(Vec<PutTicket>),
    /// Rights to read. From a client.
    MintGets => MintedGets(Vec<ReadTicket>),
    /// Makes a commit object a snapshot. From a client that holds the lease.
    Commit => Committed(SnapshotId),
    /// Gives a lease back. From a client.
    Close => Closed(()),
    /// A client's decided snapshots, oldest first. From that client or an admin.
    ListSnapshots => Snapshots(Page<SnapshotRecord>),
    /// Adds records. From an admin.
    Submit => Submitted(()),
    /// Hands over a token's release value. From an admin, or between orchestrators.
    PutRelease => PuttedRelease(()),
    /// How the orchestrator sees the cluster. From an admin.
    Status => StatusIs(NodeStatus),
    /// Everyone who is enrolled. From an admin.
    ListClients => Clients(Page<ClientStatus>),
    /// Winning records. From an admin or an orchestrator.
    GetRecords => Records(Page<Signed>),
    /// A message of the log's replication. Between orchestrators.
    Raft => Rafted(Vec<u8>),
    /// Commands for the log's leader. Between orchestrators.
    Propose => Proposed(Decision),
    /// The index up to which the leader knows the log to be decided, now. Between orchestrators.
    ReadIndex => ReadIndexIs(u64),
    /// Fresh records, pushed at once. Between orchestrators.
    Push => Pushed(()),
    /// What the callee's records differ in from the caller's. Between orchestrators.
    Reconcile => Reconciled(Vec<Part>),
    /// Records by their hashes. Between orchestrators.
    Fetch => Fetched(Vec<Signed>),
    /// The tokens, and what became of them. From an admin.
    ListTokens => Tokens(Page<TokenStatus>),
    /// What the client could reuse now: what it reads by. From a client.
    Survey => Surveyed(View),
    /// Objects that seem lost or damaged: the callee looks itself, and what it confirms is
    /// condemned. From a client.
    Report => Reported(Vec<ObjectKey>),
    /// What the callee remembers of a voter's promises to it. Between orchestrators.
    Recall => Recalled(Option<Promise>),
    /// Begins a lost ledger again. How many of its pieces are there. From an admin.
    Found => Founded(u64),
    /// The next pieces of a ledger that begins again. How many are there then. From an admin.
    Import => Imported(u64),
    /// How the callee itself is: what it finds wrong. From an admin; one that does not take
    /// part in a cluster tells anyone that, and why.
    Inspect => Inspected(Inspection),
    /// The audit trail, oldest first. From an admin.
    ListAudit => Audit(Page<AuditEntry>),
    /// What `Configure` answers, once that is news to the caller; none if there was no news
    /// for a while. From a client.
    Watch => Watched(Option<Vec<Signed>>),
    /// Which levels the callee speaks. From anyone.
    Speak => Speaks(Speech),
    /// What the callee works with: its disk, and the storages as it reaches them now. From an
    /// admin.
    Examine => Examined(Examination),
}

/// One page of a list. The next page is asked for with what is last on this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// What is listed, at most `limits::PAGE_BYTES_MAX` bytes of it.
    pub items: Vec<T>,
    /// Whether there is more.
    pub more: bool,
}

impl<T: Serialize> Page<T> {
    /// As much of a list as fits on a page, but at least one item.
    pub fn of(list: impl IntoIterator<Item = T>) -> Self {
        let mut page = Self { items: Vec::new(), more: false };
        let mut bytes_left = limits::PAGE_BYTES_MAX;
        for item in list {
            let fits = bytes_left.checked_sub(codec::encode(&item).len());
            if fits.is_none() && !page.items.is_empty() {
                page.more = true;
                break;
            }
            bytes_left = fits.unwrap_or(0);
            page.items.push(item);
        }
        page
    }
}

//! What nodes say to each other over QUIC. `WIRE.md` is the reference.
//!
//! One bidirectional stream per call: the caller sends one `Envelope` and
//! finishes; the callee answers with one `Result<Reply, Failure>` and finishes.
//! Both are postcard, bounded by `limits::FRAME_BYTES_MAX`; nothing may follow.
//! Unidirectional streams carry one gossip message each, between orchestrators.
//!
//! Invariant: variants are only ever appended. Identity comes from the TLS
//! session, never from a message.

use serde::{Deserialize, Serialize};

use crate::{
    codec,
    commands::{Command, CommitFacts, Enrollment, Lease, Outcome, SnapshotRecord, View},
    failure::Failure,
    ids::{
        AttemptId, ClientId, DomainId, Hash, LeaseId, LineageId, NodeId, PublicKey, RepositoryId, SealingKey, Sha256,
        SnapshotId, TokenId,
    },
    limits,
    names::ObjectKey,
    reconcile::{Part, Probe},
    records::{Subject, TokenTerms},
    sign::Signed,
    time::UnixMillis,
};

/// ALPN protocol names, newest first. A node offers all that it speaks.
pub const ALPN: &[&[u8]] = &[b"nuthatch/0"];
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

/// First words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The caller's program and version, for people.
    pub agent: String,
}

/// Who the callee is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The callee's program and version, for people.
    pub agent: String,
    /// What it needs to be named in a keyset.
    pub card: NodeCard,
    /// The newest keyset it knows. None until it is adopted.
    pub keyset: Option<Signed>,
}

/// What a node tells of itself so that it can be named in a keyset. Its TLS key
/// is that of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCard {
    /// The key to which secrets are sealed for it.
    pub sealing: SealingKey,
    /// Its voter id.
    pub voter: u64,
}

/// Makes a node an orchestrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// The keyset, signed by the root, that names the node.
    pub keyset: Signed,
    /// The root's public key: from now on the node's cluster is the one of this key.
    pub root: PublicKey,
    /// Whether the log starts here, with all orchestrators of the keyset as voters.
    pub genesis: bool,
}

/// Redeems a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeem {
    /// A `commands::Redemption`, signed by the token's key.
    pub redemption: Signed,
}

/// Asks for a token's release value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Which token.
    pub token: TokenId,
}

/// What opens a token's welcome, together with the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseValue {
    /// The release value: 32 random bytes.
    pub value: [u8; 32],
    /// The terms, in which the sealed welcome stands.
    pub terms: TokenTerms,
}

impl std::fmt::Debug for ReleaseValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReleaseValue({:?}, ..)", self.terms.token)
    }
}

/// Says that a welcome was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledge {
    /// Which token.
    pub token: TokenId,
}

/// Asks for the records that a client works by: keyset, domain, storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {}

/// Asks for a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Where the client wants to write.
    pub repository: RepositoryId,
    /// Which of its backups it wants to go on with.
    pub lineage: LineageId,
    /// Random, and the same however often this call is repeated: a repetition has the
    /// same answer, and one that arrives late fences nobody.
    pub attempt: AttemptId,
    /// The lease of the same process that this one follows. If another was granted
    /// since, this one is refused. None: whatever is open is closed.
    pub after: Option<LeaseId>,
}

/// Asks for rights to upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintPuts {
    /// The lease under which the names were made.
    pub lease: LeaseId,
    /// Where.
    pub repository: RepositoryId,
    /// What is to be written: at most `limits::TICKETS_PER_CALL_MAX`.
    pub objects: Vec<PutRequest>,
}

/// One object to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRequest {
    /// Its address; the name carries the hash.
    pub key: ObjectKey,
    /// Its length in bytes, not 0.
    pub len: u64,
}

/// The right to one PUT: the signed headers of a single request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutTicket {
    /// Path of the request, as it was signed: with bucket and prefix, not escaped.
    pub path: String,
    /// Length of the body in bytes.
    pub len: u64,
    /// SHA-256 of the body.
    pub hash: Sha256,
    /// All headers to send, the signature among them, and no others.
    pub headers: Vec<(String, String)>,
    /// When the storage stops accepting it, by the minter's clock.
    pub expires: UnixMillis,
}

/// Asks for rights to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MintGets {
    /// Where.
    pub repository: RepositoryId,
    /// What is to be read: at most `limits::TICKETS_PER_CALL_MAX`.
    pub objects: Vec<ObjectKey>,
}

/// The right to read one object for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadTicket {
    /// The pre-signed URL.
    pub url: String,
    /// When the storage stops accepting it, by the minter's clock.
    pub expires: UnixMillis,
}

/// Makes a commit object a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Where.
    pub repository: RepositoryId,
    /// What to decide; the callee reads the object and compares.
    pub commit: CommitFacts,
}

/// Gives a lease back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    /// Which lease.
    pub lease: LeaseId,
}

/// Asks for decided snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSnapshots {
    /// Whose. None: the caller's.
    pub client: Option<ClientId>,
    /// Only those that come after this one.
    pub after: Option<SnapshotId>,
}

/// Adds records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submit {
    /// The records. All are added, or none.
    pub records: Vec<Signed>,
}

/// Hands over a release value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRelease {
    /// Of which token.
    pub token: TokenId,
    /// The value.
    pub value: [u8; 32],
    /// When it is erased at the latest.
    pub expires: UnixMillis,
}

impl std::fmt::Debug for PutRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PutRelease({:?}, ..)", self.token)
    }
}

/// Asks how the orchestrator sees the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {}

/// How one orchestrator sees the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Itself.
    pub node: NodeId,
    /// The keyset's number.
    pub keyset: u64,
    /// The voter it believes to lead, if any.
    pub leader: Option<u64>,
    /// Raft's term.
    pub term: u64,
    /// Log index it has applied.
    pub applied: u64,
    /// The decided time.
    pub decided: UnixMillis,
    /// Its wall clock.
    pub clock: UnixMillis,
    /// Digest of its converging records.
    pub records: Hash,
    /// How many converging records it holds.
    pub records_count: u64,
    /// The roster, as it sees it.
    pub peers: Vec<PeerStatus>,
    /// Clients connected to it now.
    pub clients_connected: u64,
    /// Bytes it has received from clients since its start, on the wire.
    pub client_bytes_received: u64,
    /// Everyone who votes in the log, whoever the roster names.
    pub voters: Vec<NodeId>,
    /// Open leases that have outlived their time, by its own clock.
    pub leases_overdue: u64,
    /// Tokens, not revoked, that were shown by more keys than they have uses.
    pub tokens_overused: u64,
    /// Clients' index segments that wait to be published.
    pub segments_waiting: u64,
    /// Objects that were found lost or damaged.
    pub objects_condemned: u64,
}

/// How one orchestrator sees another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Which.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Whether failure detection believes it alive.
    pub alive: bool,
    /// Whether it is a voter of the log.
    pub voter: bool,
}

/// Asks for everyone who is enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListClients {
    /// Only those that come after this one.
    pub after: Option<ClientId>,
}

/// A client, as an orchestrator knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Its enrollment.
    pub enrollment: Enrollment,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Whether it is connected to the orchestrator that was asked.
    pub connected: bool,
    /// How many snapshots it has.
    pub snapshots: u64,
    /// Its newest snapshot.
    pub newest: Option<UnixMillis>,
    /// Its open lease.
    pub lease: Option<LeaseId>,
}

/// Asks for the tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTokens {
    /// Only those that come after this one.
    pub after: Option<TokenId>,
}

/// A token, as an orchestrator knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenStatus {
    /// Its id.
    pub token: TokenId,
    /// Its name.
    pub name: String,
    /// The domain that its clients join.
    pub domain: DomainId,
    /// How many clients may redeem it.
    pub uses: u32,
    /// How many did.
    pub redeemed: u32,
    /// When it ends.
    pub expires: UnixMillis,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Redemptions by surplus keys, if there were any.
    pub refused: Option<TokenRefusals>,
}

/// Redemptions of a spent token by surplus keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRefusals {
    /// How many.
    pub count: u64,
    /// When the last was, by decided time.
    pub last_at: UnixMillis,
    /// What the last called itself.
    pub last_name: String,
}

/// Asks what could be reused now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Where.
    pub repository: RepositoryId,
}

/// Tells of objects that seem lost or damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Where.
    pub repository: RepositoryId,
    /// Packs and index segments of the caller's domain, and its own reference-list pages:
    /// at most `limits::REPORT_OBJECTS_MAX`.
    pub objects: Vec<ObjectKey>,
}

/// Asks for winning records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRecords {
    /// Only about these subjects; empty: all.
    pub subjects: Vec<Subject>,
    /// Only those that come after the record of this subject.
    pub after: Option<Subject>,
}

/// A message of the log's replication, encoded by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raft {
    /// For which voter it is meant: one that lost its disk is another.
    pub to: u64,
    /// The message.
    pub message: Vec<u8>,
}

/// Commands for the log's leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// At most `limits::COMMANDS_PER_ENTRY_MAX`.
    #[serde(deserialize_with = "codec::at_most::<{ limits::COMMANDS_PER_ENTRY_MAX }, _, _>")]
    pub commands: Vec<Command>,
}

/// What became of proposed commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The log index at which they were decided: a replica that has applied it knows them.
    pub index: u64,
    /// One outcome for each command, in order.
    #[serde(deserialize_with = "codec::at_most::<{ limits::COMMANDS_PER_ENTRY_MAX }, _, _>")]
    pub outcomes: Vec<Outcome>,
}

/// Asks the leader for its decided index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadIndex {}

/// Fresh records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The records.
    pub records: Vec<Signed>,
}

/// Asks where the callee's records are not the caller's (`reconcile`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconcile {
    /// What the caller has, at most `limits::PROBES_MAX` ranges. Answered, in this
    /// order, for those whose fingerprint is another at the callee.
    pub probes: Vec<Probe>,
}

/// Asks for records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// Their hashes, at most `limits::RECORDS_PER_FRAME_MAX`. Those that the callee has
    /// are given in this order, up to `limits::RECORDS_BYTES_MAX` bytes; one is always given.
    pub hashes: Vec<Hash>,
}

//! Converging records: what a person decided, signed, and spread by gossip.
//!
//! Invariant: a record is kept and compared whole, as the bytes its author
//! signed. The winner of a subject is computed among the authors whom the newest
//! keyset admits: higher version, then author, then hash. No clock takes part.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{
    codec::{self, DecodeError},
    ids::{ClientId, ClusterId, DomainId, Hash, NodeId, PublicKey, RepositoryId, SealingKey, TokenId},
    limits,
    sealed::SealedBox,
    sign::{self, Signed, Signer},
    time::UnixMillis,
};

/// What a record is about. One subject has one winner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// Who may do what in this cluster.
    Keyset,
    /// A dedup domain.
    Domain(DomainId),
    /// A repository's storage.
    Storage(RepositoryId),
    /// A secret that orchestrators share.
    Secret(SecretId),
    /// A token's terms.
    Token(TokenId),
    /// The end of a token. Terminal.
    TokenRevocation(TokenId),
    /// The end of a client. Terminal.
    ClientRevocation(ClientId),
}

/// Which shared secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SecretId {
    /// The credential of a storage that may put, get and list.
    StorageMinting(RepositoryId),
    /// The index key of a domain.
    DomainIndex(DomainId),
}

/// What a record says. Variants are only ever appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Signed by the root key alone.
    Keyset(Keyset),
    /// Signed by an admin.
    Domain(Domain),
    /// Signed by an admin.
    Storage(Storage),
    /// Signed by an admin, or by an orchestrator that seals it again for a newcomer.
    Secret(SharedSecret),
    /// Signed by an admin.
    Token(TokenTerms),
    /// Signed by an admin.
    TokenRevocation(Revocation<TokenId>),
    /// Signed by an admin.
    ClientRevocation(Revocation<ClientId>),
}

/// Who may do what: the one thing that the root key signs. A higher number
/// replaces a lower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyset {
    /// The name of the cluster, for people.
    pub name: String,
    /// Who may sign records.
    pub admins: Vec<Admin>,
    /// The roster: who may be an orchestrator. The log decides who is a voter.
    pub orchestrators: Vec<Orchestrator>,
}

/// A person, or a program, that may sign records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// For people.
    pub name: String,
    /// Signs records and proves itself in TLS; the two are told apart by what is signed.
    pub key: PublicKey,
}

/// A node that may be an orchestrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orchestrator {
    /// For people.
    pub name: String,
    /// Its TLS key.
    pub key: PublicKey,
    /// The key to which shared secrets are sealed for it.
    pub sealing: SealingKey,
    /// Its voter id: random, made with its empty disk.
    pub voter: u64,
    /// Where it listens: `host:port`.
    pub address: String,
}

impl Orchestrator {
    /// The node's id.
    pub fn id(&self) -> NodeId {
        NodeId::of_key(&self.key)
    }
}

/// Clients that agreed to share deduplication, and the choices that make their
/// bytes agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its id.
    pub id: DomainId,
    /// For people; unique among the living.
    pub name: String,
    /// The repository in which its clients store.
    pub repository: RepositoryId,
    /// What its members may do to each other.
    pub trust: Trust,
    /// How files are cut.
    pub chunker: Chunker,
    /// How chunks are compressed.
    pub codec: Codec,
    /// How chunks are sealed.
    pub cipher: Cipher,
    /// Which generation of the convergence secret new chunks use.
    pub generation: u32,
}

/// Whether the members of a domain trust each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// One company: what one member stored, the others reuse at once.
    Trusting,
    /// Strangers: what one member stored is read and hashed before another reuses it.
    Strangers,
}

/// FastCDC (Xia et al., 2020) with a gear table derived from the domain's secret.
/// Sizes in bytes, even, `min <= average <= max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunker {
    /// No chunk but a file's last is smaller.
    pub min: u32,
    /// What chunk sizes gather around.
    pub average: u32,
    /// No chunk is larger.
    pub max: u32,
}

/// How chunks are compressed. Changing it costs shared savings, never correctness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Codec {
    /// Not at all.
    Raw,
    /// zstd at this level, where that makes the chunk smaller.
    Zstd(i32),
}

/// How chunks are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cipher {
    /// RFC 8439.
    ChaCha20Poly1305,
}

/// An object storage, and where in it the repository lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// The repository there.
    pub repository: RepositoryId,
    /// For people; unique among the living.
    pub name: String,
    /// `https://host[:port]`; plain `http` only for loopback addresses.
    pub endpoint: String,
    /// The region that signatures name.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What every path starts with, without slashes at its ends. May be empty.
    pub prefix: String,
    /// Whether the bucket stands in the host name instead of the path.
    pub virtual_host: bool,
    /// The certificates, in DER, of the only authorities that may vouch for the
    /// server; none: those that the machine knows. At most `STORAGE_CA_BYTES_MAX` in all.
    pub authorities: Vec<Vec<u8>>,
}

/// A key for a storage. Never in a record but sealed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct StorageCredential {
    /// S3's access key id.
    pub access_key: String,
    /// S3's secret access key.
    pub secret_key: String,
    /// S3's session token, if the two keys are temporary.
    pub session_token: Option<String>,
}

impl StorageCredential {
    /// Two keys that last.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self { access_key: access_key.into(), secret_key: secret_key.into(), session_token: None }
    }
}

impl std::fmt::Debug for StorageCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StorageCredential({}, ..)", self.access_key)
    }
}

/// A secret that orchestrators share, sealed to each of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedSecret {
    /// Which secret.
    pub id: SecretId,
    /// One box for each orchestrator of the roster. HPKE's `info` is the encoded `Subject`.
    pub boxes: Vec<SealedBox>,
}

/// What a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenTerms {
    /// The token's public key: who redeems it signs with the private one.
    pub token: TokenId,
    /// For people.
    pub name: String,
    /// How many different clients may redeem it.
    pub uses: u32,
    /// When it ends, by the decided time of the log.
    pub expires: UnixMillis,
    /// Which domain its clients join.
    pub domain: DomainId,
    /// Tags that its clients get, for policies.
    pub tags: Vec<String>,
    /// The domain's secrets, sealed under the token's box key and the release value.
    pub welcome: Vec<u8>,
}

/// The end of something. Not undone by any later record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation<Id> {
    /// What ends.
    pub id: Id,
    /// Why, for people.
    pub reason: String,
}

/// What the author of a record signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordBody {
    /// The cluster for which it is meant.
    pub cluster: ClusterId,
    /// Higher replaces lower.
    pub version: u64,
    /// What it says.
    pub payload: Payload,
}

impl Payload {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Keyset(_) => Subject::Keyset,
            Self::Domain(domain) => Subject::Domain(domain.id),
            Self::Storage(storage) => Subject::Storage(storage.repository),
            Self::Secret(secret) => Subject::Secret(secret.id),
            Self::Token(terms) => Subject::Token(terms.token),
            Self::TokenRevocation(revocation) => Subject::TokenRevocation(revocation.id),
            Self::ClientRevocation(revocation) => Subject::ClientRevocation(revocation.id),
        }
    }
}

/// What a record is called in errors.
const WHAT: &str = "record";

/// A record whose signature was checked, beside the bytes that were signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    signed: Signed,
    hash: Hash,
    body: RecordBody,
}

impl Record {
    /// Signs a record.
    pub fn sign(signer: &Signer, body: RecordBody) -> Self {
        let signed = Signed::new(signer, sign::RECORD, codec::encode(&body));
        Self { hash: signed.hash(), signed, body }
    }

    /// Checks form, size, signature and cluster. Whether its author may say this
    /// depends on the newest keyset and is not asked here.
    pub fn open(signed: Signed, cluster: &ClusterId) -> Result<Self, DecodeError> {
        if signed.body.len() > limits::RECORD_BYTES_MAX {
            return Err(DecodeError::Malformed { what: WHAT, reason: format!("{} bytes long", signed.body.len()) });
        }
        signed.verify(WHAT, sign::RECORD)?;
        Self::reopen(signed, cluster)
    }

    /// Opens a record that was opened before, and has since been where nobody else
    /// writes: its signature, which is what takes the time, is not checked again.
    pub fn reopen(signed: Signed, cluster: &ClusterId) -> Result<Self, DecodeError> {
        let body: RecordBody = codec::decode(WHAT, &signed.body)?;
        if body.cluster != *cluster {
            return Err(DecodeError::Forged { what: WHAT, reason: "it was signed for another cluster" });
        }
        Ok(Self { hash: signed.hash(), signed, body })
    }

    /// What it is about.
    pub fn subject(&self) -> Subject {
        self.body.payload.subject()
    }
    /// Who signed it.
    pub fn author(&self) -> &PublicKey {
        &self.signed.author
    }
    /// Its version.
    pub fn version(&self) -> u64 {
        self.body.version
    }
    /// What tells it from every other record.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }
    /// What it says.
    pub fn payload(&self) -> &Payload {
        &self.body.payload
    }
    /// The bytes as they are stored and sent.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }
}

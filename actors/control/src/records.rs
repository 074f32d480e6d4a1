//! The set of converging records, merged without a clock.
//!
//! Invariant: the set depends only on which records were ever inserted, not on
//! their order (I2): per (subject, author) it keeps the highest version, ties by
//! hash. A winner is computed, never stored, among the authors whom the newest
//! keyset admits. No validly signed record is refused, and a revocation can only
//! be replaced by another revocation.
//!
//! A record is held once and found in two ways: by what it is about, and by its hash,
//! as reconciliation wants it.

mod digest;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use probe::Plant;
use protocol::{
    codec::DecodeError,
    ids::{ClientId, ClusterId, DomainId, Hash, PublicKey, RepositoryId, TokenId},
    records::{Domain, Keyset, Payload, Record, SecretId, SharedSecret, Storage, Subject, TokenTerms},
    sign::Signed,
};

pub use digest::{SHARDS, served};

use crate::reconcile::{Hashed, Trie};

/// What became of a record that was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is kept. An older one of the same subject and author is gone.
    New,
    /// It was there.
    Known,
    /// A newer one of the same subject and author is there.
    Superseded,
}

/// The records of one cluster.
#[derive(Debug, Clone)]
pub struct RecordSet {
    cluster: ClusterId,
    root: PublicKey,
    heads: BTreeMap<(Subject, PublicKey), Arc<Record>>,
    by_hash: Trie<Arc<Record>>,
}

/// Records as they are to be written before they are inserted.
#[derive(Debug, Default)]
pub struct Sifted {
    /// Those that will be kept, one of each subject and author.
    pub fresh: Vec<Record>,
    /// Hashes of those that they replace.
    pub replaced: Vec<Hash>,
}

impl Hashed for Arc<Record> {
    fn hash(&self) -> &Hash {
        Record::hash(self)
    }
}

impl PartialEq for RecordSet {
    fn eq(&self, other: &Self) -> bool {
        (&self.cluster, &self.root, &self.heads) == (&other.cluster, &other.root, &other.heads)
    }
}

impl RecordSet {
    /// No records.
    pub fn new(cluster: ClusterId, root: PublicKey) -> Self {
        Self { cluster, root, heads: BTreeMap::new(), by_hash: Trie::default() }
    }

    /// Checks form, size, signature and cluster of a record, for `insert`.
    pub fn open(&self, signed: Signed) -> Result<Record, DecodeError> {
        Record::open(signed, &self.cluster)
    }

    /// What `insert` would do.
    pub fn judge(&self, record: &Record) -> Inserted {
        let Some(head) = self.heads.get(&place(record)) else { return Inserted::New };
        match rank(record).cmp(&rank(head)) {
            std::cmp::Ordering::Greater
                if probe::planted(Plant::MergeByArrival) && record.version() == head.version() =>
            {
                Inserted::Superseded
            }
            std::cmp::Ordering::Greater => Inserted::New,
            std::cmp::Ordering::Equal => Inserted::Known,
            std::cmp::Ordering::Less => Inserted::Superseded,
        }
    }

    /// What inserting all of these would change, for those who write to disk first: a
    /// disk that takes the fresh ones and drops the replaced ones holds what the set holds.
    pub fn sift(&self, records: Vec<Record>) -> Sifted {
        let mut best: BTreeMap<(Subject, PublicKey), Record> = BTreeMap::new();
        for record in records.into_iter().filter(|record| self.judge(record) == Inserted::New) {
            let is_better = best.get(&place(&record)).is_none_or(|other| rank(&record) > rank(other));
            if is_better {
                best.insert(place(&record), record);
            }
        }
        let replaced = best.keys().filter_map(|place| self.heads.get(place)).map(|record| *record.hash()).collect();
        Sifted { fresh: best.into_values().collect(), replaced }
    }

    /// Adds a record of this cluster.
    pub fn insert(&mut self, record: Record) -> Inserted {
        let inserted = self.judge(&record);
        if inserted == Inserted::New {
            let record = Arc::new(record);
            if let Some(replaced) = self.heads.insert(place(&record), record.clone()) {
                self.by_hash.remove(replaced.hash());
            }
            self.by_hash.insert(record);
        }
        inserted
    }

    /// The record with this hash.
    pub fn get(&self, hash: &Hash) -> Option<&Record> {
        self.by_hash.get(hash).map(Arc::as_ref)
    }

    /// The records by their hashes, for reconciliation.
    pub fn by_hash(&self) -> &Trie<Arc<Record>> {
        &self.by_hash
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// All records, those that win nothing included.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.heads.values().map(Arc::as_ref)
    }

    /// The newest keyset that the root signed, with its number.
    pub fn keyset(&self) -> Option<(u64, &Keyset)> {
        let record = self.keyset_record()?;
        match record.payload() {
            Payload::Keyset(keyset) => Some((record.version(), keyset)),
            _ => None,
        }
    }

    /// The record of the newest keyset.
    pub fn keyset_record(&self) -> Option<&Record> {
        self.heads.get(&(Subject::Keyset, self.root)).map(Arc::as_ref)
    }

    /// The record that counts for a subject: the highest version, then author, then
    /// hash, among the authors whom the newest keyset admits for it.
    pub fn winner(&self, subject: &Subject) -> Option<&Record> {
        self.winners_in(*subject..=*subject).next()
    }

    /// The winning records of all subjects, by subject.
    pub fn winners(&self) -> impl Iterator<Item = &Record> {
        self.winners_in(..)
    }

    /// The winning records of some subjects, by subject.
    pub fn winners_in(&self, subjects: impl RangeBounds<Subject>) -> impl Iterator<Item = &Record> {
        let start = match subjects.start_bound() {
            Bound::Included(subject) => Bound::Included((*subject, LOWEST)),
            Bound::Excluded(subject) => Bound::Excluded((*subject, HIGHEST)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let end = match subjects.end_bound() {
            Bound::Included(subject) => Bound::Included((*subject, HIGHEST)),
            Bound::Excluded(subject) => Bound::Excluded((*subject, LOWEST)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let keyset = self.keyset().map(|(_, keyset)| keyset);
        let may_win = move |((subject, author), record): (&(Subject, PublicKey), &'_ Arc<Record>)| match subject {
            Subject::Keyset => *author == self.root,
            _ => keyset.is_some_and(|keyset| may_author(keyset, subject, record.author())),
        };
        let mut heads = self.heads.range((start, end)).filter(move |head| may_win(*head)).peekable();
        std::iter::from_fn(move || {
            let ((subject, _), mut winner) = heads.next()?;
            while let Some((_, other)) = heads.next_if(|((next, _), _)| next == subject) {
                // The authors come in order: of equal versions the later one's counts.
                if other.version() >= winner.version() {
                    winner = other;
                }
            }
            Some(winner.as_ref())
        })
    }

    /// A domain.
    pub fn domain(&self, id: &DomainId) -> Option<&Domain> {
        match self.winner(&Subject::Domain(*id))?.payload() {
            Payload::Domain(domain) => Some(domain),
            _ => None,
        }
    }

    /// All domains, by id.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        let all = Subject::Domain(DomainId([0; 16]))..=Subject::Domain(DomainId([u8::MAX; 16]));
        self.winners_in(all).filter_map(|record| match record.payload() {
            Payload::Domain(domain) => Some(domain),
            _ => None,
        })
    }

    /// The domain of this name; of several, the one with the lowest id.
    pub fn domain_by_name(&self, name: &str) -> Option<&Domain> {
        self.domains().find(|domain| domain.name == name)
    }

    /// A repository's storage.
    pub fn storage(&self, id: &RepositoryId) -> Option<&Storage> {
        match self.winner(&Subject::Storage(*id))?.payload() {
            Payload::Storage(storage) => Some(storage),
            _ => None,
        }
    }

    /// All storages, by repository id.
    pub fn storages(&self) -> impl Iterator<Item = &Storage> {
        let all = Subject::Storage(RepositoryId([0; 16]))..=Subject::Storage(RepositoryId([u8::MAX; 16]));
        self.winners_in(all).filter_map(|record| match record.payload() {
            Payload::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// The storage of this name; of several, the one with the lowest id.
    pub fn storage_by_name(&self, name: &str) -> Option<&Storage> {
        self.storages().find(|storage| storage.name == name)
    }

    /// A token's terms. Its record, which redeeming needs, is the subject's winner.
    pub fn token(&self, id: &TokenId) -> Option<&TokenTerms> {
        match self.winner(&Subject::Token(*id))?.payload() {
            Payload::Token(terms) => Some(terms),
            _ => None,
        }
    }

    /// The tokens' terms after an id, in the order of the ids.
    pub fn tokens_after(&self, after: &TokenId) -> impl Iterator<Item = &TokenTerms> {
        let rest = (Bound::Excluded(Subject::Token(*after)), Bound::Included(Subject::Token(TokenId([u8::MAX; 32]))));
        self.winners_in(rest).filter_map(|record| match record.payload() {
            Payload::Token(terms) => Some(terms),
            _ => None,
        })
    }

    /// A secret that orchestrators share.
    pub fn secret(&self, id: &SecretId) -> Option<&SharedSecret> {
        match self.winner(&Subject::Secret(*id))?.payload() {
            Payload::Secret(secret) => Some(secret),
            _ => None,
        }
    }

    /// The shared secrets that any record is about, with the record that counts.
    pub fn secrets(&self) -> impl Iterator<Item = (SecretId, Option<&Record>)> {
        let first = Subject::Secret(SecretId::StorageMinting(RepositoryId([0; 16])));
        let last = Subject::Secret(SecretId::DomainIndex(DomainId([u8::MAX; 16])));
        let mut before = None;
        self.heads.range((first, LOWEST)..=(last, HIGHEST)).filter_map(move |((subject, _), _)| match subject {
            Subject::Secret(id) if before.replace(*subject) != Some(*subject) => Some((*id, self.winner(subject))),
            _ => None,
        })
    }

    /// All records about a subject, those that win nothing included.
    pub fn heads(&self, subject: &Subject) -> impl Iterator<Item = &Record> {
        self.heads.range((*subject, LOWEST)..=(*subject, HIGHEST)).map(|(_, record)| record.as_ref())
    }

    /// Whether a client was revoked.
    pub fn client_revoked(&self, id: &ClientId) -> bool {
        self.winner(&Subject::ClientRevocation(*id)).is_some()
    }

    /// Whether a token was revoked.
    pub fn token_revoked(&self, id: &TokenId) -> bool {
        let terms = self.winner(&Subject::Token(*id)).filter(|_| probe::planted(Plant::RevocationOutbid));
        let is_later = |revocation: &Record| terms.is_none_or(|terms| terms.version() <= revocation.version());
        self.winner(&Subject::TokenRevocation(*id)).is_some_and(is_later)
    }
}

const LOWEST: PublicKey = PublicKey([0; 32]);
const HIGHEST: PublicKey = PublicKey([u8::MAX; 32]);

/// Where a record stands: one record is kept there.
fn place(record: &Record) -> (Subject, PublicKey) {
    (record.subject(), *record.author())
}

/// Of two records in one place, the higher is kept.
fn rank(record: &Record) -> (u64, &Hash) {
    (record.version(), record.hash())
}

/// Whether a keyset lets this author decide on this subject.
fn may_author(keyset: &Keyset, subject: &Subject, author: &PublicKey) -> bool {
    let is_admin = || keyset.admins.iter().any(|admin| admin.key == *author);
    let is_orchestrator = || keyset.orchestrators.iter().any(|orchestrator| orchestrator.key == *author);
    match subject {
        // The root alone signs keysets.
        Subject::Keyset => false,
        // Sealed again for a newcomer by any orchestrator that has it.
        Subject::Secret(_) => is_admin() || is_orchestrator(),
        Subject::Domain(_)
        | Subject::Storage(_)
        | Subject::Token(_)
        | Subject::TokenRevocation(_)
        | Subject::ClientRevocation(_) => is_admin(),
    }
}

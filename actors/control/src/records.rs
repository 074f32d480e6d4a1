//! The set of converging records, merged without a clock.
//!
//! Invariant: the set depends only on which records were ever inserted, not on
//! their order (I2): per (subject, author) it keeps the highest version, ties by
//! hash. A winner is computed, never stored, among the authors whom the newest
//! keyset admits. No validly signed record is refused, and a revocation can only
//! be replaced by another revocation.

mod digest;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use protocol::{
    codec::DecodeError,
    ids::{ClientId, ClusterId, DomainId, PublicKey, RepositoryId, TokenId},
    records::{Domain, Keyset, Payload, Record, SecretId, SharedSecret, Storage, Subject, TokenTerms},
    sign::Signed,
};

use digest::Shards;
pub use digest::{SHARDS, shard_of};

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
    heads: BTreeMap<Subject, BTreeMap<PublicKey, Record>>,
    shards: Shards,
}

impl PartialEq for RecordSet {
    fn eq(&self, other: &Self) -> bool {
        (&self.cluster, &self.root, &self.heads) == (&other.cluster, &other.root, &other.heads)
    }
}

impl RecordSet {
    /// No records.
    pub fn new(cluster: ClusterId, root: PublicKey) -> Self {
        Self { cluster, root, heads: BTreeMap::new(), shards: Shards::default() }
    }

    /// Checks form, size, signature and cluster of a record, for `insert`.
    pub fn open(&self, signed: Signed) -> Result<Record, DecodeError> {
        Record::open(signed, &self.cluster)
    }

    /// What `insert` would do: for those who write to disk first. A disk that keeps
    /// one record per (subject, author) keeps what the set keeps.
    pub fn judge(&self, record: &Record) -> Inserted {
        let Some(head) = self.heads.get(&record.subject()).and_then(|heads| heads.get(record.author())) else {
            return Inserted::New;
        };
        match (record.version(), record.hash()).cmp(&(head.version(), head.hash())) {
            std::cmp::Ordering::Greater => Inserted::New,
            std::cmp::Ordering::Equal => Inserted::Known,
            std::cmp::Ordering::Less => Inserted::Superseded,
        }
    }

    /// Adds a record of this cluster.
    pub fn insert(&mut self, record: Record) -> Inserted {
        let inserted = self.judge(&record);
        if inserted == Inserted::New {
            let (subject, author) = (record.subject(), *record.author());
            self.shards.add(*record.hash(), (subject, author));
            if let Some(replaced) = self.heads.entry(subject).or_default().insert(author, record) {
                self.shards.remove(replaced.hash());
            }
        }
        inserted
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All records, those that win nothing included.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.heads.values().flat_map(BTreeMap::values)
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
        self.heads.get(&Subject::Keyset)?.get(&self.root)
    }

    /// The record that counts for a subject: the highest version, then author, then
    /// hash, among the authors whom the newest keyset admits for it.
    pub fn winner(&self, subject: &Subject) -> Option<&Record> {
        if *subject == Subject::Keyset {
            return self.keyset_record();
        }
        let (_, keyset) = self.keyset()?;
        self.heads
            .get(subject)?
            .values()
            .filter(|record| may_author(keyset, subject, record.author()))
            .max_by_key(|record| (record.version(), record.author(), record.hash()))
    }

    /// The winning records of all subjects, by subject.
    pub fn winners(&self) -> impl Iterator<Item = &Record> {
        self.heads.keys().filter_map(|subject| self.winner(subject))
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
        self.heads.range(all).filter_map(|(subject, _)| match self.winner(subject)?.payload() {
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
        self.heads.range(all).filter_map(|(subject, _)| match self.winner(subject)?.payload() {
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

    /// A secret that orchestrators share.
    pub fn secret(&self, id: &SecretId) -> Option<&SharedSecret> {
        match self.winner(&Subject::Secret(*id))?.payload() {
            Payload::Secret(secret) => Some(secret),
            _ => None,
        }
    }

    /// Whether a client was revoked.
    pub fn client_revoked(&self, id: &ClientId) -> bool {
        self.winner(&Subject::ClientRevocation(*id)).is_some()
    }

    /// Whether a token was revoked.
    pub fn token_revoked(&self, id: &TokenId) -> bool {
        self.winner(&Subject::TokenRevocation(*id)).is_some()
    }
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

//! The storages' stewards, made from sealed credentials when they are first needed,
//! and the other secrets that orchestrators share.
//!
//! Invariant: a credential is opened in memory only, and forgotten when the record
//! that carried it is replaced.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use control::records::RecordSet;
use env::{Env, Steward};
use protocol::{
    codec,
    failure::Failure,
    ids::{DomainId, Hash, RepositoryId},
    records::{Payload, Record, SecretId, StorageCredential, Subject},
};
use zeroize::Zeroizing;

use crate::{identity::Identity, shared::Shared};

/// Makes and keeps stewards.
#[derive(Clone)]
pub struct Stewards(Arc<Inner>);

struct Inner {
    env: Env,
    identity: Identity,
    records: Shared<RecordSet>,
    made: Mutex<BTreeMap<RepositoryId, Made>>,
}

struct Made {
    /// The records it was made from.
    from: [Hash; 2],
    steward: Arc<dyn Steward>,
}

impl Stewards {
    /// Stewards of the storages in `records`.
    pub fn new(env: &Env, identity: Identity, records: Shared<RecordSet>) -> Self {
        Self(Arc::new(Inner { env: env.clone(), identity, records, made: Mutex::default() }))
    }

    /// The steward of a repository.
    pub fn of(&self, repository: &RepositoryId) -> Result<Arc<dyn Steward>, Failure> {
        let inner = &*self.0;
        let records = inner.records.read();
        let subject = Subject::Secret(SecretId::StorageMinting(*repository));
        let storage_record = records.winner(&Subject::Storage(*repository));
        // Whoever asks works by a record that names the repository: another orchestrator has
        // heard of its storage, if this one was away when it was added.
        let storage_record = storage_record.ok_or_else(|| {
            Failure::retry(format!("the storage of repository {repository} has not reached this orchestrator yet"))
        })?;
        let secret_record = secret_of(&records, &subject)?;
        let from = [*storage_record.hash(), *secret_record.hash()];
        let mut made = inner.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.get(repository).filter(|made| made.from == from) {
            return Ok(made.steward.clone());
        }
        let Payload::Storage(storage) = storage_record.payload() else { return Err(misfiled()) };
        let credential: StorageCredential =
            codec::decode("storage credential", &inner.unseal(secret_record, &subject)?)?;
        let steward =
            inner.env.storages.steward(storage, &credential).map_err(|error| Failure::invalid(error.to_string()))?;
        made.insert(*repository, Made { from, steward: steward.clone() });
        Ok(steward)
    }

    /// A secret that orchestrators share, whatever it is.
    pub fn open(&self, id: &SecretId) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let subject = Subject::Secret(*id);
        let records = self.0.records.read();
        self.0.unseal(secret_of(&records, &subject)?, &subject)
    }

    /// The index key of a domain.
    pub fn index_key(&self, domain: &DomainId) -> Result<[u8; 32], Failure> {
        let subject = Subject::Secret(SecretId::DomainIndex(*domain));
        let records = self.0.records.read();
        let opened = self.0.unseal(secret_of(&records, &subject)?, &subject)?;
        opened
            .as_slice()
            .try_into()
            .map_err(|_| Failure::invalid(format!("the index key of domain {domain} is no key")))
    }
}

impl Inner {
    /// Opens this orchestrator's box of a shared secret.
    fn unseal(&self, record: &Record, subject: &Subject) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let Payload::Secret(secret) = record.payload() else { return Err(misfiled()) };
        let key = self.identity.sealing();
        let sealed = secret
            .boxes
            .iter()
            .find(|sealed| sealed.to == key.public())
            .ok_or_else(|| Failure::retry(format!("the secret {subject:?} is not sealed for this orchestrator")))?;
        Ok(key.open(sealed, &codec::encode(subject))?)
    }
}

fn secret_of<'a>(records: &'a RecordSet, subject: &Subject) -> Result<&'a Record, Failure> {
    let missing = || Failure::retry(format!("the secret {subject:?} has not reached this orchestrator yet"));
    records.winner(subject).ok_or_else(missing)
}

fn misfiled() -> Failure {
    Failure::internal("a record stands under the wrong subject")
}

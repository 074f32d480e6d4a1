//! What clients are configured with, kept ready for those that wait for it to change.
//!
//! Invariant: who waits is woken by a change of what is said to it, and by no other. What
//! is said to a domain is put together once for each change of the records, however many
//! of its clients wait; of domains for which nobody waits, nothing is kept.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use control::RecordSet;
use probe::Plant;
use protocol::{
    ids::{DomainId, Hash},
    records::Subject,
    sign::Signed,
    wire::Watch,
};
use tokio::sync::watch;

/// One configuration.
#[derive(Debug, Clone)]
pub struct Edition {
    /// Tells it from others.
    pub hash: Hash,
    /// The keyset, the domain, its storage.
    pub records: Arc<Vec<Signed>>,
}

/// The newest edition of a domain. None while a record of it is missing here.
type Newest = Option<Edition>;

/// The editions for which somebody waits. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Editions(Arc<Mutex<BTreeMap<DomainId, watch::Sender<Newest>>>>);

impl Editions {
    /// Follows what is said to a domain's clients.
    pub fn follow(&self, domain: DomainId, records: &RecordSet) -> watch::Receiver<Newest> {
        let mut followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = followed.entry(domain).or_insert_with(|| watch::Sender::new(newest(&domain, records)));
        // The records may have changed, and `update` not have come to it yet.
        replace(sender, &domain, records);
        sender.subscribe()
    }

    /// After a change of the records: wakes those to whom it matters.
    pub fn update(&self, records: &RecordSet) {
        let mut followed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        followed.retain(|_, sender| sender.receiver_count() > 0);
        if probe::planted(Plant::NewsUntold) {
            return;
        }
        for (domain, sender) in followed.iter() {
            replace(sender, domain, records);
        }
    }
}

/// What a domain's clients work by.
pub fn configuration(domain: &DomainId, records: &RecordSet) -> Option<Vec<Signed>> {
    let repository = records.domain(domain)?.repository;
    let subjects = [Subject::Keyset, Subject::Domain(*domain), Subject::Storage(repository)];
    subjects.iter().map(|subject| records.winner(subject).map(|record| record.signed().clone())).collect()
}

fn newest(domain: &DomainId, records: &RecordSet) -> Newest {
    let records = configuration(domain, records)?;
    Some(Edition { hash: Watch::edition(&records), records: Arc::new(records) })
}

fn replace(sender: &watch::Sender<Newest>, domain: &DomainId, records: &RecordSet) {
    let newest = newest(domain, records);
    let hash = |edition: &Newest| edition.as_ref().map(|edition| edition.hash);
    sender.send_if_modified(|known| {
        let is_news = hash(known) != hash(&newest);
        if is_news {
            *known = newest;
        }
        is_news
    });
}

#[cfg(test)]
mod tests;

//! A lost ledger begins again: from its backup, in a new incarnation.
//!
//! Invariant: a ledger in which anything was ever decided for a client is not begun again.
//! One that is being imported decides nothing else, and is whole only with exactly what its
//! charter names. What it decides then bears its own incarnation: no lease id and no epoch
//! equals one of an earlier life, and leases of earlier lives are over.

use std::sync::Arc;

use protocol::{
    audit::Act,
    failure::Failure,
    ids::Hash,
    ledger::{self, Charter, EMPTY_DIGEST, Item},
    limits,
    sign::Signed,
};
use serde::{Deserialize, Serialize};

use super::{Client, Ledger, lease::keep_newest, refused};

/// Low bits of an epoch that number the condemnations of one incarnation.
const EPOCH_BITS: u32 = 32;

/// How far an import has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Import {
    charter: Charter,
    /// How many items are there.
    place: u64,
    /// What their digest comes to.
    digest: Hash,
}

impl Import {
    fn is_whole(&self) -> bool {
        (self.place, self.digest) == (self.charter.items, self.charter.digest)
    }
}

impl Ledger {
    /// Whether this ledger begins again, and does not have everything yet.
    pub fn is_importing(&self) -> bool {
        self.import.as_ref().is_some_and(|import| !import.is_whole())
    }

    /// Begins a lost ledger again. How many items are there.
    pub(super) fn found(&mut self, signed: &Signed) -> Result<u64, Failure> {
        let charter = Charter::open(signed, &self.root).map_err(refused)?;
        if let Some(import) = self.import.as_ref().filter(|import| import.charter == charter) {
            return Ok(import.place);
        }
        let is_new = self.clients.is_empty() && self.tokens.is_empty() && self.reuse.is_empty();
        if !is_new && !self.is_importing() {
            return Err(Failure::invalid("this cluster is at work: a ledger is rebuilt on new orchestrators only"));
        }
        if charter.incarnation <= self.incarnation {
            return Err(Failure::invalid(format!(
                "this ledger is in incarnation {}, so it cannot begin again as {}",
                self.incarnation, charter.incarnation
            )));
        }
        self.incarnation = charter.incarnation;
        self.begin_import(charter);
        Ok(0)
    }

    fn begin_import(&mut self, charter: Charter) {
        self.clients.clear();
        self.tokens.clear();
        self.open.clear();
        self.reuse.clear();
        self.import = Some(Import { charter, place: 0, digest: EMPTY_DIGEST });
    }

    /// Takes the next items: those from place `from` on that are not there yet. How many
    /// there are then.
    pub(super) fn import(&mut self, from: u64, items: &[Item]) -> Result<u64, Failure> {
        if items.len() > limits::IMPORT_ITEMS_MAX {
            return Err(Failure::invalid(format!("{} pieces of a ledger at once are too many", items.len())));
        }
        let Some(Import { place, .. }) = self.import.clone() else {
            return Err(Failure::invalid("this ledger does not begin again: there is nothing to be imported"));
        };
        let Some(known) = place.checked_sub(from) else {
            return Err(Failure::invalid(format!("pieces {place} to {from} of the ledger are missing")));
        };
        let was_importing = self.is_importing();
        let fresh = items.iter().skip(usize::try_from(known).unwrap_or(usize::MAX));
        for item in fresh {
            self.take(item)?;
        }
        self.end_import(was_importing)
    }

    fn take(&mut self, item: &Item) -> Result<(), Failure> {
        let full = || Failure::invalid("the charter names fewer pieces of the ledger than these");
        if self.import.as_ref().is_none_or(|import| import.place >= import.charter.items) {
            return Err(full());
        }
        self.put(item)?;
        if let Some(import) = &mut self.import {
            import.digest = ledger::digest(&import.digest, item);
            import.place += 1;
        }
        Ok(())
    }

    /// Looks whether everything is there, and is what it should be.
    fn end_import(&mut self, was_importing: bool) -> Result<u64, Failure> {
        let Some(import) = &self.import else { return Ok(0) };
        let place = import.place;
        if place == import.charter.items && !import.is_whole() {
            let charter = import.charter.clone();
            self.begin_import(charter);
            return Err(Failure::corrupt("what was imported is not what the charter names: import it anew"));
        }
        if import.is_whole() && was_importing {
            self.enter(Act::Rebuilt(self.incarnation));
            let least = u64::from(self.incarnation) << EPOCH_BITS;
            self.reuse.values_mut().for_each(|reuse| reuse.epoch = reuse.epoch.max(least));
        }
        Ok(place)
    }

    fn put(&mut self, item: &Item) -> Result<(), Failure> {
        let unknown = || Failure::invalid("a piece of the ledger is about a client that was not named before");
        match item {
            Item::Client { enrollment, welcomed } => {
                let client = Client { enrollment: enrollment.clone(), welcomed: *welcomed, chains: Default::default() };
                self.clients.insert(enrollment.client, Arc::new(client));
            }
            Item::Snapshot(snapshot) => {
                let client = self.clients.get_mut(&snapshot.client).map(Arc::make_mut).ok_or_else(unknown)?;
                let chain = client.chains.entry(snapshot.repository).or_default();
                let next = chain.newest().map_or(1, |newest| newest.commit.sequence + 1);
                if snapshot.commit.sequence != next {
                    return Err(Failure::invalid(format!(
                        "snapshot {} is number {} of its client, and {next} is the next",
                        snapshot.id.short(),
                        snapshot.commit.sequence
                    )));
                }
                self.decided = self.decided.max(snapshot.at);
                chain.snapshots.insert(next, snapshot.clone());
            }
            Item::Left { client, repository, lease } => {
                let client = self.clients.get_mut(client).map(Arc::make_mut).ok_or_else(unknown)?;
                let chain = client.chains.entry(*repository).or_default();
                chain.left.push(*lease);
                keep_newest(&mut chain.left, limits::LEFT_LEASES_MAX);
            }
            Item::Own { repository, domain, .. }
            | Item::Published { repository, domain, .. }
            | Item::Condemned { repository, domain, .. }
            | Item::Lost { repository, domain, .. } => {
                self.reuse.entry((*repository, *domain)).or_default().put(item);
            }
        }
        Ok(())
    }

    /// Everything that another ledger needs to go on where this one is: tokens are left
    /// out, which are void then, and leases that are open are as if they had been closed.
    pub fn items(&self) -> impl Iterator<Item = Item> {
        let clients = self.clients.iter().flat_map(|(id, client)| {
            let first = Item::Client { enrollment: client.enrollment.clone(), welcomed: client.welcomed };
            let rest = client.chains.iter().flat_map(|(repository, chain)| {
                let left = chain.left.iter().copied().chain(chain.lease.as_ref().map(|lease| lease.id));
                let left = left.map(|lease| Item::Left { client: *id, repository: *repository, lease });
                chain.snapshots.values().cloned().map(Item::Snapshot).chain(left)
            });
            std::iter::once(first).chain(rest)
        });
        clients.chain(self.reuse.iter().flat_map(|((repository, domain), reuse)| reuse.items(*repository, *domain)))
    }
}

//! What a verification found.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{limits, names::ObjectKey};

use crate::{error::RepoError, keys::Keys};

/// Damages in a report.
const DAMAGES_MAX: usize = 1000;
/// Files named for one damage.
const FILES_MAX: usize = 10;
/// Packs named as read.
const PACKS_NAMED_MAX: usize = 1000;

/// What a damage costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// No file: what is damaged is there twice, or only says what must not be deleted, or
    /// where something is that was found all the same.
    Nothing,
    /// The files that are named, and perhaps others, cannot be restored whole.
    Files,
    /// A whole snapshot cannot be restored.
    Snapshot,
}

/// Something damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The object, as it is named in the storage, or what could not be found.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
    /// What it costs.
    pub cost: Cost,
    /// Which files need it: the first of them.
    pub files: Vec<String>,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Entries of all trees.
    pub entries: u64,
    /// Tree chunks read and opened.
    pub trees: u64,
    /// Chunks of files resolved, each once.
    pub chunks: u64,
    /// Packs whose header and table of contents were read.
    pub packs: u64,
    /// Of them: packs whose data was read.
    pub packs_read: u64,
    /// The first of those, as they are named in the storage.
    pub packs_read_named: Vec<String>,
    /// Bytes of file data read and opened.
    pub bytes_read: u64,
    /// How many objects are damaged or missing.
    pub damages_count: u64,
    /// The first of them.
    pub damages: Vec<Damage>,
    /// Objects that are lost, or of which something is damaged: not to be relied upon by
    /// any later backup. At most `limits::DAMAGED_OBJECTS_MAX`.
    pub damaged: Vec<ObjectKey>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damages_count == 0
    }

    /// Notes a pack whose data is read.
    pub(super) fn reads(&mut self, pack: ObjectKey) {
        self.packs_read += 1;
        if self.packs_read_named.len() < PACKS_NAMED_MAX {
            self.packs_read_named.push(pack.to_string());
        }
    }
}

/// What is damaged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// An object.
    Object(ObjectKey),
    /// Something that is not an object of its own.
    Other(String),
}

impl Thing {
    fn name(&self) -> String {
        match self {
            Self::Object(key) => key.to_string(),
            Self::Other(name) => name.clone(),
        }
    }
}

/// Gathers damages: each thing once, with the files that need it.
#[derive(Default)]
pub(super) struct Damages {
    named: BTreeMap<Thing, Damage>,
    /// Things beyond those that are named, by a hash: each is counted once.
    others: BTreeSet<u64>,
    /// How many there are.
    pub count: u64,
    objects: BTreeSet<ObjectKey>,
}

impl Damages {
    /// Notes a damage. Returns whether it is the first of this thing.
    pub fn add(&mut self, thing: &Thing, error: &RepoError, cost: Cost, file: Option<&str>) -> bool {
        if let Thing::Object(key) = thing
            && self.objects.len() < limits::DAMAGED_OBJECTS_MAX
        {
            self.objects.insert(*key);
        }
        let known = self.named.contains_key(thing);
        let mut is_new = !known;
        if !known && self.named.len() < DAMAGES_MAX {
            let damage = Damage { object: thing.name(), reason: error.told(), cost, files: Vec::new() };
            self.named.insert(thing.clone(), damage);
        } else if !known && self.others.len() < limits::DAMAGED_OBJECTS_MAX {
            let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(thing.name().as_bytes()).as_bytes();
            is_new = self.others.insert(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        }
        self.count += u64::from(is_new);
        if let Some(damage) = self.named.get_mut(thing) {
            damage.cost = damage.cost.max(cost);
            if let Some(file) = file
                && damage.files.len() < FILES_MAX
                && !damage.files.iter().any(|known| known == file)
            {
                damage.files.push(file.into());
            }
        }
        is_new
    }

    /// Puts them into the report.
    pub fn finish(self, report: &mut VerifyReport) {
        report.damages_count = self.count;
        report.damages = self.named.into_values().collect();
        report.damaged = self.objects.into_iter().collect();
    }
}

/// What a missing chunk is blamed on: the first index segment that cannot be read, or
/// nothing but itself.
pub(super) fn culprit(keys: &Keys, unreadable: &[(protocol::names::ObjectName, RepoError)], chunk: &str) -> Thing {
    match unreadable.first() {
        Some((segment, _)) => Thing::Object(keys.segment(*segment)),
        None => Thing::Other(format!("chunk {chunk}")),
    }
}

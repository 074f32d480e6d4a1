//! Objects that a job found lost, damaged or false, to be told to the orchestrators.
//!
//! Invariant: what stands here is not used again by the job that found it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use protocol::names::{ObjectKey, ObjectName};

/// How many are remembered: more than are looked at in one go. The next job finds the rest.
const OBJECTS_MAX: usize = 4096;

/// What a job does not trust any more.
#[derive(Debug, Default)]
pub struct Distrust(Mutex<BTreeMap<ObjectName, ObjectKey>>);

impl Distrust {
    /// Notes an object.
    pub fn add(&self, key: ObjectKey) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() < OBJECTS_MAX {
            keys.insert(key.name, key);
        }
    }

    /// Whether an object of this name is not to be trusted.
    pub fn has(&self, name: &ObjectName) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// All of it.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect()
    }
}

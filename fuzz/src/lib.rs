//! What the fuzz targets share. One target for each decoder that reads what came
//! from a network, a storage, a disk or a person.
//!
//! Each target asserts three things of whatever bytes it is given: nothing panics
//! (overflows included); decoding takes no more memory than [`bounded`] allows; and
//! what was decoded, encoded again, decodes to the same. A decoder behind
//! encryption or a signature would refuse random bytes at the door, so its target
//! also seals and signs what it is given, with the fixed keys below.
//!
//! `./run 60` runs each target for 60 seconds on what is in `corpus/` and on the
//! golden files. `corpus/` holds a few small inputs of each target to start from;
//! after finding more, choose them anew: `./run --shrink`.

#[cfg(feature = "program")]
mod program;

use std::{alloc::System, sync::Once};

use cap::Cap;
use protocol::{
    codec,
    ids::{LeaseId, Sha256},
    names::ObjectName,
    sign::Signer,
};
use serde::{Serialize, de::DeserializeOwned};

#[cfg(feature = "program")]
pub use program::*;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// What a decoder may take however short its input is: serde reserves up to 1 MiB
/// for each list whose length it was told, and lists lie in lists.
const MEMORY_MIN: usize = 4 << 20;
/// What it may take for each byte of input: the emptiest string in a list is one
/// byte, and 24 in memory.
const MEMORY_PER_BYTE: usize = 64;

/// The key of everything that is sealed under a key here.
pub const KEY: [u8; 32] = [6; 32];
/// The random id of objects that have one.
pub const OBJECT_ID: [u8; 32] = [7; 32];

/// Runs a target with a bound on what it may allocate. Allocating more ends the
/// process, and so is found.
pub fn bounded(data: &[u8], target: impl FnOnce()) {
    bounded_by(MEMORY_MIN + MEMORY_PER_BYTE * data.len(), target);
}

/// Like [`bounded`], with another bound, in bytes.
pub fn bounded_by(bytes: usize, target: impl FnOnce()) {
    // Telling of a panic takes memory too.
    static FREED_BY_PANICS: Once = Once::new();
    FREED_BY_PANICS.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let _ = MEMORY.set_limit(usize::MAX);
            tell(panic);
        }));
    });
    // Fails only if more is taken already, which it is not.
    let _ = MEMORY.set_limit(MEMORY.allocated() + bytes);
    target();
    let _ = MEMORY.set_limit(usize::MAX);
}

/// Reads bytes as a message. What is read comes back when it is written and read again.
pub fn message<T: Serialize + DeserializeOwned>(data: &[u8]) -> Option<T> {
    let value: T = codec::decode("message", data).ok()?;
    let bytes = codec::encode(&value);
    let again: T = codec::decode("message", &bytes).expect("what was written is read");
    assert_eq!(codec::encode(&again), bytes, "what was read comes back");
    Some(value)
}

/// Who signs here.
pub fn signer() -> Signer {
    Signer::from_seed(&[4; 32])
}

/// A name.
pub fn name(number: u8) -> ObjectName {
    ObjectName { lease: LeaseId { incarnation: 1, index: number.into() }, hash: Sha256([number; 32]) }
}

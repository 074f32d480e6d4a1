//! Chunks: sealed bytes as they come, and payloads sealed here.
//!
//! The first two bytes are the low bits of the length that the reference claims.
#![no_main]

use std::sync::LazyLock;

use fuzz::{CONVERGENCE, bounded_by, keys};
use libfuzzer_sys::fuzz_target;
use protocol::{
    format::{
        chunk::{self, ChunkRef, MessageKey, Under},
        keys::chunk_key,
    },
    limits,
};
use repo::Opener;

static KEYS: LazyLock<repo::Keys> = LazyLock::new(keys);

fuzz_target!(|data: &[u8]| {
    let Some((claimed, payload)) = data.split_first_chunk() else { return };
    let len = u32::from(u16::from_le_bytes(*claimed));
    LazyLock::force(&KEYS);
    // What comes out has the length that the reference says, at most.
    bounded_by(2 * (limits::CHUNK_BYTES_MAX + data.len()), || {
        let mut opener = Opener::new().expect("there is memory for a context");
        let id = chunk::id_of(payload);
        let wrong = ChunkRef { id, key: MessageKey([1; 32]), len, under: Under::Generation(0) };
        assert!(opener.open(&KEYS, payload, &wrong).is_err(), "no key opens what it did not seal");
        let mut sealed = payload.to_vec();
        let (id, key) = chunk::seal(&chunk_key(&CONVERGENCE), &mut sealed, 0);
        for under in [Under::Generation(0), Under::Generation(1), Under::Own, Under::Hole] {
            for len in [len, u32::MAX, limits::CHUNK_BYTES_MAX as u32] {
                if let Ok(plain) = opener.open(&KEYS, &sealed, &ChunkRef { id, key, len, under }) {
                    assert_eq!(plain.len(), len as usize);
                }
            }
        }
    });
});

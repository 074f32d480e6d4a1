//! The small files of a data directory: as they lie there, and with a right sum.
#![no_main]

use actors::client::Profile;
use fuzz::{OneFile, bounded};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        let _ = Profile::enrolled(&OneFile::new(data.to_vec()));
        let mut bytes = vec![0];
        bytes.extend_from_slice(data);
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        let _ = Profile::enrolled(&OneFile::new(bytes));
    });
});

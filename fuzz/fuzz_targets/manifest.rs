//! Manifests, as they come and sealed here.
#![no_main]

use fuzz::{KEY, OBJECT_ID, bounded};
use libfuzzer_sys::fuzz_target;
use protocol::{
    format::{self, keys, manifest::Manifest},
    sealed,
};

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        open(data);
        let mut plain = data.to_vec();
        sealed::seal_in_place(&keys::manifest_key(&KEY, &OBJECT_ID), &sealed::nonce(0), b"", &mut plain);
        let mut bytes = b"nuthmani".to_vec();
        bytes.extend_from_slice(&[format::VERSION, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&OBJECT_ID);
        bytes.extend_from_slice(&plain);
        format::finish(&mut bytes);
        open(&bytes);
    });
});

fn open(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::open(bytes, &KEY) {
        assert_eq!(Manifest::open(&manifest.seal(&KEY, &OBJECT_ID), &KEY), Ok(manifest));
    }
}

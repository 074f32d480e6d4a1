//! Commit objects, as they come and signed here.
#![no_main]

use fuzz::{bounded, name, signer};
use libfuzzer_sys::fuzz_target;
use protocol::{
    codec,
    format::{self, commit::CommitObject},
    sign::{self, Signed},
};

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        open(data);
        let signed = Signed::new(&signer(), sign::COMMIT, data.to_vec());
        let mut bytes = b"nuthcmmt".to_vec();
        bytes.extend_from_slice(&[format::VERSION, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&codec::encode(&signed));
        format::finish(&mut bytes);
        open(&bytes);
    });
});

fn open(bytes: &[u8]) {
    let signer = signer();
    if let Ok(body) = CommitObject::open(bytes, &signer.public()) {
        let _ = body.facts(name(1));
        assert_eq!(CommitObject::open(&CommitObject::seal(&body, &signer), &signer.public()), Ok(body));
    }
}

//! Boxes sealed to a key.
#![no_main]

use fuzz::{bounded, message};
use libfuzzer_sys::fuzz_target;
use protocol::sealed::{SealedBox, SealingSecret, seal_to};

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        let secret = SealingSecret::from_seed(&[10; 32]);
        if let Some(sealed) = message::<SealedBox>(data) {
            assert!(secret.open(&sealed, b"info").is_err(), "nothing opens that was not sealed");
        }
        let sealed = seal_to(&secret.public(), b"info", data, &mut |bytes| bytes.fill(9)).expect("the key is a key");
        assert_eq!(**secret.open(&sealed, b"info").expect("what was sealed opens"), *data);
    });
});

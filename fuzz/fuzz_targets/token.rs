//! Tokens as text and as bytes with a right sum, and the welcomes sealed for them.
#![no_main]

use data_encoding::BASE32_NOPAD;
use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use protocol::{
    ids::PublicKey,
    sealed,
    token::{Token, Welcome},
};

const RELEASE: [u8; 32] = [9; 32];

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        if let Ok(text) = std::str::from_utf8(data) {
            read(text);
        }
        let mut bytes = vec![0];
        bytes.extend_from_slice(data);
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(&sum.as_bytes()[..4]);
        read(&format!("nuthatch-token-{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()));

        let token = Token::new([3; 32], PublicKey([1; 32]), 0, Vec::new());
        let _ = token.open_welcome(&RELEASE, data.to_vec());
        let mut hasher = blake3::Hasher::new_derive_key("nuthatch 2026 token box key");
        hasher.update(&[3; 32]).update(&RELEASE);
        let mut welcome = data.to_vec();
        sealed::seal_in_place(hasher.finalize().as_bytes(), &sealed::nonce(0), b"", &mut welcome);
        if let Ok(welcome) = token.open_welcome(&RELEASE, welcome) {
            let again: Result<Welcome, _> = token.open_welcome(&RELEASE, token.seal_welcome(&RELEASE, &welcome));
            assert!(again == Ok(welcome));
        }
    });
});

fn read(text: &str) {
    if let Ok(token) = text.parse::<Token>() {
        assert!(token.to_text().parse::<Token>() == Ok(token));
    }
}

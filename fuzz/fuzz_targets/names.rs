//! Names and ids, as people and storages write them.
#![no_main]

use std::{fmt::Display, str::FromStr};

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use protocol::{
    ids::{ClientId, ClusterId, LeaseId, PublicKey},
    names::{ObjectKey, ObjectName},
};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    bounded(data, || {
        one_spelling::<ObjectKey>(text);
        one_spelling::<ObjectName>(text);
        one_spelling::<LeaseId>(text);
        // People may write these in capitals.
        for text in [text, &text.to_ascii_lowercase()] {
            let _ = (text.parse::<ClientId>(), text.parse::<ClusterId>(), text.parse::<PublicKey>());
        }
    });
});

fn one_spelling<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

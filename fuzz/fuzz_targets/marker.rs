//! Repository markers.
#![no_main]

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use protocol::format::marker;

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        if let Ok(repository) = marker::decode(data) {
            assert_eq!(marker::encode(&repository), data);
        }
    });
});

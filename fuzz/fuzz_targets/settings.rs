//! The configuration of a node.
#![no_main]

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use node::settings::Settings;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    bounded(data, || {
        if let Err(reason) = Settings::parse(text) {
            assert!(!reason.is_empty());
        }
    });
});

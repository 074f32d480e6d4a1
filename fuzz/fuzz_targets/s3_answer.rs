//! What a storage says: error documents and pages of listings.
#![no_main]

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        let _ = node::store::listing_page(data);
        for status in [400, 403, 404, 412, 500, 503] {
            let told = node::store::failure_in("an object", status, data).to_string();
            assert!(told.len() < 4096, "no storage fills a log");
            assert!(!told.contains(|c: char| c.is_control()), "no storage writes to a terminal");
        }
    });
});

//! The files of the operator's directory.
#![no_main]

use std::sync::Arc;

use fuzz::{OneFile, bounded};
use libfuzzer_sys::fuzz_target;
use node::home::Home;

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        let home = Home::on(Arc::new(OneFile::new(data.to_vec())));
        let _ = (home.admin(), home.check_vacant(), home.domain("laptops"));
        // What the key's file asks for is bounded by the program, but is more than a
        // fuzzer has time and memory for.
        if !data.windows(10).any(|word| word == b"memory_kib") {
            let _ = home.open_root_key("passphrase");
        }
    });
});

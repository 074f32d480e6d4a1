//! Answers, as a client reads them from an orchestrator.
#![no_main]

use fuzz::{bounded, message};
use libfuzzer_sys::fuzz_target;
use protocol::wire::Answer;

fuzz_target!(|data: &[u8]| {
    bounded(data, || drop(message::<Answer>(data)));
});

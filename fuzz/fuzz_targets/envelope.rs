//! Requests, as a server reads them from whoever connects.
#![no_main]

use fuzz::{bounded, message};
use libfuzzer_sys::fuzz_target;
use protocol::wire::Envelope;

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        if let Some(envelope) = message::<Envelope>(data) {
            let _ = envelope.request.name();
        }
    });
});

//! Heads of HTTP requests to the built-in storage: method, path and headers, one on
//! each line.
#![no_main]

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        let mut lines = data.split(|byte| *byte == b'\n');
        let (method, path) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let mut request = http::Request::builder().method(method).uri(path);
        for line in lines {
            let mut parts = line.splitn(2, |byte| *byte == b':');
            if let (Some(name), Some(value)) = (parts.next(), parts.next()) {
                request = request.header(name, value);
            }
        }
        if let Ok(request) = request.body(()) {
            let _ = node::storage::check_request(&request.into_parts().0);
        }
    });
});

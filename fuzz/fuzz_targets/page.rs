//! Pages of reference lists, as they come and sealed here.
#![no_main]

use fuzz::{KEY, bounded};
use libfuzzer_sys::fuzz_target;
use protocol::{
    format::{self, keys, list::Page},
    sealed,
};

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        open(data);
        let page_id = *blake3::keyed_hash(&keys::page_id_key(&KEY), data).as_bytes();
        let mut plain = data.to_vec();
        sealed::seal_in_place(&keys::page_key(&KEY, &page_id), &sealed::nonce(0), b"", &mut plain);
        let mut bytes = Page::Leaf(Vec::new()).seal(&KEY)[..format::HEADER_LEN].to_vec();
        bytes.extend_from_slice(&page_id);
        bytes.extend_from_slice(&plain);
        format::finish(&mut bytes);
        open(&bytes);
    });
});

fn open(bytes: &[u8]) {
    if let Ok(page) = Page::open(bytes, &KEY) {
        assert_eq!(page.seal(&KEY), bytes);
    }
}

//! Pages of the local cache, as they lie there and sealed here.
#![no_main]

use std::sync::LazyLock;

use fuzz::{bounded, keys};
use libfuzzer_sys::fuzz_target;

const NAME: [u8; 32] = [8; 32];
static KEYS: LazyLock<repo::Keys> = LazyLock::new(keys);

fuzz_target!(|data: &[u8]| {
    LazyLock::force(&KEYS);
    bounded(data, || {
        assert!(repo::open_hints(&KEYS, &NAME, data).is_empty(), "nothing opens that was not sealed");
        let sealed = repo::seal_hints(&KEYS, &NAME, data.to_vec());
        let hints = repo::open_hints(&KEYS, &NAME, &sealed);
        let again = repo::seal_hints(&KEYS, &NAME, protocol::codec::encode(&hints));
        assert_eq!(repo::open_hints(&KEYS, &NAME, &again), hints);
        assert!(repo::open_hints(&KEYS, &[9; 32], &sealed).is_empty(), "a page in another's place says nothing");
    });
});

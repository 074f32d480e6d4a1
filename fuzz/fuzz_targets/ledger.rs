//! The ledger's backups: heads as they come and signed here, parts as they come and sealed here.
#![no_main]

use fuzz::{KEY, bounded, signer};
use libfuzzer_sys::fuzz_target;
use protocol::{
    codec,
    format::{
        self,
        ledger::{Head, open_part, seal_part},
    },
    ids::ClusterId,
    sealed,
    sign::{self, Signed},
};

const NUMBER: u64 = 3;

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        head(data);
        head(&object(b"nuthledg", codec::encode(&Signed::new(&signer(), sign::LEDGER, data.to_vec()))));
        part(data);
        let mut sealed = data.to_vec();
        sealed::seal_in_place(&KEY, &sealed::nonce(NUMBER), b"", &mut sealed);
        part(&object(b"nuthlprt", sealed));
    });
});

fn object(magic: &[u8; 8], body: Vec<u8>) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&[format::VERSION, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&body);
    format::finish(&mut bytes);
    bytes
}

fn head(bytes: &[u8]) {
    let cluster = ClusterId::of_root(&signer().public());
    if let Ok((_, head)) = Head::open(bytes, &cluster) {
        assert_eq!(Head::open(&head.seal(&signer()), &cluster), Ok((signer().public(), head)));
    }
}

fn part(bytes: &[u8]) {
    if let Ok(kept) = open_part(&KEY, NUMBER, bytes) {
        assert_eq!(open_part(&KEY, NUMBER, &seal_part(&KEY, NUMBER, &kept)), Ok(kept));
    }
}

//! Signed records and redemptions, as they come and signed here.
#![no_main]

use fuzz::{bounded, message, signer};
use libfuzzer_sys::fuzz_target;
use protocol::{
    codec,
    commands::Redemption,
    ids::ClusterId,
    records::{Record, RecordBody},
    sign::{self, Signed},
};

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        let cluster = ClusterId::of_root(&signer().public());
        if let Some(signed) = message::<Signed>(data) {
            let _ = Record::open(signed, &cluster);
        }
        message::<Redemption>(data);
        let Some(mut body) = message::<RecordBody>(data) else { return };
        // As it came, it is for another cluster; this one's are looked into.
        body.cluster = cluster;
        let signed = Signed::new(&signer(), sign::RECORD, codec::encode(&body));
        let Ok(record) = Record::open(signed, &cluster) else { return };
        assert_eq!(record.payload(), &body.payload);
        assert_eq!(record.subject(), body.payload.subject());
        assert_eq!(Record::sign(&signer(), body).hash(), record.hash());
    });
});

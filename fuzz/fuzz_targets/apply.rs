//! Entries of the log, applied to a ledger: whatever was proposed, no voter stops.
//!
//! What the input's commands carry is signed here, by the one key that is root,
//! admin and token, so that it is looked into.
#![no_main]

use control::Ledger;
use fuzz::{bounded, signer};
use libfuzzer_sys::fuzz_target;
use protocol::{
    codec,
    commands::{Command, Entry, Redemption},
    ids::{ClusterId, TokenId},
    records::{Admin, Keyset, Payload, Record, RecordBody},
    sign::{self, Signed},
    time::UnixMillis,
};

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        let root = signer().public();
        let cluster = ClusterId::of_root(&root);
        let admins = vec![Admin { name: "admin".into(), key: root }];
        let keyset = Keyset { name: "fuzz".into(), admins, orchestrators: Vec::new() };
        let body = RecordBody { cluster, version: 1, payload: Payload::Keyset(keyset) };
        let admit = Command::Admit { keyset: Record::sign(&signer(), body).signed().clone() };
        let mut ledger = Ledger::new(cluster, root, 1);
        ledger.apply(1, &Entry { at: UnixMillis(1), commands: vec![admit] });
        let (mut rest, mut index) = (data, 2);
        while let Ok((mut entry, after)) = postcard::take_from_bytes::<Entry>(rest) {
            entry.commands.iter_mut().for_each(|command| sign(command, cluster));
            let outcomes = ledger.apply(index, &entry);
            assert_eq!(outcomes.len(), entry.commands.len(), "every command has its outcome");
            (rest, index) = (after, index + 1);
        }
        let image = codec::encode(&ledger);
        let again: Ledger = codec::decode("ledger", &image).expect("what was written is read");
        assert_eq!(codec::encode(&again), image);
    });
});

fn sign(command: &mut Command, cluster: ClusterId) {
    match command {
        Command::Admit { keyset } => record(keyset, cluster),
        Command::Redeem { terms, redemption } => {
            record(terms, cluster);
            let mut body = redemption.body.clone();
            if let Ok(mut read) = codec::decode::<Redemption>("redemption", &body) {
                (read.cluster, read.token) = (cluster, TokenId(signer().public().0));
                body = codec::encode(&read);
            }
            *redemption = Signed::new(&signer(), sign::REDEMPTION, body);
        }
        _ => {}
    }
}

fn record(signed: &mut Signed, cluster: ClusterId) {
    let mut body = signed.body.clone();
    if let Ok(mut read) = codec::decode::<RecordBody>("record", &body) {
        read.cluster = cluster;
        if let Payload::Token(terms) = &mut read.payload {
            terms.token = TokenId(signer().public().0);
        }
        body = codec::encode(&read);
    }
    *signed = Signed::new(&signer(), sign::RECORD, body);
}

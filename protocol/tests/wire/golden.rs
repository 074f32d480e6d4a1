//! Golden bytes of version 1: a line for everything that is sent. A line never
//! changes; new things are added.

use std::{collections::BTreeMap, fmt::Debug};

use data_encoding::HEXLOWER;
use protocol::{
    codec::{self, DecodeError},
    commands::{Command, Entry, Outcome, Redemption},
    failure::Code,
    records::{Record, RecordBody, Subject},
    sealed::SealedBox,
    sign::Signed,
    token::{Token, Welcome},
    wire::{Answer, Call, Envelope, Reply},
};
use serde::{Serialize, de::DeserializeOwned};

use super::samples;

fn golden() -> BTreeMap<String, Vec<u8>> {
    include_str!("golden.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (name, hex) = line.split_once(" = ").expect("a line is `name = hex`");
            (name.to_owned(), HEXLOWER.decode(hex.as_bytes()).unwrap())
        })
        .collect()
}

#[test]
fn what_is_written_is_golden() {
    let golden = golden();
    let mut differing = String::new();
    for (name, bytes) in samples::all() {
        if golden.get(&name) != Some(&bytes) {
            differing += &format!("{name} = {}\n", HEXLOWER.encode(&bytes));
        }
    }
    assert!(
        differing.is_empty(),
        "these bytes are not those of golden.txt, and old programs cannot read them:\n{differing}"
    );
    let names: Vec<_> = samples::all().into_iter().map(|(name, _)| name).collect();
    let orphans: Vec<_> = golden.keys().filter(|name| !names.contains(name)).collect();
    assert!(orphans.is_empty(), "nothing writes {orphans:?} any more");
}

/// Reads golden bytes and compares with what was written, as it prints: not all of
/// these types can be compared.
fn check<T: DeserializeOwned + Serialize + Debug>(name: &str, expected: &T) {
    let golden = golden();
    let bytes = golden.get(name).unwrap_or_else(|| panic!("no golden bytes of {name}"));
    let read: T = codec::decode("sample", bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(format!("{read:?}"), format!("{expected:?}"), "{name}");
    assert_eq!(codec::encode(&read), *bytes, "{name}");
}

#[test]
fn golden_bytes_are_read_back() {
    samples::payloads().into_iter().for_each(|(name, payload)| {
        check::<RecordBody>(&format!("record body/{name}"), &samples::body(payload));
    });
    samples::subjects().iter().for_each(|subject| check::<Subject>(&format!("subject/{subject:?}"), subject));
    samples::commands().iter().for_each(|(name, command)| check::<Command>(&format!("command/{name}"), command));
    samples::outcomes().iter().for_each(|(name, outcome)| check::<Outcome>(&format!("outcome/{name}"), outcome));
    samples::failures().into_iter().for_each(|(name, failure)| {
        check::<Answer>(&format!("failure/{name}"), &Err(failure));
    });
    for (request, reply) in samples::calls() {
        check::<Answer>(&format!("reply/{}", request.name()), &Ok(reply));
        check::<Envelope>(&format!("request/{}", request.name()), &samples::envelope(request));
    }
    check::<Entry>("entry", &samples::entry());
    check::<Redemption>("redemption/body", &samples::redemption());
    check::<Signed>("redemption/signed", &samples::signed_redemption());
    check::<Signed>("record/signed", samples::record().signed());
    check::<SealedBox>("sealed/box", &samples::sealed_box());
    check::<Welcome>("token/welcome", &samples::welcome());
}

#[test]
fn golden_signatures_and_seals_hold() {
    let golden = golden();
    let signed: Signed = codec::decode("record", &golden["record/signed"]).unwrap();
    let record = Record::open(signed.clone(), &samples::cluster()).unwrap();
    assert_eq!(record, samples::record());
    assert!(matches!(Record::open(signed, &protocol::ids::ClusterId([0; 32])), Err(DecodeError::Forged { .. })));

    let text = String::from_utf8(golden["token/text"].clone()).unwrap();
    let token: Token = text.parse().unwrap();
    assert!(token == samples::token());
    assert_eq!(token.cluster(), samples::cluster());
    let opened = token.open_welcome(&samples::RELEASE, golden["token/welcome sealed"].clone()).unwrap();
    assert!(opened == samples::welcome());
    assert!(token.open_welcome(&[0; 32], golden["token/welcome sealed"].clone()).is_err());

    let sealed: SealedBox = codec::decode("box", &golden["sealed/box"]).unwrap();
    assert_eq!(*samples::sealing().open(&sealed, samples::SEALED_INFO).unwrap(), samples::SEALED_PLAINTEXT);
    assert!(samples::sealing().open(&sealed, b"other info").is_err());
}

#[test]
fn every_call_has_a_reply_of_its_own() {
    let calls = samples::calls();
    for (place, (request, reply)) in calls.iter().enumerate() {
        // On the wire both have the same number: that is how a table of calls can be numbered.
        assert_eq!(codec::encode(request)[0] as usize, place, "{}", request.name());
        assert_eq!(codec::encode(reply)[0] as usize, place, "{}", request.name());
    }
    let hello = |reply| <protocol::wire::Hello as Call>::reply(reply).is_some();
    assert_eq!(calls.iter().filter(|(_, reply)| hello(reply.clone())).count(), 1);
    assert!(!hello(Reply::Adopted(())));
}

#[test]
fn codes_never_change_their_number() {
    let numbered = [
        Code::Retry,
        Code::Fenced,
        Code::Denied,
        Code::Invalid,
        Code::Corrupt,
        Code::Internal,
        Code::NotFound,
        Code::Superseded,
    ];
    for (number, code) in numbered.iter().enumerate() {
        assert_eq!(codec::encode(code), [number as u8]);
    }
    assert_eq!(numbered.len(), samples::failures().len());
}

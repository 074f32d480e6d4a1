//! Whatever arrives is read whole or refused: nothing panics, no tail is ignored,
//! nothing is allocated beyond what the bytes at hand can fill.

use std::sync::LazyLock;

use proptest::prelude::*;
use protocol::{
    codec::{self, DecodeError},
    commands::{Command, Decided, Entry, Redemption},
    ids::{ClientId, LeaseId},
    limits,
    names::{ObjectKey, ObjectName},
    records::{Record, RecordBody},
    sealed::SealedBox,
    sign::{Signed, Signer},
    time::UnixMillis,
    token::{Token, TokenError, Welcome},
    wire::{Answer, Decision, Envelope, Reply, Request},
};

use super::samples;

/// Made once: signing and sealing are slow in tests, which are not optimized.
static ALL: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(samples::all);
static CALLS: LazyLock<Vec<(Request, Reply)>> = LazyLock::new(samples::calls);

/// Reads bytes as everything that can arrive.
fn read_as_anything(bytes: &[u8]) {
    let _ = codec::decode::<Envelope>("envelope", bytes);
    let _ = codec::decode::<Answer>("answer", bytes);
    let _ = codec::decode::<Entry>("entry", bytes);
    let _ = codec::decode::<RecordBody>("record", bytes);
    let _ = codec::decode::<Redemption>("redemption", bytes);
    let _ = codec::decode::<Welcome>("welcome", bytes);
    if let Ok(sealed) = codec::decode::<SealedBox>("box", bytes) {
        assert!(samples::sealing().open(&sealed, b"").is_err());
    }
    if let Ok(signed) = codec::decode::<Signed>("signed", bytes) {
        let _ = Record::open(signed, &samples::cluster());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<Token>();
        let _ = text.parse::<ObjectKey>();
        let _ = text.parse::<ObjectName>();
        let _ = text.parse::<LeaseId>();
    }
    let _ = samples::token().open_welcome(&samples::RELEASE, bytes.to_vec());
}

#[test]
fn cut_short_or_prolonged_is_refused() {
    for (request, reply) in samples::calls() {
        let name = request.name();
        let bytes = codec::encode(&samples::envelope(request));
        for end in 0..bytes.len() {
            assert!(codec::decode::<Envelope>("envelope", &bytes[..end]).is_err(), "{name} cut at {end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        let refused = codec::decode::<Envelope>("envelope", &longer).unwrap_err();
        assert_eq!(refused, DecodeError::Trailing { what: "envelope", extra: 1 }, "{name}");
        let answer = codec::encode::<Answer>(&Ok(reply));
        for end in 0..answer.len() {
            assert!(codec::decode::<Answer>("answer", &answer[..end]).is_err(), "answer to {name} cut at {end}");
        }
    }
}

#[test]
fn a_length_that_lies_is_refused() {
    // `Push` with a list of 2^60 records, and `Raft` with a message as long.
    let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
    for prefix in [&[0, 20][..], &[0, 17, 0]] {
        assert!(codec::decode::<Envelope>("envelope", &[prefix, &huge].concat()).is_err());
    }
}

#[test]
fn lists_of_short_items_are_bounded() {
    let most = limits::COMMANDS_PER_ENTRY_MAX;
    let decision = |count| Reply::Proposed(Decision { index: 1, outcomes: vec![Ok(Decided::Closed); count] });
    let read = |count| codec::decode::<Answer>("answer", &codec::encode::<Answer>(&Ok(decision(count))));
    assert!(read(most).is_ok());
    let refused = read(most + 1).unwrap_err();
    assert!(matches!(&refused, DecodeError::Malformed { what: "answer", .. }), "{refused}");
    let close = Command::Close { client: ClientId([1; 16]), lease: LeaseId { incarnation: 1, index: 1 } };
    let entry = |count| Entry { at: UnixMillis(1), commands: vec![close.clone(); count] };
    let read = |count| codec::decode::<Entry>("entry", &codec::encode(&entry(count)));
    assert_eq!(read(most), Ok(entry(most)));
    assert!(read(most + 1).is_err());
}

#[test]
fn a_record_is_bounded() {
    let signed = Signed::new(&samples::admin(), protocol::sign::RECORD, vec![0; limits::RECORD_BYTES_MAX + 1]);
    assert!(matches!(Record::open(signed, &samples::cluster()), Err(DecodeError::Malformed { .. })));
}

#[test]
fn a_token_says_what_is_wrong_with_it() {
    let text = samples::token().to_text();
    assert!(format!("  {text}\n").parse::<Token>().unwrap() == samples::token(), "copied with white space");
    assert!(text.to_uppercase().replace("NUTHATCH-TOKEN-", "nuthatch-token-").parse::<Token>().is_ok());
    let error = |text: &str| text.parse::<Token>().expect_err("not a token");
    assert_eq!(error(""), TokenError::NotAToken);
    assert_eq!(error(&text[1..]), TokenError::NotAToken);
    for end in 15..text.len() {
        assert_eq!(error(&text[..end]), TokenError::Garbled, "cut at {end}");
    }
    for place in 15..text.len() {
        let other = if text.as_bytes()[place] == b'a' { "b" } else { "a" };
        let mistyped = format!("{}{other}{}", &text[..place], &text[place + 1..]);
        assert_eq!(error(&mistyped), TokenError::Garbled, "mistyped at {place}");
    }
    assert_eq!(error(&with_sum(&[2, 2, 3])), TokenError::UnknownVersion(2));
    assert_eq!(error(&with_sum(&[])), TokenError::Garbled);
    let crowd = vec!["x".to_owned(); limits::TOKEN_ADDRESSES_MAX + 1];
    assert_eq!(error(&Token::new([0; 32], samples::root().public(), 0, crowd).to_text()), TokenError::Garbled);
}

fn with_sum(bytes: &[u8]) -> String {
    let bytes = [bytes, &blake3::hash(bytes).as_bytes()[..4]].concat();
    format!("nuthatch-token-{}", data_encoding::BASE32_NOPAD.encode(&bytes).to_lowercase())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_as_anything(&bytes);
    }

    #[test]
    fn damaged_messages_never_panic(
        which: prop::sample::Index,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = ALL[which.index(ALL.len())].1.clone();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        read_as_anything(&bytes);
    }

    #[test]
    fn arbitrary_text_is_no_token(text in "\\PC{0,200}") {
        prop_assert!(text.parse::<Token>().is_err());
        let prefixed = format!("nuthatch-token-{text}");
        prop_assert!(prefixed.parse::<Token>().is_err());
    }

    #[test]
    fn tokens_survive_as_text(
        secret: [u8; 32], root: [u8; 32], keyset_floor: u64,
        addresses in proptest::collection::vec("[a-z0-9.:\\[\\]-]{0,40}", 0..=limits::TOKEN_ADDRESSES_MAX),
    ) {
        let token = Token::new(secret, protocol::ids::PublicKey(root), keyset_floor, addresses);
        prop_assert!(token.to_text().parse::<Token>().unwrap() == token);
    }

    #[test]
    fn welcomes_open_under_their_release_value_only(
        convergence in proptest::collection::vec((any::<u32>(), any::<[u8; 32]>()), 0..4),
        index_key: [u8; 32], release: [u8; 32], other: [u8; 32],
    ) {
        let welcome = Welcome { convergence, index_key };
        let sealed = samples::token().seal_welcome(&release, &welcome);
        prop_assert!(samples::token().open_welcome(&release, sealed.clone()).unwrap() == welcome);
        prop_assert_eq!(samples::token().open_welcome(&other, sealed).is_ok(), other == release);
    }

    #[test]
    fn boxes_open_for_their_holder(seed: [u8; 32], plaintext: Vec<u8>, info: Vec<u8>, noise: u8) {
        let secret = protocol::sealed::SealingSecret::from_seed(&seed);
        let fill = &mut |bytes: &mut [u8]| bytes.fill(noise);
        let sealed = protocol::sealed::seal_to(&secret.public(), &info, &plaintext, fill).unwrap();
        let sent: SealedBox = codec::decode("box", &codec::encode(&sealed)).unwrap();
        prop_assert_eq!(&*secret.open(&sent, &info).unwrap(), &plaintext);
        prop_assert!(samples::sealing().open(&sent, &info).is_err() || seed == [8; 32]);
    }

    #[test]
    fn envelopes_round_trip(patience_ms: u32, which: prop::sample::Index) {
        let request = CALLS[which.index(CALLS.len())].0.clone();
        let envelope = Envelope { patience_ms, request };
        let read: Envelope = codec::decode("envelope", &codec::encode(&envelope)).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{envelope:?}"));
    }

    #[test]
    fn commits_round_trip(
        incarnation: u32, index: u64, sequence: u64, previous: Option<[u8; 32]>, complete: bool,
        hashes in proptest::collection::vec(any::<[u8; 32]>(), 0..5), bytes_stored: u64,
    ) {
        let lease = LeaseId { incarnation, index };
        let name = |hash| ObjectName { lease, hash: protocol::ids::Sha256(hash) };
        let commit = protocol::commands::CommitFacts {
            lease,
            object: name([1; 32]),
            sequence,
            previous: previous.map(protocol::ids::SnapshotId),
            lineage: protocol::ids::LineageId([7; 16]),
            complete,
            segments: hashes.into_iter().map(name).collect(),
            bytes_stored,
        };
        prop_assert_eq!(codec::decode("commit", &codec::encode(&commit)), Ok(commit));
        prop_assert_eq!(lease.to_string().parse(), Ok(lease));
        prop_assert_eq!(name([2; 32]).to_string().parse(), Ok(name([2; 32])));
    }
}

proptest! {
    // Fewer: each case costs several signatures.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn signatures_hold_for_exactly_what_was_signed(seed: [u8; 32], body: Vec<u8>, other: Vec<u8>) {
        let signed = Signed::new(&Signer::from_seed(&seed), protocol::sign::SEGMENT, body.clone());
        prop_assert!(signed.verify("segment", protocol::sign::SEGMENT).is_ok());
        let swapped = Signed { body: other.clone(), ..signed };
        prop_assert_eq!(swapped.verify("segment", protocol::sign::SEGMENT).is_ok(), other == body);
    }
}

/// A newer caller hears that it is newer, and not that its bytes are damaged.
#[test]
fn a_call_that_is_not_known_yet_is_named() {
    let newest = samples::calls().len() as u8;
    let read = |bytes: &[u8]| protocol::wire::read_call(bytes).unwrap_err();
    let newer = read(&[5, newest, 1, 2, 3]);
    assert_eq!(newer.code, protocol::failure::Code::Invalid);
    assert!(newer.message.contains(&format!("call {newest} is not known here")), "{newer}");
    // One that is known, and cut short; and nothing at all.
    for garbage in [&[5, 2][..], &[]] {
        assert!(read(garbage).message.contains("malformed request"), "{}", read(garbage));
    }
    for (request, _) in samples::calls() {
        let bytes = protocol::codec::encode(&samples::envelope(request.clone()));
        assert_eq!(protocol::wire::read_call(&bytes).unwrap().request.name(), request.name());
    }
}

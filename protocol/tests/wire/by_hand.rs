//! What WIRE.md says, done a second time without the code that it documents.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use data_encoding::BASE32_NOPAD;
use ed25519_dalek::{Signer as _, SigningKey};
use protocol::{
    ids::{ClientId, ClusterId, NodeId},
    sign,
    wire::Watch,
};

use super::samples;

/// `len(context) ‖ context ‖ body`
fn message(context: &str, body: &[u8]) -> Vec<u8> {
    [&[context.len() as u8][..], context.as_bytes(), body].concat()
}

#[test]
fn signatures() {
    let record = samples::record();
    let key = SigningKey::from_bytes(&[2; 32]);
    let by_hand = key.sign(&message("nuthatch 2026 record", &record.signed().body)).to_bytes();
    assert_eq!(record.signed().signature.to_bytes(), by_hand);
    let contexts = [
        (sign::RECORD, "nuthatch 2026 record"),
        (sign::REDEMPTION, "nuthatch 2026 redemption"),
        (sign::COMMIT, "nuthatch 2026 commit"),
        (sign::SEGMENT, "nuthatch 2026 segment"),
    ];
    for (context, text) in contexts {
        let signed = samples::admin().sign(context, b"body").to_bytes();
        assert_eq!(signed, key.sign(&message(text, b"body")).to_bytes());
    }
    // A record's hash leaves the signature out.
    let both = [&record.signed().author.0[..], &record.signed().body].concat();
    assert_eq!(record.hash().0, *blake3::hash(&both).as_bytes());
}

#[test]
fn a_signature_is_worth_nothing_elsewhere() {
    let record = samples::record();
    assert!(record.signed().verify("record", sign::RECORD).is_ok());
    assert!(record.signed().verify("record", sign::REDEMPTION).is_err());
    for place in 0..record.signed().body.len() {
        let mut signed = record.signed().clone();
        signed.body[place] ^= 1 << (place % 8);
        assert!(signed.verify("record", sign::RECORD).is_err());
    }
    let mut other_author = record.signed().clone();
    other_author.author = samples::root().public();
    assert!(other_author.verify("record", sign::RECORD).is_err());
}

#[test]
fn identifiers() {
    let key = samples::admin().public();
    let hash = blake3::hash(&key.0);
    let half = &hash.as_bytes()[..16];
    assert_eq!(ClientId::of_key(&key).0, *half);
    assert_eq!(NodeId::of_key(&key).0, *half);
    let root = samples::root().public();
    assert_eq!(ClusterId::of_root(&root).0, blake3::derive_key("nuthatch 2026 cluster id", &root.0));
    assert_eq!(samples::lease_id().to_string(), "000000010000000001020304");
}

#[test]
fn an_edition() {
    let records = [samples::record().signed().clone(), samples::signed_redemption()];
    let hashes = records.iter().map(|record| blake3::hash(&[&record.author.0[..], &record.body].concat()));
    let hashes: Vec<u8> = hashes.flat_map(|hash| *hash.as_bytes()).collect();
    assert_eq!(Watch::edition(&records).0, *blake3::hash(&hashes).as_bytes());
}

#[test]
fn a_token_as_text() {
    let text = samples::token().to_text();
    let digits = text.strip_prefix("nuthatch-token-").unwrap();
    let bytes = BASE32_NOPAD.decode(digits.to_uppercase().as_bytes()).unwrap();
    let (body, sum) = bytes.split_at(bytes.len() - 4);
    assert_eq!(blake3::hash(body).as_bytes()[..4], *sum);
    let mut expected = vec![1];
    expected.extend([3; 32]);
    expected.extend(samples::root().public().0);
    // 300 as a varint, two addresses, each with its length.
    expected.extend([0xac, 0x02, 2, 14]);
    expected.extend(b"192.0.2.1:7400");
    expected.push(18);
    expected.extend(b"[2001:db8::1]:7400");
    assert_eq!(body, expected);
}

#[test]
fn the_keys_of_a_token() {
    let token = samples::token();
    let seed = blake3::derive_key("nuthatch 2026 token signing key", &[3; 32]);
    assert_eq!(token.id().0, SigningKey::from_bytes(&seed).verifying_key().to_bytes());
    let key = blake3::derive_key("nuthatch 2026 token box key", &[[3; 32], samples::RELEASE].concat());
    let mut sealed = token.seal_welcome(&samples::RELEASE, &samples::welcome());
    ChaCha20Poly1305::new(&key.into()).decrypt_in_place(&[0; 12].into(), b"", &mut sealed).unwrap();
    let mut expected = vec![2, 0];
    expected.extend([5; 32]);
    expected.push(1);
    expected.extend([6; 32]);
    expected.extend([7; 32]);
    assert_eq!(sealed, expected);
}

#[test]
fn a_sealed_box() {
    use hpke::{
        Deserializable, Kem, OpModeR, Serializable, aead::ChaCha20Poly1305, kdf::HkdfSha256, kem::X25519HkdfSha256,
    };
    let sealed = samples::sealed_box();
    let (private, public) = X25519HkdfSha256::derive_keypair(&[8; 32]);
    assert_eq!(sealed.to.0[..], public.to_bytes()[..]);
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&sealed.encapsulated).unwrap();
    let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &private,
        &encapsulated,
        samples::SEALED_INFO,
        &sealed.ciphertext,
        &[],
    );
    assert_eq!(opened.unwrap(), samples::SEALED_PLAINTEXT);
}

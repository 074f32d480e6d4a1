use std::sync::LazyLock;

use proptest::prelude::*;
use protocol::{
    ids::{Hash, RepositoryId},
    limits,
    records::{Chunker, Cipher, Codec, RecordBody, Revocation, SharedSecret, Trust},
};

use super::*;
use crate::testing::*;

fn set() -> RecordSet {
    RecordSet::new(cluster(), key(ROOT))
}

fn set_of<'a>(records: impl IntoIterator<Item = &'a Record>) -> RecordSet {
    let mut set = set();
    records.into_iter().for_each(|record| {
        set.insert(record.clone());
    });
    set
}

fn domain(author: u8, version: u64, id: u8, name: &str) -> Record {
    let payload = Payload::Domain(Domain {
        id: DomainId([id; 16]),
        name: name.into(),
        repository: repository(1),
        trust: Trust::Trusting,
        chunker: Chunker { min: 2, average: 4, max: 8 },
        codec: Codec::Raw,
        cipher: Cipher::ChaCha20Poly1305,
        generation: 0,
    });
    record(author, version, payload)
}

fn secret(author: u8, version: u64) -> Record {
    let id = SecretId::StorageMinting(RepositoryId([1; 16]));
    record(author, version, Payload::Secret(SharedSecret { id, boxes: vec![] }))
}

fn keyset_with(version: u64, admins: &[u8], orchestrators: &[u8]) -> Record {
    record(ROOT, version, Payload::Keyset(keyset_of(admins, orchestrators)))
}

#[test]
fn the_highest_version_of_an_author_is_kept() {
    let mut set = set();
    assert_eq!(set.insert(domain(10, 2, 1, "b")), Inserted::New);
    assert_eq!(set.insert(domain(10, 2, 1, "b")), Inserted::Known);
    assert_eq!(set.insert(domain(10, 1, 1, "a")), Inserted::Superseded);
    assert_eq!(set.insert(domain(10, 3, 1, "c")), Inserted::New);
    assert_eq!(set.insert(domain(11, 1, 1, "other author")), Inserted::New);
    assert_eq!(set.len(), 2);
    assert_eq!(set.iter().count(), 2);
}

#[test]
fn a_record_of_another_cluster_is_no_record_here() {
    let foreign = protocol::ids::ClusterId([0; 32]);
    let body = RecordBody { cluster: foreign, version: 1, payload: domain(10, 1, 1, "a").payload().clone() };
    let signed = Record::sign(&signer(10), body).signed().clone();
    assert!(matches!(set().open(signed), Err(DecodeError::Forged { .. })));
}

#[test]
fn only_admitted_authors_win() {
    let mut set = set();
    set.insert(domain(10, 1, 1, "by admin"));
    set.insert(domain(99, 9, 1, "by stranger"));
    set.insert(domain(ORCHESTRATORS[0], 9, 1, "by orchestrator"));
    assert_eq!(set.domain(&DomainId([1; 16])), None, "nobody is admitted without a keyset");
    set.insert(keyset_with(1, &[10], &ORCHESTRATORS));
    assert_eq!(set.domain(&DomainId([1; 16])).unwrap().name, "by admin");
    // A new keyset admits someone else: what was kept counts now, and the other's does not.
    set.insert(keyset_with(2, &[99], &ORCHESTRATORS));
    assert_eq!(set.domain(&DomainId([1; 16])).unwrap().name, "by stranger");
    set.insert(keyset_with(3, &[], &ORCHESTRATORS));
    assert_eq!(set.domain(&DomainId([1; 16])), None);
}

#[test]
fn the_root_alone_makes_keysets() {
    let mut set = set();
    set.insert(keyset_with(1, &[10], &ORCHESTRATORS));
    set.insert(record(10, 9, Payload::Keyset(keyset_of(&[10, 66], &[66]))));
    assert_eq!(set.keyset().map(|(number, keyset)| (number, keyset.admins.len())), Some((1, 1)));
    assert_eq!(set.winner(&Subject::Keyset), set.keyset_record());
    assert_eq!(set.winners().count(), 1);
}

#[test]
fn orchestrators_seal_secrets_again_and_nothing_else() {
    let mut set = set_of(&[keyset_with(1, &[10], &ORCHESTRATORS), secret(10, 1)]);
    let id = SecretId::StorageMinting(RepositoryId([1; 16]));
    let subject = Subject::Secret(id);
    set.insert(secret(99, 7));
    assert_eq!(set.winner(&subject).map(Record::version), Some(1));
    set.insert(secret(ORCHESTRATORS[2], 2));
    assert_eq!(set.winner(&subject).map(|record| *record.author()), Some(key(ORCHESTRATORS[2])));
    assert!(set.secret(&id).is_some());
    set.insert(revocation(ORCHESTRATORS[0], 1));
    assert!(!set.client_revoked(&client(1)));
}

#[test]
fn a_revocation_stays() {
    let mut set = set_of(&[keyset(1), revocation(ADMINS[0], 1)]);
    assert!(set.client_revoked(&client(1)));
    assert!(!set.client_revoked(&client(2)));
    // A later word of the same admin is a revocation too: there is no other kind.
    let payload = Payload::ClientRevocation(Revocation { id: client(1), reason: "by mistake".into() });
    assert_eq!(set.insert(record(ADMINS[0], 2, payload)), Inserted::New);
    assert!(set.client_revoked(&client(1)));
    // Its author goes; signed again by another admin, it stays.
    set.insert(revocation(ADMINS[1], 1));
    set.insert(keyset_with(2, &ADMINS[1..], &ORCHESTRATORS));
    assert!(set.client_revoked(&client(1)));
    let payload = Payload::TokenRevocation(Revocation { id: token(1), reason: String::new() });
    set.insert(record(ADMINS[1], 1, payload));
    assert!(set.token_revoked(&token(1)) && !set.token_revoked(&token(2)));
}

#[test]
fn things_are_found_by_id_and_name() {
    let storage = |id: u8, name: &str| {
        let payload = Payload::Storage(Storage {
            repository: repository(id),
            name: name.into(),
            endpoint: "http://127.0.0.1:9000".into(),
            region: "r".into(),
            bucket: "b".into(),
            prefix: String::new(),
            virtual_host: false,
        });
        record(ADMINS[0], 1, payload)
    };
    let token_record = record(ADMINS[0], 1, Payload::Token(terms(1, 1, 1)));
    let records = [
        keyset(1),
        domain(10, 1, 0xff, "last"),
        domain(10, 1, 0, "first"),
        domain(11, 1, 3, "first"),
        domain(99, 1, 4, "not admitted"),
        storage(1, "a"),
        storage(2, "b"),
        token_record,
    ];
    let set = set_of(&records);
    assert_eq!(set.domain_by_name("first").map(|domain| domain.id), Some(DomainId([0; 16])), "the lowest of two");
    assert_eq!(set.domain_by_name("last").map(|domain| domain.id), Some(DomainId([0xff; 16])));
    assert_eq!(set.domain_by_name("not admitted"), None);
    assert_eq!(set.domains().count(), 3);
    assert_eq!(set.storage_by_name("b").map(|storage| storage.repository), Some(repository(2)));
    assert_eq!(set.storage(&repository(1)).map(|storage| storage.name.as_str()), Some("a"));
    assert_eq!(set.storages().count(), 2);
    assert_eq!(set.token(&token(1)).map(|terms| terms.uses), Some(1));
    assert_eq!(set.winners().count(), 7);
}

#[test]
fn missing_records_are_what_the_other_does_not_have() {
    let full = set_of(&many());
    for shard in 0..SHARDS {
        let have = full.hashes(shard);
        assert!(full.missing(shard, &have).is_empty());
        assert_eq!(full.missing(shard, &[]).len(), have.len());
        assert_eq!(full.missing(shard, have.get(1..).unwrap_or_default()).len(), have.len().min(1));
        assert!(have.is_sorted() && have.iter().all(|hash| shard_of(hash) == shard));
    }
    assert!(full.missing(SHARDS, &[]).is_empty() && full.hashes(SHARDS).is_empty());
}

/// With small bounds: filling the real ones takes thousands of signatures.
#[test]
fn missing_records_are_sent_in_bounded_parts() {
    let full = set_of(&many());
    let size = |record: &Record| protocol::codec::encode(record.signed()).len();
    let largest = full.iter().map(size).max().unwrap();
    for (records_max, bytes_max) in [(2, usize::MAX), (usize::MAX, 2 * largest + 100), (1, largest + 100)] {
        let mut pulled = set();
        let mut frames = 0;
        for shard in 0..SHARDS {
            while pulled.hashes(shard) != full.hashes(shard) {
                let missing = full.missing_within(shard, &pulled.hashes(shard), records_max, bytes_max);
                let fresh: Vec<Record> = missing.into_iter().cloned().collect();
                assert!(!fresh.is_empty(), "each frame must bring something");
                assert!(fresh.len() <= records_max && fresh.iter().map(size).sum::<usize>() <= bytes_max);
                assert!(fresh.len() <= 2, "the bounds leave room for two");
                fresh.into_iter().for_each(|record| assert_eq!(pulled.insert(record), Inserted::New));
                frames += 1;
            }
        }
        assert!(frames >= full.len() / 2);
        assert_eq!(pulled.digest(), full.digest());
    }
}

/// A record that is as large as records may be still fits a frame.
#[test]
fn the_largest_record_is_sent() {
    let mut terms = terms(0, 1, 1);
    terms.welcome = vec![0; limits::RECORD_BYTES_MAX - 200];
    let set = set_of(&[record(ADMINS[0], 1, Payload::Token(terms))]);
    let sent: usize = (0..SHARDS).map(|shard| set.missing(shard, &[]).len()).sum();
    assert_eq!(sent, 1);
}

/// Forty records of as many authors, spread over the shards.
fn many() -> Vec<Record> {
    (30..70).map(|author| domain(author, u64::from(author), 1, "x")).collect()
}

#[test]
fn a_digest_is_of_the_sorted_hashes() {
    let records = [keyset(1), domain(10, 1, 1, "a"), domain(10, 1, 2, "b"), domain(11, 1, 2, "b")];
    let set = set_of(&records);
    let mut by_hand = blake3::Hasher::new();
    for shard in 0..SHARDS {
        let mut hashes: Vec<Hash> =
            records.iter().map(|record| *record.hash()).filter(|hash| hash.0[0] >> 4 == shard).collect();
        hashes.sort();
        let shard_digest = blake3::hash(&hashes.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>());
        assert_eq!(set.shard_digests()[usize::from(shard)].0, *shard_digest.as_bytes());
        by_hand.update(shard_digest.as_bytes());
    }
    assert_eq!(set.digest().0, *by_hand.finalize().as_bytes());
    assert_eq!(set.len(), records.len());
}

/// Records that meet in every way: several subjects, authors, versions, and two
/// that differ in nothing but what they say.
static POOL: LazyLock<Vec<Record>> = LazyLock::new(|| {
    let mut pool = vec![
        keyset_with(1, &[10], &ORCHESTRATORS),
        keyset_with(2, &[10, 11], &ORCHESTRATORS),
        keyset_with(2, &[11], &ORCHESTRATORS[..1]),
        keyset_with(3, &[11, 99], &[]),
        record(10, 9, Payload::Keyset(keyset_of(&[66], &[66]))),
    ];
    for author in [10, 11, 99] {
        for version in 1..3 {
            pool.extend([
                domain(author, version, 1, "a"),
                domain(author, version, 1, "b"),
                domain(author, version, 2, "c"),
            ]);
            pool.push(secret(author, version));
        }
        pool.push(revocation(author, 1));
    }
    pool.extend([secret(ORCHESTRATORS[0], 2), secret(ORCHESTRATORS[1], 1)]);
    pool
});

fn some_records() -> impl Strategy<Value = Vec<Record>> {
    proptest::collection::vec(0..POOL.len(), 0..30)
        .prop_map(|picks| picks.into_iter().map(|pick| POOL[pick].clone()).collect())
}

fn same(left: &RecordSet, right: &RecordSet) {
    assert_eq!(left, right);
    assert_eq!(left.digest(), right.digest());
    assert_eq!(left.shard_digests(), right.shard_digests());
    assert_eq!(left.winners().collect::<Vec<_>>(), right.winners().collect::<Vec<_>>());
    assert!((0..SHARDS).all(|shard| left.hashes(shard) == right.hashes(shard)));
}

/// The winner as the rule says it, from all records that were ever inserted.
fn winner_by_rule<'a>(all: &'a [Record], subject: &Subject) -> Option<&'a Record> {
    let newest = |candidates: &mut dyn Iterator<Item = &'a Record>| {
        candidates.max_by_key(|record| (record.version(), *record.author(), *record.hash()))
    };
    let of = |record: &&Record| record.subject() == *subject;
    let root = newest(&mut all.iter().filter(|r| r.subject() == Subject::Keyset && *r.author() == key(ROOT)))?;
    if *subject == Subject::Keyset {
        return Some(root);
    }
    let Payload::Keyset(keyset) = root.payload() else { return None };
    let is_admin = |author: &PublicKey| keyset.admins.iter().any(|admin| admin.key == *author);
    let is_orchestrator = |author: &PublicKey| keyset.orchestrators.iter().any(|o| o.key == *author);
    let secret = matches!(subject, Subject::Secret(_));
    newest(&mut all.iter().filter(of).filter(|r| is_admin(r.author()) || secret && is_orchestrator(r.author())))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        a in some_records(), b in some_records(), c in some_records(),
    ) {
        let merge = |parts: &[&Vec<Record>]| set_of(parts.iter().copied().flatten());
        same(&merge(&[&a, &b]), &merge(&[&b, &a]));
        // What a set kept stands for all that it was ever given.
        let kept = |records: &Vec<Record>| set_of(records).iter().cloned().collect::<Vec<_>>();
        let (left, right) = (kept(&[a.clone(), b.clone()].concat()), kept(&[b.clone(), c.clone()].concat()));
        same(&merge(&[&left, &c]), &merge(&[&a, &right]));
        same(&merge(&[&a, &a]), &merge(&[&a]));
        same(&merge(&[&a, &kept(&a)]), &merge(&[&a]));
    }

    #[test]
    fn winners_do_not_depend_on_order(
        (records, shuffled) in some_records().prop_flat_map(|r| (Just(r.clone()), Just(r).prop_shuffle())),
    ) {
        let set = set_of(&records);
        same(&set, &set_of(&shuffled));
        for record in &records {
            prop_assert_eq!(set.winner(&record.subject()), winner_by_rule(&records, &record.subject()));
        }
        prop_assert_eq!(set.len(), set.iter().count());
    }

    #[test]
    fn judging_tells_what_inserting_does(records in some_records()) {
        let mut set = set();
        for record in records {
            let (judged, before) = (set.judge(&record), set.digest());
            prop_assert_eq!(set.insert(record), judged);
            prop_assert_eq!(set.digest() != before, judged == Inserted::New);
            prop_assert_eq!(set.digest(), set_of(set.iter()).digest(), "a kept digest was stale");
        }
    }

    #[test]
    fn two_that_pull_from_each_other_become_equal(a in some_records(), b in some_records()) {
        let (mut left, mut right) = (set_of(&a), set_of(&b));
        for shard in 0..SHARDS {
            let to_right: Vec<_> = left.missing(shard, &right.hashes(shard)).into_iter().cloned().collect();
            let to_left: Vec<_> = right.missing(shard, &left.hashes(shard)).into_iter().cloned().collect();
            to_right.into_iter().for_each(|record| { right.insert(record); });
            to_left.into_iter().for_each(|record| { left.insert(record); });
        }
        same(&left, &right);
    }
}

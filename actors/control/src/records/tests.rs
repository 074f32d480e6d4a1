mod replicas;

use std::{collections::BTreeSet, sync::LazyLock};

use proptest::prelude::*;
use protocol::{
    ids::{Hash, RepositoryId},
    limits,
    reconcile::{Prefix, fingerprint_of_hashes, fingerprint_of_parts},
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
            authorities: Vec::new(),
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
fn records_are_fetched_by_hash() {
    let set = set_of(&many());
    let all: Vec<Hash> = set.iter().map(|record| *record.hash()).collect();
    let none = Hash([7; 32]);
    let some = [all[3], none, all[1], all[3]];
    let found: Vec<Hash> = set.fetch(&some).map(|record| *record.hash()).collect();
    assert_eq!(found, [all[3], all[1], all[3]], "in the order in which they were asked for");
    assert_eq!(set.fetch(&[none]).count(), 0);
    assert_eq!(set.get(&all[0]).map(Record::hash), Some(&all[0]));

    let often: Vec<Hash> = all.iter().copied().cycle().take(limits::RECORDS_PER_FRAME_MAX + 1).collect();
    assert_eq!(set.fetch(&often).count(), limits::RECORDS_PER_FRAME_MAX);
    assert_eq!(set.fetch(&[&[none; 600], &all[..1]].concat()).count(), 1, "what is not there takes no room");
}

/// Records that are as large as records may be come in frames, and all of them come.
#[test]
fn large_records_are_fetched_in_parts() {
    let large = |author: u8| {
        let mut terms = terms(0, 1, 1);
        terms.welcome = vec![author; limits::RECORD_BYTES_MAX - 200];
        record(author, 1, Payload::Token(terms))
    };
    let set = set_of(&(100..180).map(large).collect::<Vec<_>>());
    // Some that are not there, one of them the last.
    let mut asked: Vec<Hash> = set.by_hash().range(Prefix::ALL).map(|record| *record.hash()).collect();
    asked.insert(40, Hash([7; 32]));
    asked.push(Hash([8; 32]));
    let mut fetched = BTreeSet::new();
    let (mut rest, mut frames) = (asked.as_slice(), 0);
    while !rest.is_empty() {
        let given: Vec<_> = set.fetch(rest).map(|record| record.signed().clone()).collect();
        assert!(protocol::codec::encode(&given).len() <= limits::RECORDS_BYTES_MAX);
        rest = &rest[served(rest, given.last().map(|signed| signed.hash()))..];
        assert!(given.iter().all(|signed| fetched.insert(signed.hash())), "fetched twice");
        frames += 1;
    }
    assert_eq!((fetched.len(), frames), (80, 4), "three frames full, and one for what is not there");
}

/// What is written to disk by what `sift` says is what the set holds.
#[test]
fn sifting_tells_what_to_write_and_what_to_drop() {
    let set = set_of(&[domain(10, 2, 1, "b"), domain(11, 1, 1, "other")]);
    let records = vec![
        domain(10, 1, 1, "a"),
        domain(10, 2, 1, "b"),
        domain(10, 4, 1, "d"),
        domain(10, 3, 1, "c"),
        domain(11, 1, 2, "new"),
        domain(11, 1, 2, "new"),
    ];
    let Sifted { fresh, replaced } = set.sift(records);
    assert_eq!(fresh, [domain(10, 4, 1, "d"), domain(11, 1, 2, "new")]);
    assert_eq!(replaced, [*domain(10, 2, 1, "b").hash()]);
    assert!(set.sift(fresh_of(&set)).fresh.is_empty());
}

fn fresh_of(set: &RecordSet) -> Vec<Record> {
    set.iter().cloned().collect()
}

/// Forty records of as many authors, spread over the shards.
fn many() -> Vec<Record> {
    (30..70).map(|author| domain(author, u64::from(author), 1, "x")).collect()
}

#[test]
fn digests_are_the_fingerprints_of_ranges() {
    let few = [keyset(1), domain(10, 1, 1, "a"), domain(10, 1, 2, "b"), domain(11, 1, 2, "b")];
    let set = set_of(&few);
    let by_rule = |range: Prefix| {
        let held = few.iter().map(|record| *record.hash()).filter(|hash| range.holds(hash));
        fingerprint_of_hashes(&held.collect::<BTreeSet<_>>())
    };
    assert_eq!(set.digest(), by_rule(Prefix::ALL));
    assert!(set.shard_digests().eq(Prefix::ALL.children().map(by_rule)));

    let many = set_of(&many());
    let shards: Vec<Hash> = many.shard_digests().collect();
    assert_eq!(many.digest(), fingerprint_of_parts(&shards), "more than a list may have");
    assert_eq!(shards.len(), SHARDS);
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
        let payload = Payload::TokenRevocation(Revocation { id: token(1), reason: format!("{author}") });
        pool.push(record(author, 1, payload));
        pool.push(record(author, 1, Payload::Token(terms(1, u32::from(author), 1))));
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
    assert!(left.shard_digests().eq(right.shard_digests()));
    assert!(left.winners().eq(right.winners()));
    assert!(bytes(left) == bytes(right), "the replicas' bytes are not the same");
}

/// All that a replica holds, as it is stored and sent.
fn bytes(set: &RecordSet) -> Vec<u8> {
    set.by_hash().range(Prefix::ALL).flat_map(|record| protocol::codec::encode(record.signed())).collect()
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

    /// Nothing but a keyset that voids its author ends a revocation.
    #[test]
    fn revocations_are_terminal(before in some_records(), after in some_records()) {
        let later = after.iter().filter(|record| record.subject() != Subject::Keyset);
        let all: Vec<Record> = before.iter().chain(later).cloned().collect();
        let (before, after) = (set_of(&before), set_of(&all));
        prop_assert!(after.client_revoked(&client(1)) || !before.client_revoked(&client(1)));
        prop_assert!(after.token_revoked(&token(1)) || !before.token_revoked(&token(1)));
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

    /// Whatever is sifted, and written in whatever parts, a disk holds what the set holds.
    #[test]
    fn a_disk_that_follows_sifting_holds_the_set(batches in proptest::collection::vec(some_records(), 0..6)) {
        let (mut set, mut disk) = (set(), BTreeSet::new());
        for batch in batches {
            let whole = set_of(set.iter().cloned().collect::<Vec<_>>().iter().chain(&batch));
            let Sifted { fresh, replaced } = set.sift(batch);
            for hash in replaced {
                prop_assert!(disk.remove(&hash));
            }
            for record in fresh {
                prop_assert!(disk.insert(*record.hash()));
                prop_assert_eq!(set.insert(record), Inserted::New);
            }
            same(&set, &whole);
            prop_assert!(disk.iter().eq(set.by_hash().range(Prefix::ALL).map(|record| record.hash())));
        }
    }

    #[test]
    fn winners_of_a_range_are_those_of_its_subjects(records in some_records(), from in 0..40usize, to in 0..40usize) {
        let set = set_of(&records);
        let subjects: BTreeSet<Subject> = POOL.iter().map(Record::subject).collect();
        let all: Vec<Subject> = subjects.into_iter().collect();
        let (from, to) = (all[from % all.len()], all[to % all.len()]);
        let (from, to) = (from.min(to), from.max(to));
        let one_by_one = |range: (Bound<Subject>, Bound<Subject>)| {
            all.iter().filter(move |s| range.contains(*s)).filter_map(|s| winner_by_rule(&records, s)).collect::<Vec<_>>()
        };
        for end in [Bound::Included(to), Bound::Excluded(to), Bound::Unbounded] {
            for start in [Bound::Included(from), Bound::Excluded(from), Bound::Unbounded] {
                if from < to || matches!((start, end), (Bound::Unbounded, _) | (_, Bound::Unbounded)) {
                    let range = (start, end);
                    prop_assert_eq!(set.winners_in(range).collect::<Vec<_>>(), one_by_one(range));
                }
            }
        }
    }
}

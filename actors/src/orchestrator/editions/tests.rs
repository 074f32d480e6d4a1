use control::RecordSet;
use protocol::{
    ids::{ClientId, ClusterId, DomainId, RepositoryId},
    records::{Admin, Chunker, Cipher, Codec, Domain, Keyset, Payload, Record, RecordBody, Revocation, Storage, Trust},
    sign::Signer,
};

use super::*;

const OURS: DomainId = DomainId([1; 16]);
const OTHER: DomainId = DomainId([2; 16]);

fn root() -> Signer {
    Signer::from_seed(&[1; 32])
}

fn admin() -> Signer {
    Signer::from_seed(&[2; 32])
}

fn add(set: &mut RecordSet, version: u64, payload: Payload) {
    let signer = if matches!(payload, Payload::Keyset(_)) { root() } else { admin() };
    let cluster = ClusterId::of_root(&root().public());
    set.insert(Record::sign(&signer, RecordBody { cluster, version, payload }));
}

fn domain(id: DomainId) -> Payload {
    Payload::Domain(Domain {
        id,
        name: "home".into(),
        repository: RepositoryId([3; 16]),
        trust: Trust::Trusting,
        chunker: Chunker { min: 1 << 18, average: 1 << 20, max: 4 << 20 },
        codec: Codec::Zstd(1),
        cipher: Cipher::ChaCha20Poly1305,
        generation: 0,
    })
}

fn records() -> RecordSet {
    let mut set = RecordSet::new(ClusterId::of_root(&root().public()), root().public());
    let admins = vec![Admin { name: "ann".into(), key: admin().public() }];
    add(&mut set, 1, Payload::Keyset(Keyset { name: "test".into(), admins, orchestrators: Vec::new() }));
    let storage = Storage {
        repository: RepositoryId([3; 16]),
        name: "main".into(),
        endpoint: "https://storage.example".into(),
        region: "r".into(),
        bucket: "b".into(),
        prefix: "p".into(),
        virtual_host: false,
        authorities: Vec::new(),
    };
    add(&mut set, 1, Payload::Storage(storage));
    add(&mut set, 1, domain(OURS));
    set
}

#[test]
fn who_waits_is_woken_by_what_concerns_it_and_by_nothing_else() {
    let (editions, mut set) = (Editions::default(), records());
    let mut waits = editions.follow(OURS, &set);
    let first = waits.borrow_and_update().clone().unwrap();
    assert_eq!(*first.records, configuration(&OURS, &set).unwrap());

    add(&mut set, 1, domain(OTHER));
    let reason = String::new();
    add(&mut set, 1, Payload::ClientRevocation(Revocation { id: ClientId([9; 16]), reason }));
    editions.update(&set);
    assert!(!waits.has_changed().unwrap());

    add(&mut set, 2, domain(OURS));
    editions.update(&set);
    assert!(waits.has_changed().unwrap());
    let second = waits.borrow_and_update().clone().unwrap();
    assert_ne!(first.hash, second.hash);
    assert_eq!(second.hash, Watch::edition(&configuration(&OURS, &set).unwrap()));
}

#[test]
fn who_comes_between_a_change_and_its_update_sees_the_change() {
    let (editions, mut set) = (Editions::default(), records());
    let mut early = editions.follow(OURS, &set);
    early.mark_unchanged();
    add(&mut set, 2, domain(OURS));
    let late = editions.follow(OURS, &set);
    let expected = Watch::edition(&configuration(&OURS, &set).unwrap());
    assert_eq!(late.borrow().as_ref().unwrap().hash, expected);
    assert!(early.has_changed().unwrap());
}

#[test]
fn a_domain_that_is_not_here_yet_is_waited_for_and_one_for_which_nobody_waits_is_forgotten() {
    let (editions, mut set) = (Editions::default(), records());
    let waits = editions.follow(OTHER, &set);
    assert!(waits.borrow().is_none());
    add(&mut set, 1, domain(OTHER));
    editions.update(&set);
    assert!(waits.borrow().is_some());
    drop(waits);
    editions.update(&set);
    assert!(editions.0.lock().unwrap().is_empty());
}

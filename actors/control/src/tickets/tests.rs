use protocol::{
    failure::Code,
    ids::{DomainId, LeaseId},
    names::ObjectKey,
};

use super::*;
use crate::testing::{DOMAIN, client, commit_of, enrolled, grant, object, repository};

fn key(place: Place, lease: LeaseId) -> ObjectKey {
    place.object(object(lease, 1))
}

fn own_places() -> [Place; 4] {
    [Place::Pack(DOMAIN), Place::Index(DOMAIN), Place::Snapshot(client(0)), Place::Refs(client(0))]
}

fn foreign_places() -> [Place; 4] {
    let domain = DomainId([8; 16]);
    [Place::Pack(domain), Place::Index(domain), Place::Snapshot(client(1)), Place::Refs(client(1))]
}

fn puts(lease: LeaseId, keys: impl IntoIterator<Item = ObjectKey>, len: u64) -> MintPuts {
    let objects = keys.into_iter().map(|key| PutRequest { key, len }).collect();
    MintPuts { lease, repository: repository(1), objects }
}

fn code(outcome: Result<(), Failure>) -> Result<(), Code> {
    outcome.map_err(|failure| failure.code)
}

#[test]
fn a_client_writes_its_own_places_under_its_own_lease() {
    let mut ledger = enrolled(2);
    let lease = grant(&mut ledger, 0, 1).id;
    let put = |request: &MintPuts| code(may_put(&ledger, &client(0), request));
    assert_eq!(put(&puts(lease, own_places().map(|place| key(place, lease)), 1)), Ok(()));
    for place in foreign_places() {
        assert_eq!(
            put(&puts(lease, [key(own_places()[0], lease), key(place, lease)], 1)),
            Err(Code::Denied),
            "{place:?}"
        );
    }
    let earlier = LeaseId { index: lease.index - 1, ..lease };
    assert_eq!(put(&puts(lease, [key(Place::Pack(DOMAIN), earlier)], 1)), Err(Code::Denied));
    assert_eq!(put(&puts(earlier, [key(Place::Pack(DOMAIN), earlier)], 1)), Err(Code::Superseded));
    let mut elsewhere = puts(lease, [], 1);
    elsewhere.repository = repository(2);
    assert_eq!(put(&elsewhere), Err(Code::Invalid));
    let other = code(may_put(&ledger, &client(1), &puts(lease, [], 1)));
    assert_eq!(other, Err(Code::Fenced), "a lease is no right of anyone else");
    assert_eq!(code(may_put(&ledger, &client(9), &puts(lease, [], 1))), Err(Code::Denied));
}

#[test]
fn a_lease_that_ended_gives_no_tickets() {
    let mut ledger = enrolled(1);
    let old = grant(&mut ledger, 0, 1).id;
    let new = grant(&mut ledger, 0, 1);
    let request = |lease| puts(lease, [key(Place::Pack(DOMAIN), lease)], 1);
    assert_eq!(code(may_put(&ledger, &client(0), &request(old))), Err(Code::Superseded));
    assert_eq!(code(may_put(&ledger, &client(0), &request(new.id))), Ok(()));
    let commit = protocol::commands::Command::Commit { client: client(0), commit: commit_of(&new, true) };
    crate::testing::apply(&mut ledger, 1, commit).unwrap();
    assert_eq!(code(may_put(&ledger, &client(0), &request(new.id))), Err(Code::Fenced));
}

#[test]
fn lengths_and_counts_are_bounded() {
    let mut ledger = enrolled(1);
    let lease = grant(&mut ledger, 0, 1).id;
    let pack = key(Place::Pack(DOMAIN), lease);
    let put = |keys: Vec<ObjectKey>, len| code(may_put(&ledger, &client(0), &puts(lease, keys, len)));
    let most = limits::OBJECT_BYTES_MAX as u64;
    assert_eq!((put(vec![pack], 1), put(vec![pack], most)), (Ok(()), Ok(())));
    assert_eq!((put(vec![pack], 0), put(vec![pack], most + 1)), (Err(Code::Invalid), Err(Code::Invalid)));
    let get = |count| {
        let request = MintGets { repository: repository(1), objects: vec![pack; count] };
        code(may_get(&ledger, &client(0), &request))
    };
    for (count, expected) in
        [(0, Ok(())), (limits::TICKETS_PER_CALL_MAX, Ok(())), (limits::TICKETS_PER_CALL_MAX + 1, Err(Code::Invalid))]
    {
        assert_eq!(put(vec![pack; count], 1), expected);
        assert_eq!(get(count), expected);
    }
}

#[test]
fn a_client_reads_its_domain_and_its_own_snapshots() {
    let ledger = enrolled(2);
    let lease = LeaseId { incarnation: 0, index: 0 };
    let get = |places: &[Place]| {
        let objects = places.iter().map(|place| key(*place, lease)).collect();
        code(may_get(&ledger, &client(0), &MintGets { repository: repository(1), objects }))
    };
    assert_eq!(get(&own_places()), Ok(()), "under whichever lease it was written");
    for place in foreign_places() {
        assert_eq!(get(&[own_places()[0], place]), Err(Code::Denied), "{place:?}");
    }
    let stranger = MintGets { repository: repository(1), objects: vec![] };
    assert_eq!(code(may_get(&ledger, &client(9), &stranger)), Err(Code::Denied));
}

//! A lost ledger begins again.

use protocol::{
    commands::{Command, Decided, Outcome},
    failure::Code,
    ids::{Hash, LeaseId},
    ledger::{self, Charter, EMPTY_DIGEST, Item},
    limits,
};

use crate::{Ledger, testing::*};

fn charter_of(items: &[Item], incarnation: u32) -> Charter {
    let digest = items.iter().fold(EMPTY_DIGEST, |before, item| ledger::digest(&before, item));
    Charter { cluster: cluster(), incarnation, items: items.len() as u64, digest }
}

fn found(ledger: &mut Ledger, charter: &Charter) -> Outcome {
    apply(ledger, 5, Command::Found { charter: charter.sign(&signer(ROOT)) })
}

fn import(ledger: &mut Ledger, from: u64, items: &[Item]) -> Outcome {
    apply(ledger, 5, Command::Import { from, items: items.to_vec() })
}

fn code(outcome: Outcome) -> Code {
    outcome.unwrap_err().code
}

/// Two clients: one with snapshots and a lease that is open, one with a lease that ended.
fn lost() -> Ledger {
    let mut ledger = enrolled(2);
    for complete in [false, true] {
        let lease = grant(&mut ledger, 0, 1);
        apply(&mut ledger, 2, Command::Commit { client: client(0), commit: commit_of(&lease, complete) }).unwrap();
    }
    grant(&mut ledger, 0, 1);
    let ended = grant(&mut ledger, 1, 1).id;
    apply(&mut ledger, 2, Command::Close { client: client(1), lease: ended }).unwrap();
    let objects = vec![object(ended, 9)];
    apply(&mut ledger, 2, Command::Condemn { repository: repository(1), domain: DOMAIN, objects }).unwrap();
    ledger
}

#[test]
fn what_was_decided_is_there_again_in_another_incarnation() {
    let old = lost();
    let open = old.lease(&client(0), &repository(1)).unwrap().clone();
    let items: Vec<Item> = old.items().collect();
    let mut new = admitted();
    let charter = charter_of(&items, INCARNATION + 1);
    assert_eq!(found(&mut new, &charter), Ok(Decided::Imported(0)));
    for (place, item) in (0..).zip(&items) {
        assert!(new.is_importing());
        assert_eq!(import(&mut new, place, std::slice::from_ref(item)), Ok(Decided::Imported(place + 1)));
    }
    assert!(!new.is_importing());
    assert!(new.enrollments().eq(old.enrollments()));
    assert_eq!(new.snapshots(&client(0)), old.snapshots(&client(0)));
    assert!(new.is_welcomed(&client(0)) == old.is_welcomed(&client(0)));
    let view = |ledger: &Ledger, number| ledger.survey(&client(number), &repository(1)).unwrap();
    assert_eq!((view(&new, 0).own, view(&new, 0).condemned), (view(&old, 0).own, view(&old, 0).condemned));
    assert_eq!(view(&new, 1).left, view(&old, 1).left);
    // What was open is as if it had been closed: its packs can be used.
    assert_eq!(view(&new, 0).left, [open.id]);
    assert!(new.open_leases().next().is_none());

    // Nothing of the new life can be taken for something of the old.
    let fenced = apply(&mut new, 6, Command::Commit { client: client(0), commit: commit_of_open(&open) });
    assert_eq!(code(fenced), Code::Fenced);
    let lease = grant(&mut new, 0, 1);
    assert!(lease.id > open.id && lease.id.incarnation == INCARNATION + 1);
    assert!(lease.view.epoch > view(&old, 0).epoch && lease.view.epoch >= u64::from(INCARNATION + 1) << 32);
    assert_eq!((lease.sequence, lease.previous), (open.sequence, open.previous));
    assert_eq!(
        code(apply(&mut new, 6, Command::Commit { client: client(0), commit: commit_of_open(&open) })),
        Code::Superseded
    );
    let again: Vec<Item> = new.items().collect();
    assert_ne!(again, items, "the lease that was just granted is among what is left");
}

/// A commit under a lease of the lost ledger.
fn commit_of_open(open: &crate::OpenLease) -> protocol::commands::CommitFacts {
    protocol::commands::CommitFacts {
        lease: open.id,
        object: object(open.id, 0),
        sequence: open.sequence,
        previous: open.previous,
        lineage: open.lineage,
        complete: true,
        segments: Vec::new(),
        bytes_stored: 1,
    }
}

#[test]
fn an_import_goes_on_where_it_stopped_and_is_whole_or_nothing() {
    let items: Vec<Item> = lost().items().collect();
    let mut ledger = admitted();
    let charter = charter_of(&items, INCARNATION + 1);
    found(&mut ledger, &charter).unwrap();
    assert_eq!(import(&mut ledger, 0, &items[..2]), Ok(Decided::Imported(2)));
    // The same again, and a piece more.
    assert_eq!(import(&mut ledger, 0, &items[..3]), Ok(Decided::Imported(3)));
    assert_eq!(found(&mut ledger, &charter), Ok(Decided::Imported(3)));
    assert_eq!(code(import(&mut ledger, 4, &items[4..])), Code::Invalid, "a gap");
    // Meanwhile nothing else is decided.
    let grant = fresh_grant(&ledger, 0, 1);
    assert_eq!(code(apply(&mut ledger, 6, grant)), Code::Retry);

    // What is not what the charter names is dropped.
    let mut wrong = items[3..].to_vec();
    let last = wrong.len() - 1;
    wrong[last] =
        Item::Left { client: client(0), repository: repository(9), lease: LeaseId { incarnation: 1, index: 1 } };
    assert_eq!(code(import(&mut ledger, 3, &wrong)), Code::Corrupt);
    assert!(ledger.is_importing() && ledger.enrollments().next().is_none());
    assert_eq!(import(&mut ledger, 0, &items), Ok(Decided::Imported(items.len() as u64)));
    assert!(!ledger.is_importing());
    // Done is done.
    assert_eq!(found(&mut ledger, &charter), Ok(Decided::Imported(items.len() as u64)));
    assert_eq!(import(&mut ledger, 0, &items), Ok(Decided::Imported(items.len() as u64)));
    assert_eq!(code(import(&mut ledger, items.len() as u64, &items[..1])), Code::Invalid, "too many");
}

#[test]
fn another_backup_may_take_the_place_of_one_that_is_not_whole() {
    let items: Vec<Item> = lost().items().collect();
    let mut ledger = admitted();
    found(&mut ledger, &charter_of(&items, INCARNATION + 1)).unwrap();
    import(&mut ledger, 0, &items[..2]).unwrap();
    assert_eq!(code(found(&mut ledger, &charter_of(&items[..1], INCARNATION + 1))), Code::Invalid);
    assert_eq!(found(&mut ledger, &charter_of(&items[..1], INCARNATION + 2)), Ok(Decided::Imported(0)));
    import(&mut ledger, 0, &items[..1]).unwrap();
    assert!(!ledger.is_importing());
    assert_eq!((ledger.enrollments().len(), ledger.incarnation()), (1, INCARNATION + 2));
}

#[test]
fn only_the_root_begins_a_ledger_again_and_only_a_new_one() {
    let items: Vec<Item> = lost().items().collect();
    let charter = charter_of(&items, INCARNATION + 1);
    let mut ledger = admitted();
    let forged = Command::Found { charter: charter.sign(&signer(ADMINS[0])) };
    assert_eq!(code(apply(&mut ledger, 5, forged)), Code::Denied);
    let foreign = Charter { cluster: protocol::ids::ClusterId([9; 32]), ..charter.clone() };
    assert_eq!(code(found(&mut ledger, &foreign)), Code::Denied);
    assert_eq!(code(found(&mut ledger, &charter_of(&items, INCARNATION))), Code::Invalid);
    assert_eq!(code(import(&mut ledger, 0, &items)), Code::Invalid, "there is no charter");
    assert!(!ledger.is_importing());
    let mut at_work = enrolled(1);
    assert_eq!(code(found(&mut at_work, &charter)), Code::Invalid);
    assert_eq!(at_work.incarnation(), INCARNATION);
}

#[test]
fn pieces_that_make_no_sense_are_refused() {
    let items: Vec<Item> = lost().items().collect();
    let snapshot = items.iter().find(|item| matches!(item, Item::Snapshot(_))).unwrap().clone();
    let mut ledger = admitted();
    let charter = Charter { items: 10, digest: Hash([1; 32]), ..charter_of(&[], INCARNATION + 1) };
    found(&mut ledger, &charter).unwrap();
    assert_eq!(
        code(import(&mut ledger, 0, std::slice::from_ref(&snapshot))),
        Code::Invalid,
        "whose it is was not told"
    );
    import(&mut ledger, 0, &items[..1]).unwrap();
    let many = vec![items[0].clone(); limits::IMPORT_ITEMS_MAX + 1];
    assert_eq!(code(import(&mut ledger, 1, &many)), Code::Invalid);
    let Item::Snapshot(mut second) = snapshot else { unreachable!() };
    second.commit.sequence = 2;
    second.client = client(0);
    let unordered = [items[0].clone(), Item::Snapshot(second)];
    assert_eq!(code(import(&mut ledger, 1, &unordered)), Code::Invalid, "the first one is missing");
}

use proptest::prelude::*;

use super::*;

fn promise(term: u64, index: u64) -> Promise {
    Promise { term, candidate: 5, index }
}

#[test]
fn what_is_remembered_only_grows() {
    let mut promises = Promises::default();
    assert!(promises.note(7, promise(2, 10)));
    assert!(!promises.note(7, promise(2, 10)));
    assert!(!promises.note(7, promise(1, 99)), "an older term, whatever was sent in it");
    assert!(promises.note(7, promise(3, 0)), "a vote in a later term");
    assert_eq!((promises.of(7), promises.of(8)), (Some(promise(3, 0)), None));
}

#[test]
fn a_disk_is_old_if_a_later_promise_is_remembered() {
    let kept = promise(3, 20);
    for kept_promise in [None, Some(promise(3, 20)), Some(promise(3, 0)), Some(promise(2, 99))] {
        assert!(!is_forgotten(kept, kept_promise), "{kept_promise:?}");
    }
    let other_candidate = Promise { candidate: 6, ..promise(3, 0) };
    for forgotten in [promise(3, 21), promise(4, 0), other_candidate] {
        assert!(is_forgotten(kept, Some(forgotten)), "{forgotten:?}");
    }
}

#[test]
fn those_who_left_long_ago_are_forgotten_first() {
    let mut promises = Promises::default();
    for voter in 0..=limits::PROMISES_KEPT_MAX as u64 {
        promises.note(voter, promise(1 + voter, 0));
    }
    assert_eq!((promises.of(0), promises.of(1)), (None, Some(promise(2, 0))));
    // The others keep what they have.
    assert_eq!(promises.0.len(), limits::PROMISES_KEPT_MAX);
}

/// What happens to a voter.
#[derive(Debug, Clone)]
enum Event {
    /// It grants a vote in a later term.
    Vote(u64),
    /// The leader of its term sends entries.
    Append(u64),
    /// A later leader, whose log is shorter, cuts off what nobody else has.
    Truncate(u64, u64),
    /// A copy of its disk is made.
    Copy,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1..3u64).prop_map(Event::Vote),
        (1..5u64).prop_map(Event::Append),
        (1..3u64, 0..4u64).prop_map(|(terms, entries)| Event::Truncate(terms, entries)),
        Just(Event::Copy),
    ]
}

proptest! {
    /// The disk itself never looks old, and a copy does as soon as anything was promised
    /// that it does not hold.
    #[test]
    fn only_copies_are_found_old(events in prop::collection::vec(event(), 1..60)) {
        let mut disk = promise(0, 0);
        let (mut copy, mut since_copy) = (disk, false);
        let mut promises = Promises::default();
        prop_assert!(copy == disk && !since_copy);
        for event in events {
            match event {
                Event::Vote(terms) => {
                    disk.term += terms;
                    promises.note(1, promise(disk.term, 0));
                    since_copy = true;
                }
                Event::Append(entries) => {
                    disk.index += entries;
                    promises.note(1, disk);
                    since_copy = true;
                }
                Event::Truncate(terms, entries) => {
                    disk = promise(disk.term + terms, disk.index.saturating_sub(entries));
                    promises.note(1, disk);
                    since_copy = true;
                }
                Event::Copy => (copy, since_copy) = (disk, false),
            }
            prop_assert!(!is_forgotten(disk, promises.of(1)));
            prop_assert_eq!(is_forgotten(copy, promises.of(1)), since_copy);
        }
    }
}

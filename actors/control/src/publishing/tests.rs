use proptest::prelude::*;
use protocol::{
    commands::{Command, Decided, NewSegment, Publication},
    ids::LeaseId,
};

use super::*;
use crate::{Ledger, testing::*};

const OTHER: ClientId = ClientId([9; 16]);

fn reuse(ledger: &Ledger) -> &Reuse {
    ledger.reuse(&repository(1), &DOMAIN).unwrap()
}

fn claim(ledger: &mut Ledger) -> LeaseId {
    let command = Command::Claim { node: protocol::ids::NodeId([1; 16]), repository: repository(1), domain: DOMAIN };
    match apply(ledger, 1, command) {
        Ok(Decided::Claimed(claim)) => claim,
        other => panic!("{other:?}"),
    }
}

/// Carries out a piece of work: the rows of what is replaced are `rows_of_own` for each
/// own segment, in one segment.
fn carry_out(ledger: &mut Ledger, claim: LeaseId, salt: &mut u8, rows_of_own: u64, chore: Chore) {
    *salt += 1;
    let mut publication = Publication {
        claim,
        repository: repository(1),
        domain: DOMAIN,
        scope: None,
        segments: Vec::new(),
        covers_own: Vec::new(),
        covers: Vec::new(),
        mends: Vec::new(),
    };
    let rows = match chore {
        Chore::Publish { scope, own } => {
            publication.scope = scope;
            publication.covers_own = own;
            rows_of_own * publication.covers_own.len() as u64
        }
        Chore::Merge { scope, runs } => {
            publication.scope = scope;
            publication.covers = runs.concat();
            publication.covers.iter().map(|name| reuse(ledger).published()[name].rows).sum()
        }
        Chore::Mend { scope, lost } => {
            publication.scope = scope;
            publication.mends = vec![lost];
            rows_of_own
        }
    };
    publication.segments = vec![NewSegment { name: object(claim, *salt), rows, first: 0, last: u32::MAX }];
    assert_eq!(apply(ledger, 1, Command::Publish { publication }), Ok(Decided::Published));
}

fn commit(ledger: &mut Ledger, number: u8) -> Vec<ObjectName> {
    let lease = grant(ledger, number, 1);
    let commit = commit_of(&lease, true);
    apply(ledger, 1, Command::Commit { client: client(number), commit: commit.clone() }).unwrap();
    commit.segments
}

#[test]
fn what_trusting_members_wrote_becomes_one_run_and_what_strangers_wrote_does_not() {
    let mut ledger = enrolled(2);
    let written = [commit(&mut ledger, 0), commit(&mut ledger, 1)].concat();
    let Some(Chore::Publish { scope: None, own }) = next(reuse(&ledger), Trust::Trusting, |_| false) else { panic!() };
    assert_eq!(
        own.iter().map(|(_, name)| *name).collect::<std::collections::BTreeSet<_>>(),
        written.into_iter().collect()
    );
    let Some(Chore::Publish { scope: Some(one), own }) = next(reuse(&ledger), Trust::Strangers, |_| false) else {
        panic!()
    };
    assert!(own.iter().all(|(holder, _)| *holder == one));
    let left = next(reuse(&ledger), Trust::Strangers, |(holder, _)| *holder == one);
    assert!(matches!(left, Some(Chore::Publish { scope: Some(other), .. }) if other != one), "what is set aside waits");
}

#[test]
fn what_was_lost_before_it_was_published_is_made_up_for_first() {
    let mut ledger = enrolled(1);
    let segments = commit(&mut ledger, 0);
    let condemn = Command::Condemn { repository: repository(1), domain: DOMAIN, objects: segments.clone() };
    assert_eq!(apply(&mut ledger, 1, condemn), Ok(Decided::Condemned(1)));
    let lost = (client(0), segments[0].lease);
    assert_eq!(next(reuse(&ledger), Trust::Strangers, |_| false), Some(Chore::Mend { scope: Some(lost.0), lost }));
}

#[test]
fn classes_grow_by_eight() {
    assert_eq!([0, SMALL_ROWS - 1, SMALL_ROWS, 8 * SMALL_ROWS - 1, 8 * SMALL_ROWS].map(class), [0, 0, 1, 1, 2]);
    assert_eq!(class(u64::MAX), class(u64::MAX - 1));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// However many snapshots there were, and however large, a client starts with few
    /// segments, and the work comes to an end.
    #[test]
    fn the_number_of_segments_grows_with_the_logarithm(
        commits in 1..150_usize,
        rows in prop_oneof![1..100_u64, 1000..100_000_u64],
        trusting: bool,
    ) {
        let mut ledger = enrolled(2);
        let claim = claim(&mut ledger);
        let trust = if trusting { Trust::Trusting } else { Trust::Strangers };
        let mut salt = 0;
        for number in 0..commits {
            commit(&mut ledger, (number % 2) as u8);
            let mut steps = 0;
            while let Some(chore) = next(reuse(&ledger), trust, |_| false) {
                // A name's salt is a byte, and names of merged segments may come again.
                if let Chore::Merge { runs, .. } = &chore {
                    prop_assert!(runs.len() > limits::RUNS_PER_CLASS_MAX);
                }
                carry_out(&mut ledger, claim, &mut salt, rows, chore);
                salt %= 250;
                steps += 1;
                prop_assert!(steps < 10, "the work does not end");
            }
        }
        let view = ledger.survey(&client(0), &repository(1)).unwrap();
        prop_assert!(view.own.is_empty());
        let classes = class(rows * commits as u64) as usize + 1;
        let most = limits::RUNS_PER_CLASS_MAX * classes;
        prop_assert!(view.shared.len() <= most, "{} segments in {classes} classes", view.shared.len());
        let total: u64 = reuse(&ledger).published().values().map(|segment| segment.rows).sum();
        prop_assert_eq!(total, rows * commits as u64, "rows were lost");
        prop_assert!(ledger.survey(&OTHER, &repository(1)).is_none(), "a stranger reads nothing");
    }
}

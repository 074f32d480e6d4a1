mod audit;
mod events;
mod founding;
mod level;
mod sharing;

use protocol::{
    codec,
    commands::CommitFacts,
    failure::Code,
    ids::{AttemptId, LeaseId, SnapshotId},
    records::Payload,
    sign::{self, Signed},
};

use super::*;
use crate::testing::*;

fn code(outcome: Outcome) -> Code {
    outcome.expect_err("should have been refused").code
}

fn admit(ledger: &mut Ledger, record: &protocol::records::Record) -> Outcome {
    apply(ledger, 1, Command::Admit { keyset: record.signed().clone() })
}

#[test]
fn a_keyset_replaces_a_lower_one_only() {
    let mut ledger = admitted();
    assert_eq!(admit(&mut ledger, &keyset(1)), Ok(Decided::Admitted(1)), "the same again is the same answer");
    assert_eq!(admit(&mut ledger, &keyset(3)), Ok(Decided::Admitted(3)));
    assert_eq!(code(admit(&mut ledger, &keyset(2))), Code::Invalid);
    let other = record(ROOT, 3, Payload::Keyset(keyset_of(&ADMINS[..1], &ORCHESTRATORS)));
    assert_eq!(code(admit(&mut ledger, &other)), Code::Invalid, "one number, two keysets");
    assert_eq!(ledger.keyset().map(|(number, keyset)| (number, keyset.admins.len())), Some((3, 2)));
}

#[test]
fn only_the_root_signs_keysets() {
    let mut ledger = admitted();
    let forged = record(ADMINS[0], 2, Payload::Keyset(keyset_of(&ADMINS, &ORCHESTRATORS)));
    assert_eq!(code(admit(&mut ledger, &forged)), Code::Denied);
    let mut damaged = keyset(2).signed().clone();
    damaged.body[40] ^= 1;
    assert_eq!(code(apply(&mut ledger, 1, Command::Admit { keyset: damaged })), Code::Denied);
    let no_keyset = terms_record(ROOT, 2, terms(1, 1, 10));
    assert_eq!(code(apply(&mut ledger, 1, Command::Admit { keyset: no_keyset })), Code::Invalid);
}

#[test]
fn a_roster_is_bounded_and_leaves_no_doubt() {
    let mut ledger = admitted();
    let crowd: Vec<u8> = (20..20 + limits::ROSTER_MAX as u8 + 1).collect();
    for roster in [&[][..], &[20, 20], &crowd] {
        let keyset = record(ROOT, 2, Payload::Keyset(keyset_of(&ADMINS, roster)));
        assert_eq!(code(admit(&mut ledger, &keyset)), Code::Invalid, "{roster:?}");
    }
}

#[test]
fn first_keys_win_and_the_same_keys_get_the_same_answer() {
    let mut ledger = admitted();
    let terms = terms_record(ADMINS[0], 1, terms(1, 1, 100));
    let first = apply(&mut ledger, 5, redeem(terms.clone(), redemption(1, keys(1), "one"))).unwrap();
    let Decided::Redeemed(enrollment) = &first else { panic!("{first:?}") };
    assert_eq!((enrollment.domain, enrollment.at.0, enrollment.name.as_str()), (DOMAIN, 5, "one"));

    let surplus = apply(&mut ledger, 6, redeem(terms.clone(), redemption(1, keys(2), "thief"))).unwrap_err();
    assert_eq!(surplus.code, Code::Denied);
    assert!(surplus.message.contains("spent"), "{surplus}");
    // Long after the token has ended, under another name, over another connection.
    let again = apply(&mut ledger, 1000, redeem(terms, redemption(1, keys(1), "renamed")));
    assert_eq!(again, Ok(first));

    let (id, refusals) = ledger.refused_redemptions().next().unwrap();
    assert_eq!((*id, refusals.count, refusals.last_name.as_str()), (token(1), 1, "thief"));
    assert_eq!(refusals.last_key, keys(2).tls);
    assert_eq!(ledger.redeemed(&token(1)), [client(1)]);
    assert!(ledger.has_redeemed(&client(1), &token(1)));
    assert!(!ledger.has_redeemed(&client(2), &token(1)) && !ledger.has_redeemed(&client(1), &token(2)));
    assert_eq!(ledger.client_by_key(&keys(1).tls).map(|enrollment| enrollment.client), Some(client(1)));
    assert_eq!(ledger.client_by_key(&keys(2).tls), None);
}

#[test]
fn uses_are_counted() {
    let mut ledger = admitted();
    let terms_of = terms(1, 2, 100);
    let signed = terms_record(ADMINS[0], 1, terms_of.clone());
    assert_eq!(ledger.uses_left(&terms_of), 2);
    for number in 1..=3 {
        let outcome = apply(&mut ledger, 1, redeem(signed.clone(), redemption(1, keys(number), "x")));
        assert_eq!(outcome.is_ok(), number <= 2, "{outcome:?}");
    }
    assert_eq!(ledger.uses_left(&terms_of), 0);
}

#[test]
fn welcomes_are_counted_once_for_each_client_of_a_token() {
    let mut ledger = admitted();
    let signed = terms_record(ADMINS[0], 1, terms(1, 2, 100));
    for number in 1..=2 {
        apply(&mut ledger, 1, redeem(signed.clone(), redemption(1, keys(number), "x"))).unwrap();
    }
    let acknowledge = |number, of| Command::Acknowledge { client: client(number), token: token(of) };
    for _ in 0..3 {
        assert_eq!(apply(&mut ledger, 1, acknowledge(1, 1)), Ok(Decided::Acknowledged));
        assert_eq!((ledger.welcomed(&token(1)), ledger.is_welcomed(&client(2))), (1, false));
    }
    // Another token's clients, and nobody's, have no say in it.
    assert_eq!(code(apply(&mut ledger, 1, acknowledge(2, 3))), Code::Denied);
    assert_eq!(code(apply(&mut ledger, 1, acknowledge(7, 1))), Code::Denied);
    assert_eq!(ledger.welcomed(&token(1)), 1);
    assert_eq!(apply(&mut ledger, 1000, acknowledge(2, 1)), Ok(Decided::Acknowledged));
    assert_eq!((ledger.welcomed(&token(1)), ledger.is_welcomed(&client(2))), (2, true));
}

#[test]
fn an_expired_token_is_refused_by_decided_time() {
    let mut ledger = admitted();
    let terms = terms_record(ADMINS[0], 1, terms(1, 5, 100));
    assert!(apply(&mut ledger, 99, redeem(terms.clone(), redemption(1, keys(1), "in time"))).is_ok());
    assert_eq!(code(apply(&mut ledger, 100, redeem(terms.clone(), redemption(1, keys(2), "late")))), Code::Denied);
    // A proposer whose clock is behind does not turn time back.
    assert_eq!(code(apply(&mut ledger, 50, redeem(terms, redemption(1, keys(2), "late")))), Code::Denied);
    assert_eq!(ledger.decided(), UnixMillis(100));
}

#[test]
fn a_redemption_must_be_signed_by_its_token() {
    let mut ledger = admitted();
    let terms_one = terms_record(ADMINS[0], 1, terms(1, 1, 100));
    let good = redemption(1, keys(1), "x");
    let stolen = Signed::new(&token_signer(2), sign::REDEMPTION, good.body.clone());
    assert_eq!(code(apply(&mut ledger, 1, redeem(terms_one.clone(), stolen))), Code::Denied);
    let other_context = Signed::new(&token_signer(1), sign::RECORD, good.body.clone());
    assert_eq!(code(apply(&mut ledger, 1, redeem(terms_one, other_context))), Code::Denied);
    let other_terms = terms_record(ADMINS[0], 1, terms(2, 1, 100));
    assert_eq!(code(apply(&mut ledger, 1, redeem(other_terms, good))), Code::Invalid);
    assert_eq!(ledger.enrollments().len(), 0);
}

#[test]
fn terms_count_only_from_an_admin_and_within_limits() {
    let mut ledger = admitted();
    let cases = [
        (terms_record(ORCHESTRATORS[0], 1, terms(1, 1, 100)), Code::Denied),
        (terms_record(ROOT, 1, terms(1, 1, 100)), Code::Denied),
        (terms_record(ADMINS[0], 1, terms(1, 0, 100)), Code::Invalid),
        (terms_record(ADMINS[0], 1, terms(1, limits::TOKEN_USES_MAX + 1, 100)), Code::Invalid),
        (keyset(5).signed().clone(), Code::Invalid),
    ];
    for (terms, expected) in cases {
        assert_eq!(code(apply(&mut ledger, 1, redeem(terms, redemption(1, keys(1), "x")))), expected);
    }
    // An admin who was removed has no say any more.
    let terms = terms_record(ADMINS[1], 1, terms(1, 1, 100));
    admit(&mut ledger, &record(ROOT, 2, Payload::Keyset(keyset_of(&ADMINS[..1], &ORCHESTRATORS)))).unwrap();
    assert_eq!(code(apply(&mut ledger, 1, redeem(terms, redemption(1, keys(1), "x")))), Code::Denied);
}

#[test]
fn an_old_copy_of_the_terms_brings_nothing_back() {
    let mut ledger = admitted();
    let generous = terms_record(ADMINS[0], 1, terms(1, 10, 1000));
    assert!(apply(&mut ledger, 1, redeem(generous.clone(), redemption(1, keys(2), "early"))).is_ok());
    let curt = terms_record(ADMINS[0], 2, terms(1, 10, 50));
    assert_eq!(code(apply(&mut ledger, 60, redeem(curt.clone(), redemption(1, keys(1), "x")))), Code::Denied);
    assert_eq!(code(apply(&mut ledger, 60, redeem(generous, redemption(1, keys(1), "x")))), Code::Retry);
    // If the author of the newer terms goes, older ones of another admin count again.
    let other = terms_record(ADMINS[1], 1, terms(1, 10, 1000));
    admit(&mut ledger, &record(ROOT, 2, Payload::Keyset(keyset_of(&ADMINS[1..], &ORCHESTRATORS)))).unwrap();
    assert_eq!(code(apply(&mut ledger, 60, redeem(curt, redemption(1, keys(1), "x")))), Code::Denied);
    assert!(apply(&mut ledger, 60, redeem(other, redemption(1, keys(1), "x"))).is_ok());
}

#[test]
fn a_key_enrolls_once_and_as_one_thing() {
    let mut ledger = enrolled(1);
    let terms = terms_record(ADMINS[0], 1, terms(1, 5, 100));
    let other_token = apply(&mut ledger, 1, redeem(terms.clone(), redemption(1, keys(0), "again"))).unwrap_err();
    assert_eq!(other_token.code, Code::Denied);
    assert!(other_token.message.contains("enrolled already"), "{other_token}");
    let mut mixed = keys(0);
    mixed.commit = keys(3).commit;
    assert_eq!(code(apply(&mut ledger, 1, redeem(terms.clone(), redemption(1, mixed, "mixed")))), Code::Denied);
    let same_token = terms_record(ADMINS[0], 1, self::terms(99, 100, 1_000_000));
    assert_eq!(code(apply(&mut ledger, 1, redeem(same_token, redemption(99, mixed, "mixed")))), Code::Denied);
    for taken in [ADMINS[0], ORCHESTRATORS[0]] {
        let mut keys = keys(4);
        keys.tls = key(taken);
        assert_eq!(code(apply(&mut ledger, 1, redeem(terms.clone(), redemption(1, keys, "x")))), Code::Denied);
    }
    assert_eq!(ledger.redeemed(&token(1)), []);
}

#[test]
fn a_name_is_bounded_and_printable() {
    let mut ledger = admitted();
    let terms = terms_record(ADMINS[0], 1, terms(1, 5, 100));
    for name in ["", "esc\u{1b}[31m", &"x".repeat(limits::LABEL_BYTES_MAX + 1)] {
        assert_eq!(code(apply(&mut ledger, 1, redeem(terms.clone(), redemption(1, keys(1), name)))), Code::Invalid);
    }
    let longest = "x".repeat(limits::LABEL_BYTES_MAX);
    assert!(apply(&mut ledger, 1, redeem(terms, redemption(1, keys(1), &longest))).is_ok());
}

#[test]
fn a_lease_is_a_right_with_an_end() {
    let mut ledger = enrolled(1);
    let lease = grant(&mut ledger, 0, 1);
    assert_eq!(lease.expires.since(lease.granted), limits::LEASE_SECS_MAX * 1000);
    assert_eq!((lease.domain, lease.sequence, lease.parent, lease.view.epoch), (DOMAIN, 1, None, 0));
    assert_eq!(Some(lease.view.index), ledger.applied());
    assert_eq!(ledger.lease(&client(0), &repository(1)).map(|open| open.id), Some(lease.id));
    assert_eq!(ledger.overdue_leases(UnixMillis(lease.expires.0 - 1)).count(), 0);
    assert_eq!(ledger.overdue_leases(lease.expires).count(), 1);
    let stranger = fresh_grant(&ledger, 5, 1);
    assert_eq!(code(apply(&mut ledger, 1, stranger)), Code::Denied);
}

#[test]
fn a_new_lease_fences_the_old_one_of_its_repository() {
    let mut ledger = enrolled(2);
    let elsewhere = grant(&mut ledger, 0, 2);
    let others = grant(&mut ledger, 1, 1);
    let old = grant(&mut ledger, 0, 1);
    let new = grant(&mut ledger, 0, 1);
    let commit = |lease| Command::Commit { client: client(0), commit: commit_of(lease, true) };
    assert_eq!(code(apply(&mut ledger, 1, commit(&old))), Code::Superseded);
    assert_eq!(code(apply(&mut ledger, 1, commit(&others))), Code::Fenced, "another client's lease is no right");
    assert!(apply(&mut ledger, 1, commit(&elsewhere)).is_ok());
    assert!(apply(&mut ledger, 1, commit(&new)).is_ok());
    assert_eq!(ledger.open_leases().map(|lease| lease.id).collect::<Vec<_>>(), [others.id]);
}

#[test]
fn leases_of_one_entry_have_different_ids() {
    let mut ledger = enrolled(2);
    let grants = [(0, 1, 1), (0, 2, 2), (1, 1, 3), (0, 1, 4)].map(|(number, place, attempt)| Command::Grant {
        client: client(number),
        repository: repository(place),
        lineage: lineage(0),
        attempt: AttemptId([attempt; 16]),
        after: None,
    });
    let outcomes = ledger.apply(50, &entry(1, grants.to_vec()));
    let ids: Vec<LeaseId> = outcomes
        .into_iter()
        .map(|outcome| match outcome {
            Ok(Decided::Granted(lease)) => lease.id,
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [0, 1, 2, 3].map(|position| LeaseId { incarnation: INCARNATION, index: 50 << 16 | position });
    assert_eq!(ids, expected);
    assert_eq!(ledger.open_leases().map(|lease| lease.id).collect::<Vec<_>>(), expected[1..]);
}

#[test]
fn a_commit_becomes_the_next_parent() {
    let mut ledger = enrolled(1);
    let mut commit = |complete| {
        let lease = grant(&mut ledger, 0, 1);
        let commit = commit_of(&lease, complete);
        apply(&mut ledger, 1, Command::Commit { client: client(0), commit: commit.clone() }).unwrap();
        (lease, SnapshotId(commit.object.hash.0), commit)
    };
    let (first, whole, whole_commit) = commit(true);
    let (second, part, part_commit) = commit(false);
    assert_eq!(first.parent, None);
    assert_eq!(second.parent.map(|parent| (parent.id, parent.object)), Some((whole, whole_commit.object)));
    assert_eq!(second.parent_complete, None, "the parent is complete itself");
    let third = grant(&mut ledger, 0, 1);
    assert_eq!(third.parent.map(|parent| parent.id), Some(part));
    assert_eq!(third.parent_complete.map(|parent| parent.id), Some(whole));
    assert_eq!(third.sequence, 3);
    assert_eq!(third.view.own, [whole_commit.segments, part_commit.segments].concat());
    let open = ledger.open_lease(&third.id).unwrap();
    assert_eq!(ledger.view(open), Some(third.view));
    let elsewhere = grant(&mut ledger, 0, 2);
    assert_eq!((elsewhere.parent, elsewhere.sequence, elsewhere.view.own), (None, 1, vec![]));
    let listed: Vec<_> = ledger.snapshots(&client(0)).iter().map(|snapshot| snapshot.id).collect();
    assert_eq!(listed, [whole, part]);
    assert_eq!(ledger.snapshots_count(&client(0)), 2);
    assert_eq!(ledger.snapshot_newest(&client(0)).map(|snapshot| snapshot.id), Some(part));
}

#[test]
fn a_commit_that_was_decided_is_answered_again() {
    let mut ledger = enrolled(1);
    let lease = grant(&mut ledger, 0, 1);
    let commit = commit_of(&lease, true);
    let command = Command::Commit { client: client(0), commit: commit.clone() };
    let first = apply(&mut ledger, 1, command.clone()).unwrap();
    grant(&mut ledger, 0, 1);
    assert_eq!(apply(&mut ledger, 1, command), Ok(first));
    let mut other = commit;
    other.bytes_stored += 1;
    assert_eq!(code(apply(&mut ledger, 1, Command::Commit { client: client(0), commit: other })), Code::Superseded);
}

#[test]
fn a_commit_must_fit_its_lease() {
    let mut ledger = enrolled(1);
    let first = grant(&mut ledger, 0, 1);
    let done = commit_of(&first, true);
    apply(&mut ledger, 1, Command::Commit { client: client(0), commit: done.clone() }).unwrap();
    let lease = grant(&mut ledger, 0, 1);
    let good = commit_of(&lease, true);
    type Spoil<'a> = &'a dyn Fn(&mut CommitFacts);
    let spoils: [(&str, Spoil<'_>); 9] = [
        ("sequence", &|commit| commit.sequence += 1),
        ("other lineage", &|commit| commit.lineage = lineage(9)),
        ("no previous", &|commit| commit.previous = None),
        ("other previous", &|commit| commit.previous = Some(SnapshotId([1; 32]))),
        ("object's lease", &|commit| commit.object.lease = first.id),
        ("segment's lease", &|commit| commit.segments[0].lease = first.id),
        ("segment twice", &|commit| commit.segments.push(commit.segments[0])),
        ("segments", &|commit| {
            commit.segments = (0..=limits::SEGMENTS_PER_COMMIT_MAX).map(|n| object(lease.id, n as u8)).collect();
        }),
        ("the same bytes as before", &|commit| commit.object.hash = done.object.hash),
    ];
    let before = ledger.snapshots_count(&client(0));
    for (what, spoil) in spoils {
        let mut commit = good.clone();
        spoil(&mut commit);
        assert_eq!(code(apply(&mut ledger, 1, Command::Commit { client: client(0), commit })), Code::Invalid, "{what}");
    }
    assert_eq!(ledger.snapshots_count(&client(0)), before);
    assert!(
        apply(&mut ledger, 1, Command::Commit { client: client(0), commit: good }).is_ok(),
        "the lease is open still"
    );
}

#[test]
fn each_lineage_builds_on_its_own_newest_snapshot() {
    let mut ledger = enrolled(1);
    let (home, etc) = (lineage(1), lineage(2));
    let grant = |ledger: &mut Ledger, lineage| {
        let mut command = fresh_grant(ledger, 0, 1);
        if let Command::Grant { lineage: of, .. } = &mut command {
            *of = lineage;
        }
        match apply(ledger, 0, command) {
            Ok(Decided::Granted(lease)) => lease,
            other => panic!("{other:?}"),
        }
    };
    let mut snapshots = Vec::new();
    for lineage in [home, etc, home] {
        let lease = grant(&mut ledger, lineage);
        assert_eq!(lease.previous, snapshots.last().copied(), "the chain is one, whatever the lineage");
        let commit = commit_of(&lease, true);
        snapshots.push(SnapshotId(commit.object.hash.0));
        apply(&mut ledger, 0, Command::Commit { client: client(0), commit }).unwrap();
    }
    let parent = |lease: &protocol::commands::Lease| lease.parent.map(|parent| parent.id);
    assert_eq!(parent(&grant(&mut ledger, etc)), Some(snapshots[1]));
    assert_eq!(parent(&grant(&mut ledger, home)), Some(snapshots[2]));
    assert_eq!(parent(&grant(&mut ledger, lineage(3))), Some(snapshots[2]), "a new lineage starts from the newest");
}

#[test]
fn a_lease_is_closed_once_by_its_owner() {
    let mut ledger = enrolled(2);
    let lease = grant(&mut ledger, 0, 1);
    let close = |number, lease| Command::Close { client: client(number), lease };
    assert_eq!(code(apply(&mut ledger, 1, close(1, lease.id))), Code::Denied);
    assert_eq!(apply(&mut ledger, 1, close(0, lease.id)), Ok(Decided::Closed));
    assert_eq!(apply(&mut ledger, 1, close(0, lease.id)), Ok(Decided::Closed), "idempotent");
    assert_eq!(ledger.open_lease(&lease.id), None);
    let commit = Command::Commit { client: client(0), commit: commit_of(&lease, true) };
    let fenced = apply(&mut ledger, 1, commit).unwrap_err();
    assert_eq!(fenced.code, Code::Fenced);
    assert!(fenced.message.contains("start the backup again"), "{fenced}");
    let future = LeaseId { incarnation: INCARNATION, index: u64::MAX };
    assert_eq!(code(apply(&mut ledger, 1, close(0, future))), Code::NotFound);
}

#[test]
fn an_attempt_at_a_lease_has_one_answer() {
    let mut ledger = enrolled(1);
    let first = fresh_grant(&ledger, 0, 1);
    let granted = apply(&mut ledger, 1, first.clone()).unwrap();
    assert_eq!(apply(&mut ledger, 1, first.clone()), Ok(granted.clone()), "the same lease, and not another");
    let Decided::Granted(lease) = granted else { panic!("{granted:?}") };
    let other_lineage = match first.clone() {
        Command::Grant { client, repository, attempt, after, .. } => {
            Command::Grant { client, repository, lineage: lineage(7), attempt, after }
        }
        other => other,
    };
    assert_eq!(code(apply(&mut ledger, 1, other_lineage)), Code::Invalid);
    let close = Command::Close { client: client(0), lease: lease.id };
    apply(&mut ledger, 1, close).unwrap();
    assert_eq!(code(apply(&mut ledger, 1, first.clone())), Code::Fenced, "it is over, and another may be asked for");
    // A repetition that comes late fences nobody, for as long as it is remembered.
    for _ in 1..limits::ATTEMPTS_KEPT_MAX {
        let next = grant(&mut ledger, 0, 1);
        assert_eq!(code(apply(&mut ledger, 1, first.clone())), Code::Superseded);
        assert_eq!(ledger.lease(&client(0), &repository(1)).map(|open| open.id), Some(next.id));
    }
}

#[test]
fn a_lease_that_follows_another_is_refused_once_someone_came_between() {
    let mut ledger = enrolled(1);
    let follow = |ledger: &Ledger, lease: &protocol::commands::Lease| match fresh_grant(ledger, 0, 1) {
        Command::Grant { client, repository, lineage, attempt, .. } => {
            Command::Grant { client, repository, lineage, attempt, after: Some(lease.id) }
        }
        other => other,
    };
    let mine = grant(&mut ledger, 0, 1);
    apply(&mut ledger, 1, Command::Close { client: client(0), lease: mine.id }).unwrap();
    let command = follow(&ledger, &mine);
    let Ok(Decided::Granted(mine)) = apply(&mut ledger, 1, command) else { panic!("nobody came between") };
    let theirs = grant(&mut ledger, 0, 1);
    // Whatever became of theirs since.
    for _ in 0..2 {
        let command = follow(&ledger, &mine);
        assert_eq!(code(apply(&mut ledger, 1, command)), Code::Superseded);
        assert_eq!(ledger.ended(&client(0), &mine.id).code, Code::Superseded);
        apply(&mut ledger, 1, Command::Close { client: client(0), lease: theirs.id }).unwrap();
    }
    assert_eq!(ledger.ended(&client(0), &theirs.id).code, Code::Fenced);
}

#[test]
fn leases_that_left_something_are_named_until_a_commit() {
    let mut ledger = enrolled(1);
    let first = grant(&mut ledger, 0, 1);
    assert!(first.view.left.is_empty());
    let second = grant(&mut ledger, 0, 1);
    apply(&mut ledger, 1, Command::Close { client: client(0), lease: second.id }).unwrap();
    let third = grant(&mut ledger, 0, 1);
    assert_eq!(third.view.left, [first.id, second.id]);
    assert!(grant(&mut ledger, 0, 2).view.left.is_empty(), "another repository is another matter");
    apply(&mut ledger, 1, Command::Commit { client: client(0), commit: commit_of(&third, false) }).unwrap();
    assert!(grant(&mut ledger, 0, 1).view.left.is_empty(), "the commit has what was of use");
    let mut ended = Vec::new();
    for _ in 0..limits::LEFT_LEASES_MAX + 3 {
        ended.push(grant(&mut ledger, 0, 1).id);
    }
    let left = grant(&mut ledger, 0, 1).view.left;
    assert_eq!(left, ended[3..], "of very many, the newest");
}

#[test]
fn a_view_is_bounded_and_keeps_the_newest_segments() {
    let mut ledger = enrolled(1);
    grant(&mut ledger, 0, 1);
    let reuse = ledger.reuse.get_mut(&(repository(1), DOMAIN)).unwrap();
    // At their longest, and more than a lease may name.
    let name = |index| {
        object(LeaseId { incarnation: u32::MAX, index: u64::MAX - limits::VIEW_SEGMENTS_MAX as u64 + index }, 1)
    };
    let names: Vec<_> = (0..=limits::VIEW_SEGMENTS_MAX as u64).map(name).collect();
    reuse.wrote(&client(0), &names);
    reuse.wrote(&client(1), &[object(LeaseId { incarnation: 0, index: 0 }, 1)]);
    let view = ledger.survey(&client(0), &repository(1)).unwrap();
    assert_eq!(view.own, names[1..]);
    let shared = protocol::commands::SharedSegment { name: names[0], first: u32::MAX, last: u32::MAX, private: true };
    let condemned = protocol::commands::CondemnedObject { name: names[0], epoch: u64::from(u32::MAX) };
    let view = protocol::commands::View {
        shared: vec![shared; limits::SHARED_SEGMENTS_MAX],
        condemned: vec![condemned; limits::CONDEMNED_MAX],
        left: vec![names[0].lease; limits::LEFT_LEASES_MAX],
        ..view
    };
    assert!(codec::encode(&view).len() < limits::FRAME_BYTES_MAX * 9 / 10);
}

#[test]
fn an_entry_is_bounded_and_applied_once() {
    let mut ledger = enrolled(1);
    let grant = fresh_grant(&ledger, 0, 1);
    let crowd = entry(1, vec![grant; limits::COMMANDS_PER_ENTRY_MAX + 1]);
    let mut outcomes = ledger.apply(70, &crowd);
    assert_eq!(code(outcomes.pop().unwrap()), Code::Invalid);
    assert!(outcomes.iter().all(Result::is_ok));
    let before = ledger.clone();
    assert!(ledger.apply(70, &crowd).into_iter().all(|outcome| code(outcome) == Code::Internal));
    assert_eq!(ledger, before);
}

/// Snapshots of the log hold these bytes. If this changes, snapshots need a new
/// version, and a way to read the old one.
#[test]
fn golden_ledger() {
    let mut ledger = enrolled(1);
    let lease = grant(&mut ledger, 0, 1);
    apply(&mut ledger, 2, Command::Commit { client: client(0), commit: commit_of(&lease, false) }).unwrap();
    grant(&mut ledger, 0, 1);
    let bytes = codec::encode(&ledger);
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "fc2acfe471da8f6aeed9252847e795eb3273f64e37a8dcc2d50fc1c481e574b1"
    );
    assert_eq!(codec::decode("ledger", &bytes), Ok(ledger));
}

//! Each check lets a right history pass and finds what is wrong in a wrong one.

use super::{Event, Outcome, What, parse, violations};

fn at(from_ms: u64, to_ms: u64, what: What) -> Event {
    Event { from_ms, to_ms, what }
}

fn join(machine: &str, outcome: Outcome) -> What {
    let client = (outcome == Outcome::Done).then(|| format!("client of {machine}"));
    What::Join { machine: machine.into(), token: "t".into(), outcome, client }
}

fn backup(snapshot: &str, digest: &str) -> What {
    let snapshot = Some(snapshot.to_owned());
    What::Backup { client: "client of a".into(), outcome: Outcome::Done, snapshot, digest: digest.into() }
}

fn restore(snapshot: &str, digest: &str) -> What {
    let (client, snapshot, digest) = ("client of a".into(), snapshot.into(), digest.into());
    What::Restore { client, snapshot, outcome: Outcome::Done, digest }
}

/// A token of one use, two machines, two backups, a restore, and the last look.
fn right() -> Vec<Event> {
    vec![
        at(0, 5, What::Token { token: "t".into(), uses: 1, outcome: Outcome::Done }),
        at(10, 15, join("a", Outcome::Unclear)),
        at(12, 30, join("b", Outcome::Refused)),
        at(20, 25, join("a", Outcome::Done)),
        at(40, 50, backup("s1", "d1")),
        at(60, 70, backup("s2", "d2")),
        at(80, 80, What::Calm),
        at(90, 95, restore("s1", "d1")),
        at(96, 97, What::Clients { clients: vec!["client of a".into()] }),
        at(97, 98, What::Snapshots { client: "client of a".into(), snapshots: vec!["s1".into(), "s2".into()] }),
        at(98, 99, What::Replica { node: "one".into(), records: "r".into(), applied: 7 }),
        at(98, 99, What::Replica { node: "two".into(), records: "r".into(), applied: 7 }),
    ]
}

#[test]
fn a_right_history_passes_and_survives_json() {
    assert_eq!(violations(&right()), Vec::<String>::new());
    let lines: Vec<String> = right().iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    assert_eq!(parse(&lines.join("\n")).unwrap(), right());
    assert_eq!(parse("{}\n").unwrap_err().0, 1);
}

#[test]
fn each_broken_promise_is_found() {
    let broken = |change: &dyn Fn(&mut Vec<Event>), words: &str| {
        let mut history = right();
        change(&mut history);
        let found = violations(&history);
        assert!(found.iter().any(|violation| violation.contains(words)), "{words:?} is not among {found:?}");
    };
    broken(&|history| history[2].what = join("b", Outcome::Done), "2 machines joined");
    broken(&|history| history[2].to_ms = 9, "b was refused");
    broken(&|history| history[8].what = What::Clients { clients: vec![] }, "a was told that it joined");
    broken(
        &|history| history[8].what = What::Clients { clients: vec!["client of a".into(), "x".into()] },
        "only 1 machines asked",
    );
    let list = |snapshots: &[&str]| What::Snapshots {
        client: "client of a".into(),
        snapshots: snapshots.iter().map(|&id| id.into()).collect(),
    };
    broken(&|history| history[9].what = list(&["s1"]), "s2 of client of a was acknowledged, and is gone");
    broken(&|history| history[9].what = list(&["s2", "s1"]), "s2 of client of a is listed before s1");
    broken(&|history| history[9].what = list(&["s1", "s2", "s3"]), "3 complete snapshots");
    broken(&|history| history[7].what = restore("s1", "d2"), "not what was backed up");
    broken(&|history| history[7].what = restore("s9", "d2"), "nobody made");
    let revoke = What::Revoke { client: "client of a".into(), outcome: Outcome::Done };
    broken(
        &|history| {
            history.push(at(100, 110, revoke.clone()));
            history.push(at(2_111, 2_120, backup("s2", "d2")));
        },
        "though it was revoked",
    );
    let other = |records: &str, applied| What::Replica { node: "two".into(), records: records.into(), applied };
    broken(&|history| history[11].what = other("q", 7), "I2: the records of one and two differ");
    broken(&|history| history[11].what = other("r", 8), "has applied");
    broken(&|history| history.push(at(90, 95, join("c", Outcome::Unclear))), "after all faults were over");
}

#[test]
fn a_policy_goes_back_and_an_act_is_in_no_trail() {
    let goes_by = |version| What::GoesBy { who: "a".into(), policy: "p".into(), version };
    assert_eq!(violations(&[at(1, 1, goes_by(1)), at(2, 2, goes_by(2)), at(3, 3, goes_by(2))]), Vec::<String>::new());
    let found = violations(&[at(1, 1, goes_by(2)), at(2, 2, goes_by(1))]);
    assert!(found.len() == 1 && found[0].starts_with("I1: "), "{found:?}");

    let act = |version| What::Act { subject: "s".into(), version, outcome: Outcome::Done };
    let audit =
        |entries: &[u64]| What::Audit { entries: entries.iter().map(|version| ("s".into(), *version)).collect() };
    let told =
        |first: &[u64], last: &[u64]| violations(&[at(1, 1, act(1)), at(3, 3, audit(first)), at(5, 5, audit(last))]);
    assert_eq!(told(&[1], &[1, 2]), Vec::<String>::new());
    assert!(told(&[], &[2])[0].contains("the audit trail lacks it"));
    assert!(told(&[1], &[2, 1])[0].contains("is another at 5 ms"));
}

#[test]
fn who_is_revoked_is_served_for_two_seconds_and_no_longer() {
    let revoke = at(0, 10, What::Revoke { client: "a".into(), outcome: Outcome::Done });
    let used = |from, outcome| at(from, from + 5, What::Use { client: "a".into(), outcome });
    assert_eq!(violations(&[revoke.clone(), used(1_900, Outcome::Done), used(3_000, Outcome::Refused)]).len(), 0);
    assert!(violations(&[revoke, used(2_011, Outcome::Done)])[0].contains("was served"));
}

fn grant(lease: &str, after: Option<&str>, number: u64) -> What {
    let (lease, after) = (Some(lease.into()), after.map(str::to_owned));
    What::Grant { client: "a".into(), outcome: Outcome::Done, lease, after, number }
}

fn commit(lease: &str, snapshot: &str, outcome: Outcome) -> What {
    What::Commit { client: "a".into(), lease: lease.into(), snapshot: snapshot.into(), outcome }
}

fn listed(snapshots: &[&str]) -> What {
    What::Listed { client: "a".into(), snapshots: snapshots.iter().map(|id| (*id).into()).collect() }
}

#[test]
fn leases_and_snapshots_have_one_order() {
    let first = [at(0, 1, grant("l1", None, 1)), at(2, 9, commit("l1", "s1", Outcome::Done))];
    let told = |more: &[Event]| violations(&[&first[..], more].concat());
    // During the commit either is right; after it only one is.
    assert_eq!(told(&[at(3, 4, listed(&[])), at(5, 6, listed(&["s1"]))]), Vec::<String>::new());
    assert_eq!(told(&[at(3, 4, listed(&["s1"])), at(5, 6, listed(&[]))]).len(), 1);
    assert_eq!(told(&[at(10, 11, grant("l2", None, 1))]).len(), 1, "it forgets the snapshot");
    assert_eq!(told(&[at(10, 11, grant("l2", Some("s1"), 2))]), Vec::<String>::new());
    assert_eq!(told(&[at(10, 11, commit("l1", "s2", Outcome::Done))]).len(), 1, "the lease has ended");
    // Nobody knows what became of it: both are right, but not one after the other.
    let unclear = [at(10, 11, grant("l2", Some("s1"), 2)), at(12, 13, commit("l2", "s2", Outcome::Unclear))];
    let told = |more: &[Event]| told(&[&unclear[..], more].concat());
    assert_eq!(told(&[at(20, 21, listed(&["s1"])), at(30, 31, listed(&["s1", "s2"]))]), Vec::<String>::new());
    assert_eq!(told(&[at(20, 21, listed(&["s1", "s2"])), at(30, 31, listed(&["s1"]))]).len(), 1);
}

#[test]
fn a_lease_that_was_given_back_makes_no_snapshot() {
    let close = What::Close { client: "a".into(), lease: "l1".into(), outcome: Outcome::Done };
    let history = [at(0, 1, grant("l1", None, 1)), at(2, 3, close), at(4, 5, commit("l1", "s1", Outcome::Done))];
    assert!(violations(&history)[0].contains("not linearizable"));
}

#[test]
fn the_roster_that_is_seen_is_the_newest() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let change = |number, who: &[&str], outcome| What::Roster { number, members: names(who), outcome };
    let seen = |number, who: &[&str]| What::RosterSeen { number, members: names(who) };
    let to_two = at(0, 5, change(2, &["o0", "o1"], Outcome::Done));
    assert_eq!(violations(&[to_two.clone(), at(6, 7, seen(2, &["o0", "o1"]))]), Vec::<String>::new());
    assert_eq!(violations(&[to_two.clone(), at(6, 7, seen(1, &["o0"]))]).len(), 1);
    let unclear = at(8, 9, change(0, &["o0"], Outcome::Unclear));
    for (number, who) in [(2, &["o0", "o1"][..]), (3, &["o0"])] {
        assert_eq!(violations(&[to_two.clone(), unclear.clone(), at(20, 21, seen(number, who))]), Vec::<String>::new());
    }
}

#[test]
fn a_token_that_is_void_refuses_and_lets_nobody_in() {
    let token = at(0, 1, What::Token { token: "t".into(), uses: 2, outcome: Outcome::Done });
    let void = at(2, 3, What::Void { token: "t".into(), outcome: Outcome::Done });
    assert_eq!(violations(&[token.clone(), void.clone(), at(4, 5, join("a", Outcome::Refused))]), Vec::<String>::new());
    assert!(!violations(&[token.clone(), void, at(4, 5, join("a", Outcome::Done))]).is_empty());
    assert!(!violations(&[token, at(4, 5, join("a", Outcome::Refused))]).is_empty());
}

#[test]
fn who_joined_and_was_revoked_may_be_refused_its_token_and_nobody_else_may() {
    let token = at(0, 1, What::Token { token: "t".into(), uses: 2, outcome: Outcome::Done });
    let joined = at(2, 3, join("a", Outcome::Done));
    let revoke = at(4, 5, What::Revoke { client: "client of a".into(), outcome: Outcome::Done });
    let story = |who, revoked_at: &[Event]| {
        let asked = [token.clone(), joined.clone()].into_iter().chain(revoked_at.iter().cloned());
        violations(&asked.chain([at(6, 7, join(who, Outcome::Refused))]).collect::<Vec<Event>>())
    };
    assert_eq!(story("a", std::slice::from_ref(&revoke)), Vec::<String>::new());
    assert!(!story("a", &[]).is_empty());
    assert!(!story("b", &[revoke]).is_empty());
}

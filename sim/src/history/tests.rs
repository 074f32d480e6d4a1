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

//! The simulator as its users run it: the program, its exit codes, and above all
//! that a seed is a run.

use std::process::{Command, Output};

#[expect(clippy::expect_used, reason = "a program that does not start fails every test here")]
fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The main job: three orchestrators and a client of the real actor system join,
/// back up, lose an orchestrator, and restore.
#[test]
fn a_simulated_backup_and_restore_is_the_same_twice() {
    let output = sim(&["meta", "--seeds", "2", "--scenario", "cluster"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("2 seeds, 0 failed"), "{}", text(&output.stdout));
    let trace = sim(&["replay", "1", "--scenario", "cluster", "--trace", "-"]);
    let trace = text(&trace.stdout);
    for what in ["backup 4: ", "fault ", "storage > Put", "failovers "] {
        assert!(trace.contains(what), "no line of the trace says {what:?}");
    }
}

#[test]
fn the_same_seed_twice_writes_the_same_trace() {
    let output = sim(&["meta", "--seeds", "3", "--from", "11", "--scenario", "network"]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("3 seeds, 0 failed"), "{}", text(&output.stdout));
}

#[test]
fn a_run_is_told_as_a_timeline_and_many_as_a_table() {
    let told = text(&sim(&["explain", "1", "--scenario", "network"]).stdout);
    assert!(told.contains("FAULT 0: ") && told.contains(" s  server0 ") && !told.contains(" packet "), "{told}");
    // Two seeds in a row play two scenarios.
    let said = text(&sim(&["run", "--seeds", "2", "--from", "1"]).stdout);
    for part in ["joins", "roster", "paths taken", "2 seeds, 0 failed"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn traces_of_different_seeds_differ_and_hold_what_happened() {
    let trace = |seed| {
        let output = sim(&["replay", seed, "--scenario", "network", "--trace", "-"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let (one, other) = (trace("1"), trace("2"));
    let packets = |trace: &str| -> Vec<String> {
        trace.lines().filter(|line| line.contains(" packet ")).map(str::to_owned).collect()
    };
    assert!(packets(&one).len() > 1000, "only {} packets", packets(&one).len());
    assert_ne!(packets(&one), packets(&other));
    assert_ne!(one.lines().next(), other.lines().next(), "hashers have the same keys under two seeds");
    for what in ["fault ", "disk sync ", "storage < Put", "storage > Put", "was promised"] {
        assert!(one.contains(what), "no line of the trace says {what:?}");
    }
}

#[test]
fn what_must_hold_holds_for_some_seeds() {
    let output = sim(&["run", "--seeds", "5", "--from", "100", "--scenario", "network"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn the_checks_see_disks_that_lose_what_they_synced() {
    let output = sim(&["run", "--seeds", "3", "--scenario", "lying-disks"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("3 seeds, 3 failed")
            && said.contains(" replay 1 --scenario lying-disks")
            && said.contains(" shrink 1 "),
        "{said}"
    );
}

/// Runs in which the product once did something wrong, with what that was.
const REGRESSIONS: &[(&str, &str, &str)] = &[
    (
        "cluster",
        "22110",
        "an orchestrator that was away when a storage was added refused that storage's clients for good",
    ),
    ("leases", "50022", "a token that only an orchestrator knew that was cut off was refused for good"),
    (
        "interruptions",
        "303885",
        "a backup that was taken over before it had its lease took the lease of the one that took over",
    ),
    ("minority", "301576", "an orchestrator that is sent the ledger as a snapshot may have no log beside it"),
    ("joins", "5003851", "an orchestrator whose disk was full for a while refused new tokens for good"),
    ("cluster", "6000375", "entries under way to an orchestrator with an empty log are no success yet"),
    ("split", "5004245", "over a link on which entries take longer than a heartbeat, none ever arrived"),
    ("joins", "8002951", "an orchestrator that was stopped in the middle of a proposal never ended"),
    (
        "rebuilds",
        "175",
        "after a rebuild, chunks of another client's packs were taken for lost until their segments were published again",
    ),
    ("cluster", "22011", "one that is away while the cluster is made: making it again goes on from where it was"),
];

#[test]
fn what_failed_once_does_not_fail_again() {
    for (scenario, seed, wrong) in REGRESSIONS {
        let output = sim(&["replay", seed, "--scenario", scenario]);
        assert!(output.status.success(), "{wrong}: {}", text(&output.stderr));
    }
}

#[test]
fn wrong_usage_exits_with_two_and_says_why() {
    let unknown = sim(&["run", "--seeds", "1", "--scenario", "nonsense"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown.stderr).contains("there are: ") && text(&unknown.stderr).contains("network"),
        "{}",
        text(&unknown.stderr)
    );
    assert_eq!(sim(&["run"]).status.code(), Some(2));
    assert_eq!(sim(&["run", "--seeds", "0"]).status.code(), Some(2));
}

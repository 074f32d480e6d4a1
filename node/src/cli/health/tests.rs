use actors::operator::Roster;
use protocol::{
    failure::Failure,
    ids::{ClusterId, Hash, SealingKey},
    levels::Levels,
    records::{Keyset, Payload, Record, RecordBody},
    sign::Signer,
    time::UnixMillis,
    wire::{PeerStatus, Unreachable},
};

use super::*;

const NOW: u64 = 1_700_000_000_000;

fn orchestrator(number: u8) -> Orchestrator {
    Orchestrator {
        name: format!("o{number}"),
        key: Signer::from_seed(&[number; 32]).public(),
        sealing: SealingKey([number; 32]),
        voter: number.into(),
        address: format!("10.0.0.{number}:7300"),
    }
}

/// Three that are well.
fn well() -> Roster {
    let orchestrators: Vec<Orchestrator> = (1..=3).map(orchestrator).collect();
    let root = Signer::from_seed(&[99; 32]);
    let keyset = Keyset { name: "c".into(), admins: vec![], orchestrators: orchestrators.clone() };
    let cluster = ClusterId::of_root(&root.public());
    let record = Record::sign(&root, RecordBody { cluster, version: 4, payload: Payload::Keyset(keyset.clone()) });
    let status = |node: &Orchestrator| NodeStatus {
        node: node.id(),
        keyset: 4,
        leader: Some(1),
        term: 2,
        applied: 1000,
        decided: UnixMillis(NOW),
        clock: UnixMillis(NOW),
        records: Hash([1; 32]),
        records_count: 9,
        peers: orchestrators
            .iter()
            .map(|peer| PeerStatus {
                node: peer.id(),
                name: peer.name.clone(),
                address: peer.address.clone(),
                alive: true,
                voter: true,
            })
            .collect(),
        clients_connected: 0,
        client_bytes_received: 0,
        voters: orchestrators.iter().map(Orchestrator::id).collect(),
        leases_overdue: 0,
        tokens_overused: 0,
        segments_waiting: 0,
        objects_condemned: 0,
    };
    let nodes = orchestrators.iter().map(|node| (node.clone(), Ok(status(node)))).collect();
    Roster { record, keyset, nodes }
}

fn change(change: impl Fn(usize, &mut NodeStatus)) -> Findings {
    let mut roster = well();
    for (place, (_, status)) in roster.nodes.iter_mut().enumerate() {
        change(place, status.as_mut().unwrap());
    }
    look(&roster, &answers(&roster))
}

fn without(silent: &[usize]) -> Findings {
    let mut roster = well();
    silent.iter().for_each(|place| roster.nodes[*place].1 = Err(Failure::retry("cannot reach it: no answer")));
    look(&roster, &answers(&roster))
}

/// What all who answer say of themselves, if they are well.
fn answers(roster: &Roster) -> Answers {
    let disk = DiskRoom { place: "/var/lib/nuthatch".into(), free: 20 << 30, total: 40 << 30 };
    let examination = Examination { disk: Some(disk), unreachable: vec![] };
    Answers {
        inspections: inspections(roster),
        speeches: speeches(roster),
        examinations: roster.nodes.iter().map(|(_, status)| status.clone().map(|_| examination.clone())).collect(),
    }
}

/// What is found if these examinations say otherwise.
fn examine(change: impl Fn(usize, &mut Examination)) -> Findings {
    let roster = well();
    let mut answers = answers(&roster);
    for (place, seen) in answers.examinations.iter_mut().enumerate() {
        change(place, seen.as_mut().unwrap());
    }
    look(&roster, &answers)
}

#[test]
fn a_disk_that_is_about_to_be_full_is_told() {
    let room = |free: u64, total: u64| {
        examine(move |place, seen| {
            let disk = seen.disk.as_mut().unwrap();
            (disk.free, disk.total) = if place == 1 { (free, total) } else { (disk.free, disk.total) };
        })
    };
    warns(&room(100 << 20, 40 << 30), &["o2 has 105 MB left of 42.9 GB", "/var/lib/nuthatch", "make room"]);
    warns(&room(0, 1 << 20), &["o2 has 0 B left", "make room"]);
    assert_eq!(room(600 << 20, 400 << 30), Findings::default());
    assert_eq!(room(100 << 20, 256 << 20), Findings::default(), "a small disk that is not full");
}

#[test]
fn a_storage_that_orchestrators_do_not_reach_is_told_once() {
    let cut_off = |whom: &'static [usize]| {
        examine(move |place, seen| {
            if whom.contains(&place) {
                seen.unreachable.push(Unreachable { storage: "main".into(), why: "connection refused".into() });
            }
        })
    };
    warns(&cut_off(&[1]), &["storage main is not reached from o2 (connection refused)", "check the network there"]);
    warns(&cut_off(&[0, 1, 2]), &["No orchestrator reaches the storage main (connection refused)", "--adopt"]);
}

#[test]
fn older_programs_that_do_not_tell_are_no_finding() {
    let roster = well();
    let unknown = || Err(Failure::invalid("this program does not know call 33"));
    let answers = Answers { examinations: (0..3).map(|_| unknown()).collect(), ..answers(&roster) };
    assert_eq!(look(&roster, &answers), Findings::default());
}

fn inspections(roster: &Roster) -> Vec<Result<Inspection, Failure>> {
    let backup = BackupStatus { at: Some(UnixMillis(NOW)), applied: 1000, ..BackupStatus::default() };
    let inspect = |(node, status): &(Orchestrator, Result<NodeStatus, Failure>)| {
        status.clone().map(|_| Inspection {
            agent: "nuthatch/1".into(),
            voter: node.voter,
            seat: Seat::Open,
            why: String::new(),
            incarnation: 1,
            importing: false,
            backup: (node.voter == 1).then(|| backup.clone()),
        })
    };
    roster.nodes.iter().map(inspect).collect()
}

/// All who answer speak the level of the log, and no more.
fn speeches(roster: &Roster) -> Vec<Result<Speech, Failure>> {
    let speech = Speech { levels: Levels { first: 1, last: 2 }, active: Some(2), statement: None };
    roster.nodes.iter().map(|(_, status)| status.clone().map(|_| speech.clone())).collect()
}

/// What is found if the log is at a level, and the programs speak up to these; 0 is silent.
fn speaking(active: u8, last: [u8; 3]) -> Findings {
    let roster = well();
    let speech = |last| match last {
        0 => Err(Failure::retry("no answer")),
        last => Ok(Speech { levels: Levels { first: 1, last }, active: Some(active), statement: None }),
    };
    look(&roster, &Answers { speeches: last.map(speech).into(), ..answers(&roster) })
}

#[test]
fn who_holds_an_upgrade_back_is_named() {
    assert_eq!(speaking(1, [1, 1, 1]), Findings::default());
    assert_eq!(speaking(1, [2, 2, 2]), Findings::default(), "it is about to rise");
    assert_eq!(speaking(2, [2, 2, 0]), Findings::default(), "nothing waits for the silent one");
    warns(&speaking(1, [2, 1, 2]), &["stays at level 1", "speak level 2", "o2 is not up to date"]);
    warns(&speaking(1, [2, 2, 0]), &["stays at level 1", "o3 does not answer"]);
    warns(&speaking(2, [2, 2, 1]), &["o3 cannot take part", "at level 2", "speaks level 1", "newer program"]);
}

/// What is found if one gives no status, and says this of itself; or the first, if none.
fn inspect(silent: &[usize], change: impl Fn(&mut Inspection)) -> Findings {
    let mut roster = well();
    let mut answers = answers(&roster);
    silent.iter().for_each(|place| roster.nodes[*place].1 = Err(Failure::retry("it is not ready")));
    change(answers.inspections[silent.first().copied().unwrap_or(0)].as_mut().unwrap());
    look(&roster, &answers)
}

#[test]
fn what_a_node_finds_wrong_with_itself_is_said() {
    let unfit = inspect(&[2], |seen| {
        (seen.seat, seen.why) = (Seat::Unfit, "its files are copies: add it again with --replace NAME".into());
    });
    warns(&unfit, &["o3 runs and does not take part", "copies", "--replace o3"]);
    assert!(!unfit.passing);
    warns(&inspect(&[2], |seen| seen.seat = Seat::Waiting), &["o3 runs", "empty disk", "--replace o3"]);
    warns(&inspect(&[2], |seen| seen.seat = Seat::Removed), &["o3 believes that it was removed"]);
    let trouble = |seen: &mut Inspection| seen.backup.as_mut().unwrap().trouble = Some("s3: no answer".into());
    warns(
        &inspect(&[], trouble),
        &["could not be backed up", "s3: no answer", "last backup is of 2023-11-14", "storage add --adopt"],
    );
    warns(
        &inspect(&[], |seen| seen.agent = "nuthatch/0".into()),
        &["nuthatch/0 and nuthatch/1", "bring o1 up to date"],
    );
    let importing = inspect(&[], |seen| seen.importing = true);
    assert!(importing.problems[0].contains("being rebuilt") && importing.passing, "{importing:?}");
}

#[track_caller]
fn warns(findings: &Findings, words: &[&str]) {
    assert!(findings.problems.is_empty(), "{findings:?}");
    assert_eq!(findings.warnings.len(), 1, "{findings:?}");
    words.iter().for_each(|word| assert!(findings.warnings[0].contains(word), "{word:?}: {findings:?}"));
}

#[test]
fn a_cluster_that_is_well_has_nothing_to_say() {
    assert_eq!(inspect(&[], |_| ()), Findings::default());
}

#[test]
fn one_that_is_silent_is_named_and_two_are_a_problem() {
    warns(&without(&[2]), &["o3 does not answer", "no answer", "--replace o3"]);
    let two = without(&[1, 2]);
    assert_eq!((two.problems.len(), two.warnings.len(), two.passing), (1, 2, false));
    assert!(two.problems[0].contains("1 of 3") && two.problems[0].contains("until 1 more"), "{two:?}");
}

#[test]
fn without_a_leader_nothing_is_decided() {
    let none = change(|place, status| status.leader = (place == 1).then_some(1));
    assert_eq!(none.problems.len(), 1, "{none:?}");
    assert!(none.passing && none.problems[0].contains("who leads"));
    // One of three that is late does not matter.
    assert_eq!(change(|place, status| status.leader = (place != 1).then_some(1)), Findings::default());
}

#[test]
fn what_differs_is_said() {
    warns(&change(|place, status| status.clock.0 += 90_000 * (place == 2) as u64), &["1 min 30 s", "o3", "NTP"]);
    warns(&change(|place, status| status.records.0[0] += (place == 0) as u8), &["records differ"]);
    warns(&change(|place, status| status.applied -= 900 * (place == 1) as u64), &["o2 is 900 decisions behind"]);
    warns(&change(|place, status| status.keyset -= (place == 1) as u64), &["o2 knows keyset 3"]);
    warns(&change(|place, status| status.peers[2].alive = place != 0), &["o1 does not hear o3"]);
    warns(&change(|_, status| status.tokens_overused = 1), &["stolen", "token list"]);
    warns(&change(|_, status| status.leases_overdue = 2), &["2 leases"]);
    warns(&change(|_, status| status.objects_condemned = 3), &["3 objects", "verify"]);
    warns(&change(|_, status| _ = status.voters.pop()), &["o3 does not vote yet"]);
    warns(&change(|_, status| status.voters.push(orchestrator(9).id())), &["1 orchestrator", "still vote"]);
}

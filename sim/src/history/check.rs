//! The promises, as checks of a whole history.
//!
//! Invariant: an answer that was unclear is counted for whichever outcome breaks no
//! promise, so what is reported was broken whatever happened behind unclear answers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, NEVER_MS, Outcome, What, is_refused_as_revoked, models};

/// A revoked client gets nothing done that it began so long after the revocation.
const CUT_MS: u64 = 2_000;

/// All that does not hold, each with the invariant it breaks.
pub fn violations(history: &[Event]) -> Vec<String> {
    let mut found = Vec::new();
    invariant_tokens_are_used_up(history, &mut found);
    invariant_enrollments_stay(history, &mut found);
    invariant_snapshots_stay_in_order(history, &mut found);
    invariant_restores_are_what_was_backed_up(history, &mut found);
    invariant_the_revoked_stay_out(history, &mut found);
    invariant_replicas_agree(history, &mut found);
    invariant_policies_never_go_back(history, &mut found);
    invariant_acts_are_audited(history, &mut found);
    models::invariant_tokens_are_linearizable(history, &mut found);
    models::invariant_leases_are_linearizable(history, &mut found);
    models::invariant_rosters_are_linearizable(history, &mut found);
    invariant_calm_means_everything_works(history, &mut found);
    found
}

/// I4: no more machines join than a token has uses; and who was refused came when all
/// uses may have been taken.
fn invariant_tokens_are_used_up(history: &[Event], found: &mut Vec<String>) {
    for event in history {
        let What::Token { token, uses, .. } = &event.what else { continue };
        let tries: Vec<(&Event, &String, Outcome)> = history
            .iter()
            .filter_map(|event| match &event.what {
                What::Join { machine, token: with, outcome, .. } if with == token => Some((event, machine, *outcome)),
                _ => None,
            })
            .collect();
        let joined: BTreeSet<&String> =
            tries.iter().filter(|(.., outcome)| *outcome == Outcome::Done).map(|(_, machine, _)| *machine).collect();
        if joined.len() > *uses as usize {
            found.push(format!("I4: {} machines joined with {token}, which has {uses} uses", joined.len()));
        }
        for (refusal, machine, _) in tries.iter().filter(|(.., outcome)| *outcome == Outcome::Refused) {
            if is_refused_as_revoked(history, refusal) {
                continue;
            }
            let may_be_void = history.iter().any(|event| {
                event.from_ms <= refusal.to_ms
                    && matches!(&event.what, What::Void { token: which, outcome } if which == token && *outcome != Outcome::Refused)
            });
            if may_be_void {
                continue;
            }
            // Whoever may have taken a use before this was answered.
            let before: BTreeSet<&String> = tries
                .iter()
                .filter(|(try_, other, outcome)| {
                    *outcome != Outcome::Refused && other != machine && try_.from_ms <= refusal.to_ms
                })
                .map(|(_, other, _)| *other)
                .collect();
            if before.len() < *uses as usize {
                found.push(format!(
                    "I4: {machine} was refused at {} ms, when at most {} of {uses} uses of {token} were taken",
                    refusal.to_ms,
                    before.len()
                ));
            }
        }
    }
}

/// I3: who was told that it joined is listed in the end, and nobody is listed who never asked.
fn invariant_enrollments_stay(history: &[Event], found: &mut Vec<String>) {
    let Some((looked, listed)) = history.iter().rev().find_map(|event| match &event.what {
        What::Clients { clients } => Some((event, clients)),
        _ => None,
    }) else {
        return;
    };
    let (mut asked, mut distinct) = (BTreeSet::new(), BTreeMap::new());
    for event in history {
        let What::Join { machine, outcome, client, .. } = &event.what else { continue };
        if *outcome != Outcome::Refused {
            asked.insert(machine);
        }
        let Some(client) = client else { continue };
        let was_before = event.to_ms <= looked.from_ms;
        if *outcome == Outcome::Done && was_before && !listed.contains(client) {
            found.push(format!("I3: {machine} was told that it joined as {client}, and is gone"));
        }
        if let Some(other) = distinct.insert(client, machine).filter(|other| *other != machine) {
            found.push(format!("I4: {other} and {machine} both joined as {client}"));
        }
    }
    if listed.len() > asked.len() {
        found.push(format!("I4: {} clients are listed, but only {} machines asked to join", listed.len(), asked.len()));
    }
}

/// I3: a snapshot that was acknowledged is listed in the end, after each that was
/// acknowledged before it was asked for.
fn invariant_snapshots_stay_in_order(history: &[Event], found: &mut Vec<String>) {
    let mut lists: BTreeMap<&String, (&Event, &Vec<String>)> = BTreeMap::new();
    for event in history {
        if let What::Snapshots { client, snapshots } = &event.what {
            lists.insert(client, (event, snapshots));
        }
    }
    for (client, (looked, list)) in lists {
        let mut made: Vec<(&Event, &String)> = history
            .iter()
            .filter_map(|event| match &event.what {
                What::Backup { client: whose, outcome: Outcome::Done, snapshot: Some(snapshot), .. }
                    if whose == client && event.to_ms <= looked.from_ms =>
                {
                    Some((event, snapshot))
                }
                _ => None,
            })
            .collect();
        made.sort_by_key(|(event, _)| event.to_ms);
        let place = |snapshot: &String| list.iter().position(|listed| listed == snapshot);
        for (event, snapshot) in &made {
            let Some(at) = place(snapshot) else {
                found.push(format!("I3: snapshot {snapshot} of {client} was acknowledged, and is gone"));
                continue;
            };
            let earlier = made.iter().filter(|(before, _)| before.to_ms < event.from_ms);
            for (_, other) in earlier.filter(|(_, other)| place(other).is_some_and(|other| other >= at)) {
                found.push(format!("I3: snapshot {snapshot} of {client} is listed before {other}, which is older"));
            }
        }
        let asked =
            history.iter().filter(|event| matches!(&event.what, What::Backup { client: whose, .. } if whose == client));
        if asked.clone().next().is_some() && list.len() > asked.clone().count() {
            found.push(format!(
                "{client} has {} complete snapshots, but backed up {} times",
                list.len(),
                asked.count()
            ));
        }
    }
}

/// I8, I11: what comes back is what went in. A snapshot of which its client was never told
/// is one of those that it does not know to have failed.
fn invariant_restores_are_what_was_backed_up(history: &[Event], found: &mut Vec<String>) {
    let (mut contents, mut unclear) = (BTreeMap::new(), BTreeSet::new());
    for event in history {
        match &event.what {
            What::Backup { snapshot: Some(snapshot), digest, .. } => _ = contents.insert(snapshot, digest),
            What::Backup { client, outcome: Outcome::Unclear, digest, .. } => _ = unclear.insert((client, digest)),
            What::Restore { client, snapshot, outcome: Outcome::Done, digest } => match contents.get(snapshot) {
                Some(before) if *before == digest => {}
                Some(_) => found.push(format!("I11: {client} restored {snapshot}, and it is not what was backed up")),
                None if unclear.contains(&(client, digest)) => {}
                None => found.push(format!("I11: {client} restored {snapshot}, which nobody made")),
            },
            _ => {}
        }
    }
}

/// A revocation is terminal, and reaches everyone within two seconds.
fn invariant_the_revoked_stay_out(history: &[Event], found: &mut Vec<String>) {
    for event in history {
        let What::Revoke { client, outcome: Outcome::Done } = &event.what else { continue };
        for later in history.iter().filter(|later| later.from_ms > event.to_ms + CUT_MS) {
            let did = match &later.what {
                What::Backup { client: who, outcome: Outcome::Done, .. } if who == client => "backed up",
                What::Restore { client: who, outcome: Outcome::Done, .. } if who == client => "restored",
                What::Join { client: Some(who), outcome: Outcome::Done, .. } if who == client => "joined again",
                What::Use { client: who, outcome: Outcome::Done } if who == client => "was served",
                What::Grant { client: who, outcome: Outcome::Done, .. } if who == client => "was granted a lease",
                What::Commit { client: who, outcome: Outcome::Done, .. } if who == client => "made a snapshot",
                _ => continue,
            };
            found.push(format!("{client} {did} at {} ms, though it was revoked at {} ms", later.from_ms, event.to_ms));
        }
    }
}

/// I2: in the end all orchestrators hold the same.
fn invariant_replicas_agree(history: &[Event], found: &mut Vec<String>) {
    let mut replicas = history.iter().filter_map(|event| match &event.what {
        What::Replica { node, records, applied } => Some((node, records, applied)),
        _ => None,
    });
    let Some((first, records, applied)) = replicas.next() else { return };
    for (node, other_records, other_applied) in replicas {
        if other_records != records {
            found.push(format!("I2: the records of {first} and {node} differ"));
        }
        if other_applied != applied {
            found.push(format!("{first} has applied {applied}, and {node} {other_applied}"));
        }
    }
}

/// I1: who has gone by a version of a policy goes by no older one.
fn invariant_policies_never_go_back(history: &[Event], found: &mut Vec<String>) {
    let mut newest: BTreeMap<(&String, &String), u64> = BTreeMap::new();
    for event in history {
        let What::GoesBy { who, policy, version } = &event.what else { continue };
        let floor = newest.entry((who, policy)).or_default();
        if version < floor {
            found.push(format!("I1: {who} went by version {floor} of {policy}, and goes by {version}"));
        }
        *floor = (*floor).max(*version);
    }
}

/// What was signed and taken stands in the audit trail, and stays there.
fn invariant_acts_are_audited(history: &[Event], found: &mut Vec<String>) {
    let mut trails = history.iter().filter_map(|event| match &event.what {
        What::Audit { entries } => Some((event, entries)),
        _ => None,
    });
    let Some((mut looked, mut last)) = trails.next() else { return };
    for (event, entries) in trails {
        if event.from_ms > looked.to_ms && !entries.starts_with(last) {
            found.push(format!("the audit trail of {} ms is another at {} ms", looked.to_ms, event.to_ms));
        }
        (looked, last) = (event, entries);
    }
    for event in history.iter().filter(|event| event.to_ms < looked.from_ms) {
        let What::Act { subject, version, outcome: Outcome::Done } = &event.what else { continue };
        if !last.iter().any(|(about, number)| (about, number) == (subject, version)) {
            let at = event.to_ms;
            found.push(format!("version {version} of {subject} was taken at {at} ms, and the audit trail lacks it"));
        }
    }
}

/// Once the faults are over, what is asked for is done or refused for a reason.
fn invariant_calm_means_everything_works(history: &[Event], found: &mut Vec<String>) {
    let Some(calm) = history.iter().find(|event| event.what == What::Calm) else { return };
    // What was still under way when the run ended is not judged.
    let asked = history.iter().filter(|event| event.from_ms >= calm.to_ms && event.to_ms != NEVER_MS);
    for event in asked {
        let revoked = |client: &String| {
            history.iter().any(|other| matches!(&other.what, What::Revoke { client: who, .. } if who == client))
        };
        match &event.what {
            What::Backup { client, outcome, .. } | What::Restore { client, outcome, .. }
                if *outcome != Outcome::Done && !revoked(client) && !has_company(history, event) =>
            {
                found.push(format!("after all faults were over, at {} ms: {:?}", event.from_ms, event.what));
            }
            What::Token { outcome, .. } | What::Join { outcome, .. } if *outcome == Outcome::Unclear => {
                found.push(format!("after all faults were over, at {} ms: {:?}", event.from_ms, event.what));
            }
            _ => {}
        }
    }
}

/// Whether another backup of the same client was under way: one may make way for the other.
fn has_company(history: &[Event], backup: &Event) -> bool {
    let What::Backup { client, .. } = &backup.what else { return false };
    history.iter().any(|other| {
        *other != *backup
            && matches!(&other.what, What::Backup { client: whose, .. } if whose == client)
            && other.from_ms <= backup.to_ms
            && backup.from_ms <= other.to_ms
    })
}

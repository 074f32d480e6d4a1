//! The promises, as checks of a whole history.
//!
//! Invariant: an answer that was unclear is counted for whichever outcome breaks no
//! promise, so what is reported was broken whatever happened behind unclear answers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Event, Outcome, What};

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
    let Some(listed) = history.iter().rev().find_map(|event| match &event.what {
        What::Clients { clients } => Some(clients),
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
        if *outcome == Outcome::Done && !listed.contains(client) {
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
    let mut lists: BTreeMap<&String, &Vec<String>> = BTreeMap::new();
    for event in history {
        if let What::Snapshots { client, snapshots } = &event.what {
            lists.insert(client, snapshots);
        }
    }
    for (client, list) in lists {
        let mut made: Vec<(&Event, &String)> = history
            .iter()
            .filter_map(|event| match &event.what {
                What::Backup { client: whose, outcome: Outcome::Done, snapshot: Some(snapshot), .. }
                    if whose == client =>
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
        if list.len() > asked.clone().count() {
            found.push(format!(
                "{client} has {} complete snapshots, but backed up {} times",
                list.len(),
                asked.count()
            ));
        }
    }
}

/// I8, I11: what comes back is what went in.
fn invariant_restores_are_what_was_backed_up(history: &[Event], found: &mut Vec<String>) {
    let mut contents = BTreeMap::new();
    for event in history {
        match &event.what {
            What::Backup { snapshot: Some(snapshot), digest, .. } => _ = contents.insert(snapshot, digest),
            What::Restore { client, snapshot, outcome: Outcome::Done, digest } => match contents.get(snapshot) {
                Some(before) if *before == digest => {}
                Some(_) => found.push(format!("I11: {client} restored {snapshot}, and it is not what was backed up")),
                None => found.push(format!("{client} restored {snapshot}, which nobody made")),
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

/// Once the faults are over, what is asked for is done or refused for a reason.
fn invariant_calm_means_everything_works(history: &[Event], found: &mut Vec<String>) {
    let Some(calm) = history.iter().find(|event| event.what == What::Calm) else { return };
    for event in history.iter().filter(|event| event.from_ms >= calm.to_ms) {
        let revoked = |client: &String| {
            history.iter().any(|other| matches!(&other.what, What::Revoke { client: who, .. } if who == client))
        };
        match &event.what {
            What::Backup { client, outcome, .. } | What::Restore { client, outcome, .. }
                if *outcome != Outcome::Done && !revoked(client) =>
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

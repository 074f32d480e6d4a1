//! What is wrong with a cluster, and what to do about it.
//!
//! Invariant: a problem means that nothing can be decided now; everything else is a
//! warning.

use std::collections::BTreeMap;

use actors::operator::Roster;
use protocol::{
    failure::Failure,
    ids::NodeId,
    records::Orchestrator,
    wire::{BackupStatus, DiskRoom, Examination, Inspection, NodeStatus, Seat, Speech},
};

use super::{human, text};

/// Clocks that are further apart than this are wrong, in milliseconds: tickets are
/// refused at 15 minutes.
const CLOCKS_APART_MS_MAX: u64 = 60_000;
/// Entries of the log by which one may lag behind the first without being slow.
const LAG_ENTRIES_MAX: u64 = 200;
/// An orchestrator with less room than this has little, in bytes; or with less than a tenth
/// of a small disk.
const ROOM_BYTES_MIN: u64 = 512 << 20;

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why nothing can be decided.
    pub problems: Vec<String>,
    /// What else is not as it should be.
    pub warnings: Vec<String>,
    /// Whether some of it may be over in a moment: an election, records on their way.
    pub passing: bool,
}

/// What the orchestrators of a roster said, each of itself; all in the roster's order.
pub struct Answers {
    /// How it is.
    pub inspections: Vec<Result<Inspection, Failure>>,
    /// What its program speaks.
    pub speeches: Vec<Result<Speech, Failure>>,
    /// What it works with. Older programs do not tell.
    pub examinations: Vec<Result<Examination, Failure>>,
}

/// Looks at what the orchestrators said of the cluster, and each of itself.
pub fn look(roster: &Roster, answers: &Answers) -> Findings {
    let Answers { inspections, speeches, examinations } = answers;
    let mut findings = Findings::default();
    silent(roster, inspections, &mut findings);
    majority(roster, &mut findings);
    membership(roster, &mut findings);
    agreement(roster, &mut findings);
    hearing(roster, &mut findings);
    chores(roster, &mut findings);
    backups(inspections, &mut findings);
    disks(roster, examinations, &mut findings);
    storages(roster, examinations, &mut findings);
    versions(roster, inspections, &mut findings);
    levels(roster, speeches, &mut findings);
    findings
}

/// How the ledger's backups are, as the leader tells.
pub fn backup(inspections: &[Result<Inspection, Failure>]) -> Option<&BackupStatus> {
    inspections.iter().find_map(|seen| seen.as_ref().ok()?.backup.as_ref())
}

/// Whether a node takes part, in a word.
pub fn seat(seat: Seat) -> &'static str {
    match seat {
        Seat::Open => "open",
        Seat::Waiting => "waiting",
        Seat::Removed => "removed",
        Seat::Unfit => "unfit",
    }
}

fn name(node: &Orchestrator) -> String {
    text::safe(&node.name).into_owned()
}

fn silent(roster: &Roster, inspections: &[Result<Inspection, Failure>], findings: &mut Findings) {
    for ((node, status), seen) in roster.nodes.iter().zip(inspections) {
        let Err(failure) = status else { continue };
        let (name, said, replace) = (name(node), text::safe(&failure.message), text::word(&node.name));
        let lost = format!("nuthatch orchestrator add NAME=HOST:PORT#KEY --replace {replace}");
        findings.warnings.push(match seen {
            Ok(seen) if seen.seat == Seat::Unfit => {
                let why = text::safe(&seen.why).replace("--replace NAME", &format!("--replace {replace}"));
                format!("{name} runs and does not take part: {why}.")
            }
            Ok(seen) if seen.seat == Seat::Waiting && !roster.keyset.orchestrators.is_empty() => {
                findings.passing = true;
                format!("{name} runs, and is starting, or has an empty disk. If that was lost: {lost}, with the key that it printed at its start.")
            }
            Ok(seen) if seen.seat == Seat::Removed => {
                format!("{name} believes that it was removed, and the roster names it: {lost}.")
            }
            _ => format!("{name} does not answer ({said}). Start it, or see its log. If its disk is lost: {lost}"),
        });
    }
}

/// The ledger's own backup: what is left if all orchestrators are lost.
fn backups(inspections: &[Result<Inspection, Failure>], findings: &mut Findings) {
    if inspections.iter().flatten().any(|seen| seen.importing) {
        findings.passing = true;
        findings.problems.push("The ledger is being rebuilt from its backup: run `nuthatch cluster rebuild` again if that was interrupted. Until then nothing is decided.".into());
        return;
    }
    let Some(backup) = backup(inspections) else { return };
    if let Some(trouble) = &backup.trouble {
        let last = match backup.at {
            Some(at) => format!("The last backup is of {}.", human::time(at)),
            None => "There is none that the leader knows of.".to_owned(),
        };
        findings.warnings.push(format!(
            "The ledger could not be backed up ({}). {last} It is tried again; until it works, what was decided since is lost if all orchestrators are. Look after the storage, or renew its credential with `nuthatch storage add --adopt`.",
            text::safe(trouble)
        ));
    }
}

/// Who has little room left.
fn disks(roster: &Roster, examinations: &[Result<Examination, Failure>], findings: &mut Findings) {
    let is_short = |disk: &&DiskRoom| disk.free < ROOM_BYTES_MIN.min(disk.total / 10);
    for ((node, _), seen) in roster.nodes.iter().zip(examinations) {
        let Some(disk) = seen.as_ref().ok().and_then(|seen| seen.disk.as_ref()).filter(is_short) else { continue };
        findings.warnings.push(format!(
            "{} has {} left of {} where its data lies ({}): make room there. Without any it stops taking part until there is.",
            name(node),
            human::bytes(disk.free),
            human::bytes(disk.total),
            text::safe(&disk.place)
        ));
    }
}

/// Which storages orchestrators cannot read from.
fn storages(roster: &Roster, examinations: &[Result<Examination, Failure>], findings: &mut Findings) {
    let mut cut_off: BTreeMap<&str, Vec<(String, &str)>> = BTreeMap::new();
    for ((node, _), seen) in roster.nodes.iter().zip(examinations) {
        for storage in seen.iter().flat_map(|seen| &seen.unreachable) {
            cut_off.entry(&storage.storage).or_default().push((name(node), &storage.why));
        }
    }
    let asked = examinations.iter().flatten().count();
    for (storage, whom) in cut_off {
        let (storage, why) = (text::safe(storage), text::safe(whom.first().map_or("", |(_, why)| why)));
        findings.warnings.push(if whom.len() == asked {
            format!(
                "No orchestrator reaches the storage {storage} ({why}). No backup to it is committed until one does: look after the storage, or renew its credential with `nuthatch storage add --adopt`."
            )
        } else {
            let names: Vec<&str> = whom.iter().map(|(name, _)| name.as_str()).collect();
            let names = names.join(", ");
            format!("The storage {storage} is not reached from {names} ({why}), but from others: check the network there.")
        });
    }
}

/// Programs of different versions.
fn versions(roster: &Roster, inspections: &[Result<Inspection, Failure>], findings: &mut Findings) {
    let mut agents: Vec<&str> = inspections.iter().flatten().map(|seen| seen.agent.as_str()).collect();
    agents.sort_unstable();
    agents.dedup();
    if let [first, .., last] = agents[..] {
        let old = roster.nodes.iter().zip(inspections);
        let old = old.filter(|(_, seen)| seen.as_ref().is_ok_and(|seen| seen.agent == first));
        let old: Vec<String> = old.map(|((node, _), _)| name(node)).collect();
        findings.warnings.push(format!(
            "The orchestrators run {} and {}: bring {} up to date, one after the other.",
            text::safe(first),
            text::safe(last),
            old.join(", ")
        ));
    }
}

/// The level of the log, as the one tells who has applied most of it.
pub fn level(speeches: &[Result<Speech, Failure>]) -> Option<u8> {
    speeches.iter().flatten().filter_map(|speech| speech.active).max()
}

/// Who cannot read the log, and who holds its next level back.
fn levels(roster: &Roster, speeches: &[Result<Speech, Failure>], findings: &mut Findings) {
    let Some(active) = level(speeches) else { return };
    let next = active.saturating_add(1);
    let (mut back, mut newer) = (Vec::new(), false);
    for ((node, _), speech) in roster.nodes.iter().zip(speeches) {
        match speech {
            Ok(speech) if !speech.levels.speaks(active) => findings.warnings.push(format!(
                "{} cannot take part: the log is at level {active}, and its program speaks {}. Start the newer program there.",
                name(node),
                speech.levels
            )),
            Ok(speech) if speech.levels.speaks(next) => newer = true,
            Ok(_) => back.push(format!("{} is not up to date", name(node))),
            Err(_) => back.push(format!("{} does not answer", name(node))),
        }
    }
    if newer && !back.is_empty() {
        findings.warnings.push(format!(
            "The log stays at level {active} until all programs speak level {next}: {}. What the newer program brings to all waits for that.",
            back.join(", ")
        ));
    }
}

fn majority(roster: &Roster, findings: &mut Findings) {
    let (voters, answering) = (roster.voters(), roster.answering());
    let there = voters.intersection(&answering).count();
    let needed = voters.len() / 2 + 1;
    if there < needed {
        let more = needed - there;
        findings.problems.push(format!(
            "{there} of {} orchestrators that vote answer, which is no majority: no backup can begin or be committed until {more} more of them run. Restores wait as well; nothing that is stored is lost.",
            voters.len()
        ));
        return;
    }
    let leads = |status: &NodeStatus| {
        roster.statuses().any(|(node, _)| status.leader == Some(node.voter) && voters.contains(&node.id()))
    };
    if roster.statuses().filter(|(_, status)| leads(status)).count() < needed {
        findings.passing = true;
        findings.problems.push(
            "No majority agrees on who leads the log. That takes a few seconds after a loss; if it stays so, the orchestrators do not reach each other: check the network between them (UDP).".into(),
        );
    }
}

fn membership(roster: &Roster, findings: &mut Findings) {
    let voters = roster.voters();
    for (node, _) in roster.statuses().filter(|(node, _)| !voters.contains(&node.id())) {
        findings.passing = true;
        findings.warnings.push(format!(
            "{} does not vote yet. It joins once it has caught up; if that takes long, see its log.",
            name(node)
        ));
    }
    let gone = voters.iter().filter(|voter| roster.keyset.orchestrators.iter().all(|node| node.id() != **voter));
    let gone = gone.count();
    if gone > 0 {
        findings.passing = true;
        findings.warnings.push(format!(
            "{} that the roster does not name any more still vote: the change is under way.",
            human::counted(gone as u64, "orchestrator")
        ));
    }
    for (node, status) in roster.statuses().filter(|(_, status)| status.keyset < roster.record.version()) {
        findings.passing = true;
        findings.warnings.push(format!(
            "{} knows keyset {} and not {} yet.",
            name(node),
            status.keyset,
            roster.record.version()
        ));
    }
}

fn agreement(roster: &Roster, findings: &mut Findings) {
    let clocks: Vec<u64> = roster.statuses().map(|(_, status)| status.clock.0).collect();
    if let (Some(low), Some(high)) = (clocks.iter().min(), clocks.iter().max())
        && high - low > CLOCKS_APART_MS_MAX
    {
        let mut middle = clocks.clone();
        middle.sort_unstable();
        let median = middle[middle.len() / 2];
        let off = roster.statuses().max_by_key(|(_, status)| status.clock.0.abs_diff(median));
        let whose = off.map(|(node, _)| format!(" ({} is furthest off)", name(node))).unwrap_or_default();
        findings.warnings.push(format!(
            "The orchestrators' clocks are {} apart{whose}: set them by NTP. Storages refuse tickets from a clock that is 15 minutes off.",
            human::seconds((high - low) as f64 / 1000.0)
        ));
    }
    let mut digests: Vec<_> = roster.statuses().map(|(_, status)| status.records).collect();
    digests.sort_unstable();
    digests.dedup();
    if digests.len() > 1 {
        findings.passing = true;
        findings.warnings.push(
            "The orchestrators' records differ. They exchange them within seconds; if it stays so, they do not reach each other.".into(),
        );
    }
    let first = roster.statuses().map(|(_, status)| status.applied).max().unwrap_or(0);
    for (node, status) in roster.statuses().filter(|(_, status)| status.applied + LAG_ENTRIES_MAX < first) {
        findings.passing = true;
        findings.warnings.push(format!(
            "{} is {} behind in the log: its disk or its network is slow, or it has just started.",
            name(node),
            human::counted(first - status.applied, "decision")
        ));
    }
}

/// Who answers us, but not the others.
fn hearing(roster: &Roster, findings: &mut Findings) {
    let answering = roster.answering();
    let of = |id: &NodeId| roster.keyset.orchestrators.iter().find(|node| node.id() == *id);
    for (node, status) in roster.statuses() {
        let deaf = status.peers.iter().filter(|peer| !peer.alive && answering.contains(&peer.node));
        for other in deaf.filter_map(|peer| of(&peer.node)) {
            findings.passing = true;
            findings.warnings.push(format!(
                "{} does not hear {}, though both answer here: check the network between them (UDP, port of {}).",
                name(node),
                name(other),
                other.address
            ));
        }
    }
}

fn chores(roster: &Roster, findings: &mut Findings) {
    let overused = roster.statuses().map(|(_, status)| status.tokens_overused).max().unwrap_or(0);
    if overused > 0 {
        findings.warnings.push(format!(
            "{} shown by more machines than may join with it: it may have been stolen. `nuthatch token list` says which, `nuthatch token revoke` ends it.",
            if overused == 1 { "A token was".to_owned() } else { format!("{} were", human::counted(overused, "token")) }
        ));
    }
    let overdue = roster.statuses().map(|(_, status)| status.leases_overdue).min().unwrap_or(0);
    if overdue > 0 {
        findings.passing = true;
        findings.warnings.push(format!(
            "{} outlived their time and were not closed: the log does not decide, or a clock is wrong.",
            human::counted(overdue, "lease")
        ));
    }
    let condemned = roster.statuses().map(|(_, status)| status.objects_condemned).max().unwrap_or(0);
    if condemned > 0 {
        findings.warnings.push(format!(
            "{} in the storage were found lost or damaged, and are not used any more. The next backup of each client stores again what its files still have; `nuthatch verify` on a client says which files of older snapshots need them. Look after the storage.",
            human::counted(condemned, "object")
        ));
    }
}

#[cfg(test)]
mod tests;

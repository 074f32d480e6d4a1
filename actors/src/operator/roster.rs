//! Adding and removing orchestrators.
//!
//! Invariant: each step may be interrupted and the whole repeated: what was done is
//! found and not done again. A roster is changed only from the newest keyset that a
//! majority knows, and never so that those who stay could not decide the change.

use std::{collections::BTreeSet, time::Duration};

use control::voters;
use protocol::{
    failure::{Code, Failure},
    ids::NodeId,
    limits,
    records::{Keyset, Orchestrator, Payload, Record, RecordBody, SecretId, Subject},
    sign::Signer,
    wire::{self, NodeStatus},
};

use super::{Candidate, Operator, PATIENCE, PAUSE, adopt_one, meet};
use crate::net::Pace;

/// How long a change is waited for until it is in force: a newcomer fetches the whole
/// log in this time.
const SETTLE_PATIENCE: Duration = Duration::from_secs(90);

/// The roster as its members know it, and how each of them is.
#[derive(Debug, Clone)]
pub struct Roster {
    /// The record of the newest keyset.
    pub record: Record,
    /// What it says.
    pub keyset: Keyset,
    /// Its orchestrators, with what each said of itself.
    pub nodes: Vec<(Orchestrator, Result<NodeStatus, Failure>)>,
}

/// What a change of the roster came to.
#[derive(Debug, Clone)]
pub struct Changed {
    /// The number of the keyset in force.
    pub keyset: u64,
    /// Who joined, or left.
    pub node: Orchestrator,
    /// Whom it replaced.
    pub replaced: Option<Orchestrator>,
}

impl Roster {
    /// Those that answered.
    pub fn answering(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().filter(|(_, status)| status.is_ok()).map(|(node, _)| node.id()).collect()
    }

    /// What those that answered said.
    pub fn statuses(&self) -> impl Iterator<Item = (&Orchestrator, &NodeStatus)> {
        self.nodes.iter().filter_map(|(node, status)| Some((node, status.as_ref().ok()?)))
    }

    /// Whoever votes in the log: as seen by the node that has applied most of it.
    pub fn voters(&self) -> BTreeSet<NodeId> {
        let newest = self.statuses().max_by_key(|(_, status)| (status.term, status.applied));
        newest.map(|(_, status)| status.voters.iter().copied().collect()).unwrap_or_default()
    }

    /// The orchestrator that a person means by a name, an address, or the first digits
    /// of an id.
    pub fn find(&self, text: &str) -> Option<&Orchestrator> {
        let all = &self.keyset.orchestrators;
        let named = all.iter().find(|node| node.name == text || node.address == text);
        named.or_else(|| {
            let mut by_id = all.iter().filter(|node| text.len() >= 4 && node.id().to_string().starts_with(text));
            by_id.next().filter(|_| by_id.next().is_none())
        })
    }

    /// Refuses to go on without one orchestrator if the others could not decide that.
    /// `joins` says that another one takes its place.
    pub fn check_leave(&self, leaving: &Orchestrator, joins: bool) -> Result<(), Failure> {
        let gone = BTreeSet::from([leaving.id()]);
        let staying: BTreeSet<NodeId> =
            self.keyset.orchestrators.iter().map(Orchestrator::id).filter(|node| !gone.contains(node)).collect();
        let (voters, answering) = (self.voters(), self.answering());
        // A newcomer, which answers, makes up for the one that leaves.
        let after = if joins { &voters } else { &staying };
        let there = answering.intersection(&voters).filter(|node| !gone.contains(node)).count();
        if voters::may_leave(&gone, &voters, after, &answering) {
            return Ok(());
        }
        let silent: Vec<&str> = self
            .nodes
            .iter()
            .filter(|(node, status)| status.is_err() && !gone.contains(&node.id()))
            .map(|(node, _)| node.name.as_str())
            .collect();
        let advice = if silent.is_empty() {
            "add another one first (`nuthatch orchestrator add`)".to_owned()
        } else {
            format!("start {} first, or remove what is dead before what lives", silent.join(", "))
        };
        Err(Failure::invalid(format!(
            "without {} only {there} of {} voters would be left to decide, and that is no majority: nothing was changed; {advice}",
            leaving.name,
            voters.len()
        )))
    }
}

impl Operator {
    /// The newest keyset that any orchestrator shows, and how its members are.
    pub async fn roster(&self) -> Result<Roster, Failure> {
        let mut record = self.keyset_record().await?;
        loop {
            let keyset = keyset_of(&record)?;
            let nodes = self.ask_all(&keyset).await;
            let newer = nodes.iter().find_map(|(node, status)| {
                let status = status.as_ref().ok()?;
                (status.keyset > record.version()).then_some(node)
            });
            let Some(node) = newer else { return Ok(Roster { keyset, record, nodes }) };
            let subjects = vec![Subject::Keyset];
            let page = self.ask(node, wire::GetRecords { subjects, after: None }).await?;
            let shown = page.items.into_iter().next().ok_or_else(|| Failure::retry("a keyset went away"))?;
            let shown = self.check_keyset(Record::open(shown, &self.cluster)?)?;
            if shown.version() <= record.version() {
                return Err(Failure::denied(format!("{} claims a newer keyset than it shows", node.name)));
            }
            record = shown;
        }
    }

    /// Makes a waiting node an orchestrator, in the place of another if `replaces` names
    /// one. Returns once the newcomer is admitted; `settled` says when it votes.
    pub async fn add_orchestrator(
        &self,
        candidate: &Candidate,
        replaces: Option<&str>,
        root: &Signer,
    ) -> Result<Changed, Failure> {
        let roster = self.roster().await?;
        let (newcomer, _) = meet(&self.endpoint, candidate, &root.public()).await?;
        let known = roster.keyset.orchestrators.iter().find(|node| node.key == newcomer.key);
        let (record, node, replaced) = match known {
            // An earlier attempt came this far.
            Some(known) => (roster.record.clone(), known.clone(), None),
            None => {
                let replaced = replaces.map(|name| named(&roster, name).cloned()).transpose()?;
                check_newcomer(&roster, &newcomer, replaced.as_ref())?;
                self.check_levels(&roster, &newcomer).await?;
                if let Some(leaving) = &replaced {
                    roster.check_leave(leaving, true)?;
                } else {
                    check_majority(&roster)?;
                }
                let stays = |node: &&Orchestrator| replaced.as_ref().is_none_or(|leaving| leaving.key != node.key);
                let mut keyset = roster.keyset.clone();
                keyset.orchestrators = roster.keyset.orchestrators.iter().filter(stays).cloned().collect();
                keyset.orchestrators.push(newcomer.clone());
                (self.sign_keyset(&roster, keyset, root).await?, newcomer, replaced)
            }
        };
        if let Some(leaving) = &replaced {
            self.tell_removed(leaving, &record).await;
        }
        let adopt = wire::Adopt { keyset: record.signed().clone(), root: root.public(), genesis: false };
        adopt_one(&self.env, &self.endpoint, &node, adopt)
            .await
            .map_err(|failure| Failure::new(failure.code, format!("{}: {}", node.address, failure.message)))?;
        Ok(Changed { keyset: record.version(), node, replaced })
    }

    /// Takes an orchestrator out of the roster. It may be dead.
    pub async fn remove_orchestrator(&self, name: &str, root: &Signer) -> Result<Changed, Failure> {
        let roster = self.roster().await?;
        let leaving = named(&roster, name)?.clone();
        roster.check_leave(&leaving, false)?;
        let mut keyset = roster.keyset.clone();
        keyset.orchestrators.retain(|node| node.key != leaving.key);
        let record = self.sign_keyset(&roster, keyset, root).await?;
        self.tell_removed(&leaving, &record).await;
        Ok(Changed { keyset: record.version(), node: leaving, replaced: None })
    }

    /// Waits until the voters are those of the roster, each of them has the records and
    /// the log, and the shared secrets are sealed for all.
    pub async fn settled(&self) -> Result<Roster, Failure> {
        let give_up = self.env.clock.monotonic() + SETTLE_PATIENCE;
        loop {
            let missing = match self.roster().await {
                Ok(roster) => match self.unsettled(&roster).await {
                    Ok(None) => return Ok(roster),
                    Ok(Some(missing)) => missing,
                    Err(failure) => failure.message,
                },
                Err(failure) if failure.code != Code::Retry => return Err(failure),
                Err(failure) => failure.message,
            };
            if self.env.clock.monotonic() >= give_up {
                return Err(Failure::retry(format!(
                    "the new roster is signed, but it is not wholly in force yet: {missing}"
                )));
            }
            self.env.clock.sleep(PAUSE).await;
        }
    }

    /// What is missing until a roster is in force.
    async fn unsettled(&self, roster: &Roster) -> Result<Option<String>, Failure> {
        let wanted: BTreeSet<NodeId> = roster.keyset.orchestrators.iter().map(Orchestrator::id).collect();
        let voters = roster.voters();
        if let Some(late) = roster.keyset.orchestrators.iter().find(|node| !voters.contains(&node.id())) {
            return Ok(Some(format!("{} does not vote yet", late.name)));
        }
        if voters != wanted {
            return Ok(Some("an orchestrator that was removed still has a vote".into()));
        }
        let known = roster.statuses().filter(|(_, status)| status.keyset == roster.record.version()).count();
        if known <= wanted.len() / 2 {
            return Ok(Some("fewer than a majority know the new keyset".into()));
        }
        let applied = roster.statuses().map(|(_, status)| status.applied).max().unwrap_or(0);
        if let Some((late, _)) = roster.statuses().find(|(_, status)| status.applied + LAG_MAX < applied) {
            return Ok(Some(format!("{} has not caught up with the log", late.name)));
        }
        let mut digests = roster.statuses().map(|(_, status)| status.records);
        let first = digests.next();
        if digests.any(|digest| Some(digest) != first) {
            return Ok(Some("the orchestrators do not hold the same records yet".into()));
        }
        self.unsealed(&roster.keyset).await
    }

    /// A shared secret of which someone in the roster has no box.
    async fn unsealed(&self, keyset: &Keyset) -> Result<Option<String>, Failure> {
        let records = self.records(Vec::new()).await?;
        let secrets = records.iter().filter_map(|record| match record.payload() {
            Payload::Storage(storage) => Some(Subject::Secret(SecretId::StorageMinting(storage.repository))),
            Payload::Domain(domain) => Some(Subject::Secret(SecretId::DomainIndex(domain.id))),
            _ => None,
        });
        let subjects: Vec<Subject> = secrets.collect();
        if subjects.is_empty() {
            return Ok(None);
        }
        let found = self.records(subjects).await?;
        for record in &found {
            let Payload::Secret(secret) = record.payload() else { continue };
            let without = |node: &&Orchestrator| secret.boxes.iter().all(|sealed| sealed.to != node.sealing);
            if let Some(node) = keyset.orchestrators.iter().find(without) {
                return Ok(Some(format!("{} has not been given all shared secrets", node.name)));
            }
        }
        Ok(None)
    }

    /// Signs the next keyset, and has the orchestrators keep it.
    pub(super) async fn sign_keyset(&self, roster: &Roster, keyset: Keyset, root: &Signer) -> Result<Record, Failure> {
        let version = roster.record.version() + 1;
        let record =
            Record::sign(root, RecordBody { cluster: self.cluster, version, payload: Payload::Keyset(keyset) });
        self.call(wire::Submit { records: vec![record.signed().clone()] }).await?;
        // A majority has it: from now on an older one is no base for the next.
        self.link.learn(record.signed().clone())?;
        Ok(record)
    }

    /// Tells who was removed, so that it stops to believe otherwise. One that is dead
    /// hears of it when it comes back.
    async fn tell_removed(&self, leaving: &Orchestrator, record: &Record) {
        let told = self.ask(leaving, wire::Submit { records: vec![record.signed().clone()] }).await;
        if let Err(failure) = told {
            tracing::debug!(%failure, "the removed orchestrator was not told");
        }
    }

    /// Asks every orchestrator of a keyset how it sees the cluster.
    pub(super) async fn ask_all(&self, keyset: &Keyset) -> Vec<(Orchestrator, Result<NodeStatus, Failure>)> {
        let ask = |node: Orchestrator| async {
            let status = self.ask(&node, wire::Status {}).await;
            (node, status)
        };
        futures_util::future::join_all(keyset.orchestrators.iter().cloned().map(ask)).await
    }

    /// Asks every orchestrator of a roster the same; the answers are in the roster's order.
    pub async fn ask_each<C: wire::Call + Clone>(&self, roster: &Roster, call: C) -> Vec<Result<C::Reply, Failure>> {
        let asked = roster.nodes.iter().map(|(node, _)| self.ask(node, call.clone()));
        futures_util::future::join_all(asked).await
    }

    /// A newcomer whose program cannot read the log would only stand in the way.
    async fn check_levels(&self, roster: &Roster, newcomer: &Orchestrator) -> Result<(), Failure> {
        let theirs = self.ask(newcomer, wire::Speak {}).await?.levels;
        let level =
            self.ask_each(roster, wire::Speak {}).await.into_iter().flatten().filter_map(|speech| speech.active).max();
        match level {
            Some(level) if !theirs.speaks(level) => Err(Failure::invalid(format!(
                "the cluster's log is at level {level}, and the program at {} speaks {theirs}: nothing was changed; bring it up to date first",
                newcomer.address
            ))),
            _ => Ok(()),
        }
    }

    /// Asks one orchestrator, over a connection of its own.
    pub(super) async fn ask<C: wire::Call>(&self, node: &Orchestrator, call: C) -> Result<C::Reply, Failure> {
        let peer = self.endpoint.dial(&node.address, Some(node.key), Pace::Busy, DIAL_PATIENCE).await?;
        let answer = peer.call(call, PATIENCE).await;
        peer.close();
        answer
    }
}

/// How long one orchestrator may take to answer a dial: a dead one is not waited for long.
const DIAL_PATIENCE: Duration = Duration::from_secs(2);
/// Entries by which a node may lag and be in step: some are always under way.
const LAG_MAX: u64 = 64;

fn keyset_of(record: &Record) -> Result<Keyset, Failure> {
    match record.payload() {
        Payload::Keyset(keyset) => Ok(keyset.clone()),
        _ => Err(Failure::retry("the orchestrator showed something that is not a keyset")),
    }
}

fn named<'a>(roster: &'a Roster, name: &str) -> Result<&'a Orchestrator, Failure> {
    roster.find(name).ok_or_else(|| Failure::not_found(format!("there is no orchestrator {name:?} in the roster")))
}

/// Whoever joins must be told from those that are there.
fn check_newcomer(roster: &Roster, newcomer: &Orchestrator, replaced: Option<&Orchestrator>) -> Result<(), Failure> {
    let stays = |node: &&Orchestrator| replaced.is_none_or(|leaving| leaving.key != node.key);
    let others: Vec<&Orchestrator> = roster.keyset.orchestrators.iter().filter(stays).collect();
    if others.len() >= limits::ROSTER_MAX {
        return Err(Failure::invalid(format!("a cluster has at most {} orchestrators", limits::ROSTER_MAX)));
    }
    if let Some(same) = others.iter().find(|node| node.name == newcomer.name || node.address == newcomer.address) {
        let what = if same.name == newcomer.name { "is called" } else { "has the address" };
        let value = if same.name == newcomer.name { &newcomer.name } else { &newcomer.address };
        return Err(Failure::invalid(format!(
            "an orchestrator {what} {value:?} already: give another, or say with --replace that the new node takes its place"
        )));
    }
    Ok(())
}

fn check_majority(roster: &Roster) -> Result<(), Failure> {
    let (voters, answering) = (roster.voters(), roster.answering());
    let there = voters.intersection(&answering).count();
    if there > voters.len() / 2 {
        return Ok(());
    }
    Err(Failure::retry(format!(
        "only {there} of {} orchestrators answer: a newcomer is admitted by a majority of those that there are, so start the others first",
        voters.len()
    )))
}

//! How a new keyset takes effect: the log admits it, its voters follow, and whoever
//! joins gets what orchestrators share.
//!
//! Invariant: each of these is looked for anew in every round, from what the records,
//! the log and the vault hold, so that an interruption anywhere is no more than a delay.

use std::collections::{BTreeMap, BTreeSet};

use control::{RecordSet, voters::Step};
use probe::Plant;
use protocol::{
    codec,
    commands::Command,
    failure::Failure,
    ids::NodeId,
    records::{Keyset, Payload, Record, RecordBody, SecretId, SharedSecret, StorageCredential, Subject},
    sealed::{self, SealedBox},
    sign::Signed,
    wire,
};

use super::{Desk, PASS_ON_PATIENCE};

/// Steps of one change of the voters that are taken in one round.
const STEPS_MAX: usize = 4;

impl Desk {
    /// Has the log admit the newest keyset known here, if it has not.
    pub async fn admit_newest(&self) -> Result<(), Failure> {
        let keyset = {
            let admitted = self.log.ledger().read().keyset().map(|(number, _)| number);
            let records = self.records.set().read();
            let newest = records.keyset_record().filter(|record| Some(record.version()) > admitted);
            newest.map(|record| record.signed().clone())
        };
        match keyset {
            Some(keyset) => self.log.propose(Command::Admit { keyset }).await.map(drop),
            None => Ok(()),
        }
    }

    /// Brings the voters in line with the keyset that the log has admitted. For the
    /// leader.
    pub async fn follow_roster(&self) -> Result<(), Failure> {
        let Some(roster) = self.log.ledger().read().keyset().map(|(_, keyset)| members(keyset)) else {
            return Ok(());
        };
        for _ in 0..STEPS_MAX {
            if self.log.follows(&roster) {
                return Ok(());
            }
            // Asked directly, and only now: gossip may not know a newcomer yet.
            let alive = self.answering().await;
            match self.log.follow_roster(&roster, &alive).await? {
                Some(step) => tracing::info!(step = said(&step), "the log's voters follow the roster"),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// The nodes of the roster that answer and can take the log, this one among them.
    async fn answering(&self) -> BTreeSet<NodeId> {
        let level = self.log.ledger().read().level();
        let speeches = self.speeches().await;
        let fit = speeches.iter().filter(|(_, speech)| speech.levels.speaks(level));
        fit.map(|(node, _)| *node).chain([self.me]).collect()
    }

    /// What the others say that they speak, as far as they answer.
    async fn speeches(&self) -> Vec<(NodeId, wire::Speech)> {
        let calls = self.peers.others().into_iter().map(|other| async move {
            let answer = self.peers.call(other.id(), wire::Speak {}, PASS_ON_PATIENCE).await;
            answer.ok().map(|speech| (other.id(), speech))
        });
        futures_util::future::join_all(calls).await.into_iter().flatten().collect()
    }

    /// Raises the log to the next level, if all of the roster speak it. For the leader.
    pub async fn raise_level(&self) -> Result<(), Failure> {
        let (level, roster) = {
            let ledger = self.log.ledger().read();
            let Some((_, keyset)) = ledger.keyset() else { return Ok(()) };
            (ledger.level().saturating_add(1), members(keyset))
        };
        // A voter that is not in the roster has not been asked, and may still be needed.
        if !self.levels.speaks(level) || !self.log.follows(&roster) {
            return Ok(());
        }
        let speeches = self.speeches().await;
        let speaking = speeches.into_iter().filter(|(_, speech)| speech.levels.speaks(level));
        let mut statements: BTreeMap<NodeId, Signed> =
            speaking.filter_map(|(node, speech)| Some((node, speech.statement?))).collect();
        statements.insert(self.me, self.statement.clone());
        let is_missing = |node: &NodeId| !statements.contains_key(node);
        if roster.values().any(is_missing) && !probe::planted(Plant::LevelRaisedAlone) {
            return Ok(());
        }
        let statements = roster.values().filter_map(|node| statements.remove(node)).collect();
        self.log.propose(Command::Raise { level, statements }).await?;
        tracing::info!(level, "all orchestrators speak the next level of the log, so it is raised");
        Ok(())
    }

    /// Asks the others for their keyset: one that was removed while it was away hears
    /// of it in no other way.
    pub async fn ask_for_keyset(&self) -> Result<(), Failure> {
        let welcomes = self.tell_others(wire::Hello { agent: crate::AGENT.into() }).await;
        let shown = welcomes.into_iter().filter_map(|welcome| welcome.keyset);
        let keysets: Vec<Record> = shown
            .filter_map(|signed| self.records.set().read().open(signed).ok())
            .filter(|record| matches!(record.payload(), Payload::Keyset(_)))
            .collect();
        if keysets.is_empty() { Ok(()) } else { self.records.insert(keysets).await }
    }

    /// Seals the shared secrets again, of which someone in the roster has no box: those
    /// for which no other orchestrator that is alive comes first in the roster.
    pub async fn seal_for_newcomers(&self) -> Result<(), Failure> {
        let sealed: Vec<Record> = {
            let records = self.records.set().read();
            let Some((_, keyset)) = records.keyset() else { return Ok(()) };
            let wanting = records.secrets().filter(|(_, winner)| !covers(keyset, winner.as_ref()));
            wanting.filter_map(|(id, winner)| self.seal_again(&records, keyset, id, winner)).collect()
        };
        if sealed.is_empty() {
            return Ok(());
        }
        let push = wire::Push { records: sealed.iter().map(|record| record.signed().clone()).collect() };
        self.records.insert(sealed).await?;
        let _ = self.tell_others(push).await;
        Ok(())
    }

    /// One secret, sealed to everyone in the roster by this node, if that is its turn.
    fn seal_again(
        &self,
        records: &RecordSet,
        keyset: &Keyset,
        id: SecretId,
        winner: Option<&Record>,
    ) -> Option<Record> {
        // What a removed author said does not count any more, but its boxes may be the
        // only ones that are left.
        let mut sources: Vec<&Record> = winner.into_iter().collect();
        let mut void: Vec<&Record> = records.heads(&Subject::Secret(id)).collect();
        void.sort_by_key(|record| std::cmp::Reverse(record.version()));
        sources.extend(void);
        let alive = self.gossip.alive();
        let first = sources.into_iter().find_map(|source| {
            let holders = keyset.orchestrators.iter().filter(|member| box_for(source, member.sealing).is_some());
            let mut holders = holders.filter(|member| member.id() == self.me || alive.contains(&member.id()));
            holders.next().map(|holder| (source, holder.id() == self.me))
        });
        let Some((source, true)) = first else { return None };
        let key = self.identity.sealing();
        let info = codec::encode(&Subject::Secret(id));
        let opened = box_for(source, key.public()).and_then(|sealed| key.open(sealed, &info).ok());
        let Some(secret) = opened.filter(|secret| makes_sense(id, secret)) else {
            tracing::warn!(?id, "a shared secret does not open here, so it cannot be sealed for a newcomer");
            return None;
        };
        let mut fill = |bytes: &mut [u8]| self.env.rng.fill(bytes);
        let boxes = keyset.orchestrators.iter();
        let boxes = boxes.map(|member| sealed::seal_to(&member.sealing, &info, &secret, &mut fill));
        let boxes: Vec<SealedBox> = match boxes.collect() {
            Ok(boxes) => boxes,
            Err(error) => {
                tracing::warn!(?id, %error, "someone in the roster has a key to which nothing can be sealed");
                return None;
            }
        };
        let own = records.heads(&Subject::Secret(id)).find(|record| *record.author() == self.identity.key());
        let version = winner.into_iter().chain(own).map(Record::version).max().unwrap_or(0).checked_add(1)?;
        let payload = Payload::Secret(SharedSecret { id, boxes });
        tracing::info!(?id, "sealed a shared secret again for a changed roster");
        Some(Record::sign(
            &self.identity.signer(),
            RecordBody { cluster: *self.log.ledger().read().cluster(), version, payload },
        ))
    }

    /// Gives another orchestrator the release values that are kept here: it may have
    /// joined, or been away, after they were made.
    pub async fn hand_over_releases(&self, to: NodeId) -> Result<(), Failure> {
        for release in self.vault.all()?.into_iter().filter(|release| !self.is_over(&release.token)) {
            self.peers.call(to, release, PASS_ON_PATIENCE).await?;
        }
        Ok(())
    }
}

/// A roster as the log names its members.
fn members(keyset: &Keyset) -> BTreeMap<u64, NodeId> {
    keyset.orchestrators.iter().map(|member| (member.voter, member.id())).collect()
}

/// Whether everyone in the roster has a box of a secret.
fn covers(keyset: &Keyset, winner: Option<&&Record>) -> bool {
    winner.is_some_and(|record| keyset.orchestrators.iter().all(|member| box_for(record, member.sealing).is_some()))
}

fn box_for(record: &Record, key: protocol::ids::SealingKey) -> Option<&SealedBox> {
    match record.payload() {
        Payload::Secret(secret) => secret.boxes.iter().find(|sealed| sealed.to == key),
        _ => None,
    }
}

/// Nonsense that a liar has sealed is not passed on under this node's name.
fn makes_sense(id: SecretId, secret: &[u8]) -> bool {
    match id {
        SecretId::StorageMinting(_) => codec::decode::<StorageCredential>("storage credential", secret).is_ok(),
        SecretId::DomainIndex(_) => secret.len() == 32,
    }
}

fn said(step: &Step) -> String {
    match step {
        Step::Learn(_, node) => format!("{node} follows"),
        Step::Vote(voters) => format!("{} vote", voters.len()),
        Step::Forget(gone) => format!("{} are forgotten", gone.len()),
    }
}

//! Writes the ledger's backups into the storages, while this node leads the log: what the
//! operator begins again from when all orchestrators are lost.
//!
//! Invariant: a head is written after its parts, so that whoever finds it finds everything.
//! A backup that could not be written is tried again, and its trouble is told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use control::{
    Ledger, RecordSet,
    archive::{Fingerprint, Last, is_due},
};
use env::{Steward, run_blocking, store::StoreError};
use protocol::{
    commands::{Command, LedgerBackup},
    failure::Failure,
    format::ledger::{HEADS, Head, Kept, PARTS, name, seal_key, seal_part},
    ids::{RepositoryId, Sha256},
    levels, limits,
    records::{Payload, Record},
    wire::BackupStatus,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use sha2::Digest as _;
use tokio::sync::watch;

use super::desk::Desk;
use crate::tasks::Tasks;

const INTERVAL: Duration = Duration::from_secs(1);
/// After a backup that could not be written anywhere.
const AFTER_TROUBLE: Duration = Duration::from_secs(10);
/// Trouble is told once it has lasted so long: after a change of the roster, secrets are
/// sealed again within seconds.
const TOLD_AFTER: Duration = Duration::from_secs(30);
/// How long a storage may take for one object.
const PATIENCE: Duration = Duration::from_secs(60);
/// Old backups that are removed in one round.
const REMOVED_MAX: usize = 4;

/// How the backups are, for those who ask. None before this node has led.
pub type Report = watch::Receiver<Option<BackupStatus>>;

/// Makes what the archivist reports with.
pub fn report() -> (watch::Sender<Option<BackupStatus>>, Report) {
    watch::channel(None)
}

/// Starts the archivist.
pub async fn start(
    desk: Desk,
    report: watch::Sender<Option<BackupStatus>>,
    supervisor: &ActorCell,
) -> Result<(), ractor::SpawnErr> {
    let state = State { desk, report, tasks: Tasks::new() };
    Actor::spawn_linked(None, Archivist, state, supervisor.clone()).await.map(|_| ())
}

struct Archivist;

struct State {
    desk: Desk,
    report: watch::Sender<Option<BackupStatus>>,
    tasks: Tasks,
}

impl Actor for Archivist {
    type Msg = ();
    type State = State;
    type Arguments = State;

    async fn pre_start(&self, _: ActorRef<()>, state: State) -> Result<State, ActorProcessingErr> {
        // Beside the actor, so that it stops at once when the seat is closed.
        let mut work = Work {
            desk: state.desk.clone(),
            report: state.report.clone(),
            last: None,
            trouble_since: None,
            may_delete: true,
        };
        state.tasks.spawn(async move {
            loop {
                let pause = work.round().await;
                work.desk.env.clock.sleep(pause).await;
            }
        });
        Ok(state)
    }
}

struct Work {
    desk: Desk,
    report: watch::Sender<Option<BackupStatus>>,
    /// The last backup that this node wrote while it led, and when it was begun, by the
    /// monotonic clock.
    last: Option<(Fingerprint, Duration, u64)>,
    /// Since when backups fail, by the monotonic clock.
    trouble_since: Option<Duration>,
    /// Whether the storages let orchestrators delete, as far as is known.
    may_delete: bool,
}

impl Work {
    /// Writes a backup if it is time. How long to wait for the next look.
    async fn round(&mut self) -> Duration {
        if !self.desk.log.leads() {
            // Whoever leads next writes one, and may have written more by the time this leads again.
            (self.last, self.trouble_since) = (None, None);
            self.report.send_replace(None);
            return INTERVAL;
        }
        let now = self.desk.env.clock.monotonic();
        let Some(state) = self.fingerprint() else { return INTERVAL };
        let last = self.last.map(|(of, at, bytes)| Last { of, age: now.saturating_sub(at), bytes });
        if !is_due(last.as_ref(), &state) {
            return INTERVAL;
        }
        match self.write(&state, now).await {
            Ok(true) => INTERVAL,
            Ok(false) => AFTER_TROUBLE,
            Err(failure) => {
                tracing::warn!(%failure, "the ledger was not backed up");
                self.tell_trouble(Some(failure.message));
                AFTER_TROUBLE
            }
        }
    }

    /// What the ledger is now. None if there is nothing to be backed up, or nowhere.
    fn fingerprint(&self) -> Option<Fingerprint> {
        let (records, ledger) = (self.desk.records.set().read(), self.desk.log.ledger().read());
        records.storages().next()?;
        if ledger.is_importing() || self.desk.is_rebuilt_later(&ledger) {
            return None;
        }
        Some(Fingerprint {
            records: records.digest(),
            clients: ledger.enrollments().len() as u64,
            condemned: ledger.reuses().map(|(_, reuse)| reuse.condemned().count() as u64).sum(),
            applied: ledger.changed().unwrap_or_default(),
        })
    }

    /// Tells what is wrong if it lasts, or that nothing is.
    fn tell_trouble(&mut self, trouble: Option<String>) {
        let now = self.desk.env.clock.monotonic();
        self.trouble_since = trouble.is_some().then(|| self.trouble_since.unwrap_or(now));
        let lasts = self.trouble_since.is_some_and(|since| now.saturating_sub(since) >= TOLD_AFTER);
        self.tell(|status| status.trouble = trouble.filter(|_| lasts));
    }

    fn tell(&self, change: impl FnOnce(&mut BackupStatus)) {
        self.report.send_modify(|status| change(status.get_or_insert_default()));
    }

    /// Writes a backup into every storage. Whether one took it.
    async fn write(&mut self, state: &Fingerprint, began: Duration) -> Result<bool, Failure> {
        let (records, ledger) = (self.desk.records.set().read().clone(), self.desk.log.ledger().read().clone());
        let mut stewards: BTreeMap<RepositoryId, Arc<dyn Steward>> = BTreeMap::new();
        let mut trouble: BTreeMap<String, String> = BTreeMap::new();
        for storage in records.storages() {
            match self.desk.stewards.of(&storage.repository) {
                Ok(steward) => _ = stewards.insert(storage.repository, steward),
                Err(failure) => _ = trouble.insert(storage.name.clone(), failure.message),
            }
        }
        let rng = self.desk.env.rng.clone();
        let mut fill = |bytes: &mut [u8]| rng.fill(bytes);
        let key: [u8; 32] = rng.array();
        let sealed_key = seal_key(ledger.root(), &key, &mut fill)?;
        let mut head = Head {
            cluster: *ledger.cluster(),
            incarnation: ledger.incarnation(),
            applied: ledger.applied().unwrap_or_default(),
            keyset: records.keyset().map_or(0, |(number, _)| number),
            at: self.desk.env.clock.now(),
            clients: state.clients,
            snapshots: 0,
            parts: Vec::new(),
            key: sealed_key,
        };
        let (mut part, mut part_bytes, mut bytes) = (Vec::new(), 0, 0);
        let mut kept =
            self.secrets(&records)?.into_iter().chain(lasting(&records)).chain(ledger.items().map(Kept::Item));
        loop {
            let next = kept.next();
            let is_last = next.is_none();
            if let Some(one) = next {
                head.snapshots += u64::from(matches!(&one, Kept::Item(protocol::ledger::Item::Snapshot(_))));
                part_bytes += protocol::codec::encode(&one).len();
                part.push(one);
            }
            if part_bytes >= limits::LEDGER_PART_BYTES || (is_last && !part.is_empty()) {
                let (gathered, number) = (std::mem::take(&mut part), head.parts.len() as u64);
                let (sealed, hash) = self.seal(key, number, gathered).await;
                let named = name(head.incarnation, head.applied, hash);
                head.parts.push(named);
                bytes += sealed.len() as u64;
                part_bytes = 0;
                put_all(&records, &mut stewards, &mut trouble, &format!("{PARTS}/{named}"), &sealed).await;
            }
            if is_last {
                break;
            }
            if head.parts.len() >= limits::LEDGER_PARTS_MAX {
                return Err(Failure::internal("the ledger is too large to be backed up"));
            }
        }
        drop(kept);
        let sealed = Bytes::from(head.seal(&self.desk.identity.signer()));
        let named = name(head.incarnation, head.applied, Sha256(sha2::Sha256::digest(&sealed).into()));
        put_all(&records, &mut stewards, &mut trouble, &format!("{HEADS}/{named}"), &sealed).await;
        let written = !stewards.is_empty();
        let said = trouble.iter().map(|(storage, why)| format!("{storage}: {why}")).collect::<Vec<_>>().join("; ");
        self.tell_trouble((!said.is_empty()).then_some(said));
        self.tell(|status| {
            if written {
                (status.at, status.applied) = (Some(head.at), head.applied);
                (status.clients, status.snapshots) = (head.clients, head.snapshots);
            }
        });
        if written {
            tracing::debug!(applied = head.applied, bytes, "the ledger is backed up");
            self.last = Some((*state, began, bytes));
            for steward in stewards.values() {
                self.tidy(&**steward, &ledger).await;
            }
            self.note(&head).await;
        }
        Ok(written)
    }

    /// Has the log remember a backup, so that the next leader knows of it.
    async fn note(&self, head: &Head) {
        if self.desk.log.ledger().read().level() < levels::BACKUPS_NOTED {
            return;
        }
        let Head { at, applied, clients, snapshots, .. } = *head;
        let backup = LedgerBackup { at, applied, clients, snapshots };
        if let Err(failure) = self.desk.log.propose(Command::NoteBackup { backup }).await {
            tracing::debug!(%failure, "the backup is not noted: the next one will be");
        }
    }

    /// The secrets that orchestrators share, as this one can open them.
    fn secrets(&self, records: &RecordSet) -> Result<Vec<Kept>, Failure> {
        let ids = records.secrets().filter_map(|(id, winner)| winner.map(|_| id));
        let open = |id| Ok(Kept::Secret { id, secret: self.desk.stewards.open(&id)?.to_vec() });
        ids.map(open).collect()
    }

    async fn seal(&self, key: [u8; 32], number: u64, part: Vec<Kept>) -> (Bytes, Sha256) {
        let seal = move || {
            let sealed = seal_part(&key, number, &part);
            let hash = Sha256(sha2::Sha256::digest(&sealed).into());
            (Bytes::from(sealed), hash)
        };
        run_blocking(&*self.desk.env.blocking, seal).await
    }

    /// Removes the oldest backups, where the storage lets orchestrators delete.
    async fn tidy(&mut self, steward: &dyn Steward, ledger: &Ledger) {
        if !self.may_delete {
            return;
        }
        let Ok(Ok(listed)) = tokio::time::timeout(PATIENCE, steward.list(HEADS)).await else { return };
        let over = listed.len().saturating_sub(limits::LEDGER_BACKUPS_KEPT);
        for (path, len) in listed.into_iter().take(over.min(REMOVED_MAX)) {
            let removed = async {
                let len = usize::try_from(len).unwrap_or(usize::MAX).min(limits::OBJECT_BYTES_MAX);
                let bytes = steward.get(&path, len).await?;
                // One that cannot be read has parts that nobody can name.
                if let Ok((_, head)) = Head::open(&bytes, ledger.cluster()) {
                    for part in head.parts {
                        steward.delete(&format!("{PARTS}/{part}")).await?;
                    }
                }
                steward.delete(&path).await
            };
            match tokio::time::timeout(PATIENCE, removed).await {
                Ok(Err(StoreError::Refused { .. })) => {
                    // As it should be. They stay, and are small.
                    self.may_delete = false;
                    return;
                }
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    }
}

/// The records that outlive their orchestrators. Tokens do not, and what is sealed to keys
/// that are lost is of no use.
fn lasting(records: &RecordSet) -> impl Iterator<Item = Kept> {
    let lasts = |record: &&Record| !matches!(record.payload(), Payload::Secret(_) | Payload::Token(_));
    records.iter().filter(lasts).map(|record| Kept::Record(record.signed().clone()))
}

/// Writes an object into all of these storages. One that does not take it is left out from
/// then on.
async fn put_all(
    records: &RecordSet,
    stewards: &mut BTreeMap<RepositoryId, Arc<dyn Steward>>,
    trouble: &mut BTreeMap<String, String>,
    path: &str,
    bytes: &Bytes,
) {
    let mut failed = Vec::new();
    for (repository, steward) in stewards.iter() {
        let put = tokio::time::timeout(PATIENCE, steward.put_new(path, bytes.clone())).await;
        let why = match put {
            // The same name has the same bytes.
            Ok(Ok(()) | Err(StoreError::Exists { .. })) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it did not answer in time".to_owned(),
        };
        let storage =
            records.storage(repository).map_or_else(|| repository.to_string(), |storage| storage.name.clone());
        trouble.insert(storage, why);
        failed.push(*repository);
    }
    failed.iter().for_each(|repository| _ = stewards.remove(repository));
}

//! Applying decided entries to the ledger, and snapshots of it.
//!
//! Invariant: this is the only writer of the shared ledger.

use std::{io, sync::Arc};

use control::ledger::{Later, Ledger};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{RaftStateMachine, Snapshot},
};
use probe::Plant;
use protocol::{
    codec::{self, DecodeError},
    commands::Outcome,
    levels::{self, Levels},
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{
    images::ImageFile,
    store::Store,
    types::{LogId, Member, Membership, RaftEntry, SnapshotMeta, StorageError, TypeConfig},
};
use crate::shared::Shared;

/// What a snapshot holds: its content is `level of the log ‖ postcard(Image)`, and after level
/// 1 also `postcard(Later)`.
#[derive(Serialize, Deserialize)]
struct Image {
    ledger: Ledger,
    applied: Option<LogId>,
    membership: Membership,
}

/// The state machine. In memory; rebuilt from the last snapshot and the log after it.
pub struct Machine {
    ledger: Shared<Ledger>,
    applied: Option<LogId>,
    membership: Membership,
    progress: watch::Sender<u64>,
    store: Store,
}

impl Machine {
    /// Starts from the kept snapshot, or from `empty`. `progress` tells the index applied.
    pub async fn restore(store: Store, empty: Ledger, progress: watch::Sender<u64>) -> Result<Self, StorageError> {
        let image = match store.snapshot().await? {
            Some((_, file)) => read(&store, &file).await?,
            None => Image { ledger: empty, applied: None, membership: Membership::default() },
        };
        let machine = Self {
            ledger: Shared::new(image.ledger),
            applied: image.applied,
            membership: image.membership,
            progress,
            store,
        };
        machine.tell();
        Ok(machine)
    }

    /// The ledger, for readers.
    pub fn ledger(&self) -> Shared<Ledger> {
        self.ledger.clone()
    }

    /// Enters who votes into the audit trail, once a change of that is complete.
    fn note_voters(&self) {
        let membership = self.membership.membership();
        if membership.get_joint_config().len() == 1 {
            let node = |voter| membership.get_node(&voter).map(|member| member.node);
            let voters = membership.voter_ids().filter_map(node).collect();
            self.ledger.write(|ledger| ledger.note_voters(voters));
        }
    }

    fn tell(&self) {
        self.progress.send_replace(self.applied.map_or(0, |applied| applied.index));
    }
}

fn write(image: &Image, out: &mut dyn io::Write) -> io::Result<()> {
    let level = image.ledger.level();
    out.write_all(&[level])?;
    codec::encode_to(image, out)?;
    if level > levels::FIRST { codec::encode_to(image.ledger.later(), out) } else { Ok(()) }
}

async fn read(store: &Store, file: &ImageFile) -> Result<Image, StorageError> {
    let levels = store.mark().levels();
    store.read_snapshot(file, move |input| decode(input, levels)).await
}

fn decode(input: &mut dyn io::Read, levels: Levels) -> Result<Image, DecodeError> {
    const WHAT: &str = "ledger snapshot";
    let malformed = |reason: &str| DecodeError::Malformed { what: WHAT, reason: reason.into() };
    let mut level = [0; 1];
    input.read_exact(&mut level).map_err(|_| malformed("it is empty"))?;
    let [level] = level;
    if level != levels::FIRST && !levels.speaks(level) {
        return Err(DecodeError::UnknownVersion { what: WHAT, found: level, known: levels.last });
    }
    if level == levels::FIRST {
        return codec::decode_from(WHAT, input);
    }
    let (image, later): (Image, Later) = codec::decode_from(WHAT, input)?;
    if later.level() != level {
        return Err(malformed("it is of another level than it says"));
    }
    Ok(Image { ledger: image.ledger.with_later(later), ..image })
}

/// Builds one snapshot from a copy of the state.
pub struct Builder {
    image: Arc<Image>,
    store: Store,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let image = self.image.clone();
        let file = self.store.write_snapshot(move |out| write(&image, out)).await?;
        let index = self.image.applied.map_or(0, |applied| applied.index);
        let meta = SnapshotMeta {
            last_log_id: self.image.applied,
            last_membership: self.image.membership.clone(),
            snapshot_id: index.to_string(),
        };
        self.store.keep_snapshot(&meta, self.image.ledger.level(), &file).await?;
        Ok(Snapshot { meta, snapshot: Box::new(file) })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, openraft::StoredMembership<u64, Member>), StorageError> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Vec<Outcome>>, StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut outcomes = Vec::new();
        for entry in entries {
            outcomes.push(match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(decided) => self.ledger.write(|ledger| ledger.apply(entry.log_id.index, &decided)),
                EntryPayload::Membership(membership) => {
                    self.membership = Membership::new(Some(entry.log_id), membership);
                    self.note_voters();
                    Vec::new()
                }
            });
            self.applied = Some(entry.log_id);
        }
        self.tell();
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let ledger = self.ledger.read().clone();
        let mut applied = self.applied;
        if let Some(applied) = applied.as_mut().filter(|_| probe::planted(Plant::SnapshotMisnumbered)) {
            applied.index += 1;
        }
        let image = Image { ledger, applied, membership: self.membership.clone() };
        Builder { image: Arc::new(image), store: self.store.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<ImageFile>, StorageError> {
        self.store.receive_snapshot().await.map(Box::new)
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<ImageFile>) -> Result<(), StorageError> {
        probe::sometimes("a voter gets the ledger as a snapshot");
        let image = read(&self.store, &snapshot).await?;
        self.store.keep_snapshot(meta, image.ledger.level(), &snapshot).await?;
        self.applied = image.applied;
        self.membership = image.membership;
        self.ledger.write(|ledger| *ledger = image.ledger);
        self.tell();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let kept = self.store.snapshot().await?;
        Ok(kept.map(|(meta, file)| Snapshot { meta, snapshot: Box::new(file) }))
    }
}

//! Applying decided entries to the ledger, and snapshots of it.
//!
//! Invariant: this is the only writer of the shared ledger.

#![expect(clippy::result_large_err, reason = "openraft chose the size of its errors")]

use std::{io::Cursor, sync::Arc};

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
    store::Store,
    types::{LogId, Member, Membership, RaftEntry, SnapshotMeta, StorageError, TypeConfig},
};
use crate::shared::Shared;

/// What a snapshot holds: its bytes are `level of the log ‖ postcard(Image)`, and after level
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
    pub fn restore(store: Store, empty: Ledger, progress: watch::Sender<u64>) -> Result<Self, StorageError> {
        let image = match store.snapshot()? {
            Some((meta, bytes)) => decode(&meta, &bytes, store.mark().levels())?,
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

fn encode(image: &Image) -> Vec<u8> {
    let level = image.ledger.level();
    let mut bytes = vec![level];
    bytes.extend(codec::encode(image));
    if level > levels::FIRST {
        bytes.extend(codec::encode(image.ledger.later()));
    }
    bytes
}

fn decode(meta: &SnapshotMeta, bytes: &[u8], levels: Levels) -> Result<Image, StorageError> {
    read(bytes, levels).map_err(|error| openraft::StorageIOError::read_snapshot(Some(meta.signature()), &error).into())
}

fn read(bytes: &[u8], levels: Levels) -> Result<Image, DecodeError> {
    const WHAT: &str = "ledger snapshot";
    let malformed = |reason: &str| DecodeError::Malformed { what: WHAT, reason: reason.into() };
    match bytes.split_first() {
        Some((&levels::FIRST, body)) => codec::decode(WHAT, body),
        Some((&level, body)) if levels.speaks(level) => {
            let (image, later): (Image, Later) = codec::decode(WHAT, body)?;
            if later.level() != level {
                return Err(malformed("it is of another level than it says"));
            }
            Ok(Image { ledger: image.ledger.with_later(later), ..image })
        }
        Some((&found, _)) => Err(DecodeError::UnknownVersion { what: WHAT, found, known: levels.last }),
        None => Err(malformed("it is empty")),
    }
}

/// Builds one snapshot from a copy of the state.
pub struct Builder {
    image: Image,
    store: Store,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let bytes = Arc::new(encode(&self.image));
        let index = self.image.applied.map_or(0, |applied| applied.index);
        let meta = SnapshotMeta {
            last_log_id: self.image.applied,
            last_membership: self.image.membership.clone(),
            snapshot_id: index.to_string(),
        };
        self.store.keep_snapshot(&meta, self.image.ledger.level(), bytes.clone()).await?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes.to_vec())) })
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
        Builder { image, store: self.store.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        probe::sometimes("a voter gets the ledger as a snapshot");
        let bytes = snapshot.into_inner();
        let image = decode(meta, &bytes, self.store.mark().levels())?;
        self.store.keep_snapshot(meta, image.ledger.level(), Arc::new(bytes)).await?;
        self.applied = image.applied;
        self.membership = image.membership;
        self.ledger.write(|ledger| *ledger = image.ledger);
        self.tell();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let kept = self.store.snapshot()?;
        Ok(kept.map(|(meta, bytes)| Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
    }
}

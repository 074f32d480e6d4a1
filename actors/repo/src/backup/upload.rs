//! Writes objects: a few actors, each with one object in flight.

use std::sync::Arc;

use bytes::Bytes;
use protocol::{
    format::{pack::Row, segment::PackRow},
    ids::{LeaseId, Sha256},
    names::{ObjectKey, ObjectName},
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use sha2::Digest as _;

use crate::{
    backup::{
        crew::Load,
        journal::{Journal, StoredPack},
        ready::{Ready, ReadyKind},
        writer::WriterMessage,
    },
    context::Context,
    error::RepoError,
};

/// What an uploader is given at its start.
pub struct UploadArguments {
    pub context: Context,
    pub lease: LeaseId,
    pub journal: Arc<dyn Journal>,
    pub writer: ActorRef<WriterMessage>,
    pub load: Load,
}

/// An object that is stored.
pub struct Stored {
    /// Its name.
    pub name: ObjectName,
    /// Its length in bytes.
    pub len: u64,
    /// Which kind.
    pub kind: StoredKind,
}

/// What kind of object is stored.
pub enum StoredKind {
    /// A pack.
    Pack {
        /// Its chunks.
        rows: Vec<Row>,
        /// Its name and lengths.
        pack: PackRow,
    },
    /// A page of the reference list.
    Page,
    /// An index segment.
    Segment(Bytes),
}

/// The actor.
pub struct Upload;

impl Actor for Upload {
    type Msg = Ready;
    type State = UploadArguments;
    type Arguments = UploadArguments;

    async fn pre_start(
        &self,
        _: ActorRef<Ready>,
        arguments: UploadArguments,
    ) -> Result<UploadArguments, ActorProcessingErr> {
        Ok(arguments)
    }

    async fn handle(
        &self,
        _: ActorRef<Ready>,
        ready: Ready,
        state: &mut UploadArguments,
    ) -> Result<(), ActorProcessingErr> {
        let Ready { kind, bytes, credit } = ready;
        let len = bytes.len() as u64;
        let name = name(&state.context, state.lease, bytes.clone()).await;
        state.context.objects.put(key(&state.context, &kind, name), bytes.clone()).await?;
        state.load.done(len);
        let kind = match kind {
            ReadyKind::Pack { rows, tail_len, trees } => {
                // Here and not in the writer: what other uploads come to may end that first.
                let pack = pack_row(name, len, tail_len);
                state.journal.stored(StoredPack { pack, trees });
                StoredKind::Pack { rows, pack }
            }
            ReadyKind::Page => StoredKind::Page,
            ReadyKind::Segment => StoredKind::Segment(bytes),
        };
        // What was written is not in memory any more.
        drop(credit);
        let stored = WriterMessage::Stored(Stored { name, len, kind });
        state.writer.send_message(stored).map_err(|_| RepoError::internal("the writer of the backup is gone"))?;
        Ok(())
    }
}

fn pack_row(name: ObjectName, len: u64, tail_len: u32) -> PackRow {
    // Objects are below 4 GiB (`limits::OBJECT_BYTES_MAX`).
    PackRow { name, len: len as u32, tail_len }
}

/// Names an object by its bytes.
pub async fn name(context: &Context, lease: LeaseId, bytes: Bytes) -> ObjectName {
    let hash = context.run(move || Sha256(sha2::Sha256::digest(&bytes).into())).await;
    ObjectName { lease, hash }
}

fn key(context: &Context, kind: &ReadyKind, name: ObjectName) -> ObjectKey {
    match kind {
        ReadyKind::Pack { .. } => context.keys.pack(name),
        ReadyKind::Page => context.keys.refs(name),
        ReadyKind::Segment => context.keys.segment(name),
    }
}

//! Puts sealed batches in order, has them assembled and uploaded, and commits.
//!
//! Invariant: the commit object is written last, when every pack, page and
//! segment that it needs is stored.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use probe::Plant;
use protocol::{
    format::{
        commit::{CommitBody, CommitObject},
        manifest::Manifest,
        tree::Blob,
    },
    ids::SnapshotId,
    limits,
    names::ObjectName,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::{
    backup::{
        BackupJob, Outcome,
        assembly::{Assembled, Assembly, AssemblyArguments},
        batch::SealedBatch,
        crew::{self, Crew, Load},
        ready::{Ready, ReadyKind},
        root::RootMessage,
        segments::{self, PackContents},
        upload::{self, Stored, StoredKind, Upload, UploadArguments},
    },
    context::Context,
    error::RepoError,
    index::Index,
    paths,
    progress::Progress,
};

/// What the writer is told.
pub enum WriterMessage {
    /// A batch is sealed.
    Sealed(SealedBatch),
    /// An object is stored.
    Stored(Stored),
}

/// What the writer is given at its start.
pub struct WriterArguments {
    pub context: Context,
    pub job: Arc<BackupJob>,
    pub index: Arc<Index>,
    pub assembly: AssemblyArguments,
    /// Segments of what dead leases left.
    pub segments: Vec<ObjectName>,
    /// Their bytes.
    pub bytes_stored: u64,
    pub progress: Arc<Progress>,
    pub root: ActorRef<RootMessage>,
}

/// The actor.
pub struct Writer;

/// Its state.
pub struct WriterState {
    context: Context,
    job: Arc<BackupJob>,
    index: Arc<Index>,
    progress: Arc<Progress>,
    root: ActorRef<RootMessage>,
    uploads: Crew<Ready>,
    /// None while it is away on a thread, and once the walk has ended.
    assembly: Option<Assembly>,
    /// Batches that came before their turn; bounded by credit.
    early: BTreeMap<u64, SealedBatch>,
    next: u64,
    in_flight: usize,
    /// Packs that are stored and in no segment yet, and how many rows they have.
    rows: Vec<PackContents>,
    rows_count: usize,
    /// Rows of all packs that were made, stored or not.
    rows_made: usize,
    segments: Vec<ObjectName>,
    /// Of the segments: those that were there at the start.
    segments_left: usize,
    bytes_stored: u64,
    packs: u64,
    assembled: Option<Assembled>,
}

impl Actor for Writer {
    type Msg = WriterMessage;
    type State = WriterState;
    type Arguments = WriterArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<WriterMessage>,
        arguments: WriterArguments,
    ) -> Result<WriterState, ActorProcessingErr> {
        let WriterArguments { context, job, index, assembly, segments, bytes_stored, progress, root } = arguments;
        let mut uploads = Crew::new();
        for _ in 0..job.uploads.clamp(1, limits::TRANSFERS_MAX) {
            let load = Load::default();
            let arguments = UploadArguments {
                context: context.clone(),
                lease: job.lease.id,
                journal: job.journal.clone(),
                writer: myself.clone(),
                load: load.clone(),
            };
            let (upload, _) = Actor::spawn_linked(None, Upload, arguments, myself.get_cell()).await?;
            uploads.add(upload, load);
        }
        Ok(WriterState {
            context,
            job,
            index,
            progress,
            root,
            uploads,
            assembly: Some(Assembly::new(assembly)?),
            early: BTreeMap::new(),
            next: 0,
            in_flight: 0,
            rows: Vec::new(),
            rows_count: 0,
            rows_made: 0,
            segments_left: segments.len(),
            segments,
            bytes_stored,
            packs: 0,
            assembled: None,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<WriterMessage>,
        message: WriterMessage,
        state: &mut WriterState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WriterMessage::Sealed(batch) => {
                state.early.insert(batch.number, batch);
                while let Some(batch) = state.early.remove(&state.next) {
                    state.next += 1;
                    state.assemble(batch).await?;
                }
            }
            WriterMessage::Stored(stored) => state.stored(stored)?,
        }
        let is_done = state.in_flight == 0 || probe::planted(Plant::CommitBeforeUploads);
        if state.assembled.is_some() && is_done {
            if state.rows.is_empty() {
                state.commit().await?;
            } else {
                state.segment().await?;
            }
        } else if state.rows_count >= limits::SEGMENT_ROWS_MAX {
            state.segment().await?;
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<WriterMessage>,
        event: SupervisionEvent,
        _: &mut WriterState,
    ) -> Result<(), ActorProcessingErr> {
        crew::propagate(event)
    }
}

impl WriterState {
    async fn assemble(&mut self, batch: SealedBatch) -> Result<(), RepoError> {
        let defect = || RepoError::internal("a batch came after the last");
        let mut assembly = self.assembly.take().ok_or_else(defect)?;
        let last = batch.last;
        let (assembly, ready) = self
            .context
            .run(move || {
                let ready = assembly.absorb(batch);
                (assembly, ready)
            })
            .await;
        self.upload_all(ready?)?;
        if last {
            let mut assembled = self.context.run(move || assembly.finish()).await?;
            self.upload_all(std::mem::take(&mut assembled.ready))?;
            self.assembled = Some(assembled);
        } else {
            self.assembly = Some(assembly);
        }
        Ok(())
    }

    fn upload_all(&mut self, ready: Vec<Ready>) -> Result<(), RepoError> {
        for ready in ready {
            self.in_flight += 1;
            if let ReadyKind::Pack { rows, .. } = &ready.kind {
                self.rows_made += rows.len();
            }
            let len = ready.bytes.len() as u64;
            self.uploads.give(ready, len)?;
        }
        // What is on its way when the walk is cut short must find room in this commit, too.
        if self.segments_left + self.rows_made / limits::SEGMENT_ROWS_MAX >= limits::SEGMENTS_WIND_UP {
            self.job.wind_up.cancel();
        }
        Ok(())
    }

    fn stored(&mut self, stored: Stored) -> Result<(), RepoError> {
        self.in_flight -= 1;
        self.bytes_stored += stored.len;
        self.progress.bytes_moved.add(stored.len);
        match stored.kind {
            StoredKind::Pack { rows, pack } => {
                self.packs += 1;
                self.rows_count += rows.len();
                self.rows.push((pack, rows));
            }
            StoredKind::Segment(bytes) => {
                self.index.add(stored.name, &bytes)?;
                self.segments.push(stored.name);
            }
            StoredKind::Page => {}
        }
        Ok(())
    }

    /// Makes an index segment of packs stored so far and uploads it.
    async fn segment(&mut self) -> Result<(), RepoError> {
        if self.segments.len() >= limits::SEGMENTS_PER_COMMIT_MAX {
            return Err(RepoError::internal("the backup went on although its commit was full"));
        }
        let packs = segments::take(&mut self.rows, limits::SEGMENT_ROWS_MAX);
        self.rows_count = self.rows.iter().map(|(_, rows)| rows.len()).sum();
        if let Some(assembly) = &mut self.assembly {
            assembly.settle(packs.iter().flat_map(|(_, rows)| rows).map(|row| &row.id));
        }
        let bytes = segments::encode(&self.context, packs).await;
        self.upload_all(vec![Ready { kind: ReadyKind::Segment, bytes, credit: None }])
    }

    /// Writes the commit object and reports the outcome.
    async fn commit(&mut self) -> Result<(), RepoError> {
        let Some(Assembled { root, list, mut stats, problems, complete, .. }) = self.assembled.take() else {
            return Ok(());
        };
        self.index.check_sample().await?;
        let (keys, job) = (&self.context.keys, &self.job);
        stats.bytes_stored = self.bytes_stored;
        stats.packs = self.packs;
        let manifest = Manifest {
            host: job.host.clone(),
            paths: job.sources.iter().map(|path| paths::blob(path.as_os_str())).collect(),
            started: job.started,
            finished: self.context.clock.now(),
            description: job.description.clone(),
            tags: job.tags.clone(),
            excludes: job.rules.describe(),
            program: job.program.clone(),
            root,
            stats,
        };
        let manifest = manifest.seal(&keys.secrets.client, &self.context.rng.array());
        let body = CommitBody {
            repository: keys.repository,
            domain: keys.domain.id,
            client: keys.client,
            lease: job.lease.id,
            sequence: job.lease.sequence,
            previous: job.lease.previous,
            lineage: job.lease.lineage,
            complete: complete || probe::planted(Plant::PartialIsComplete),
            list,
            segments: self.segments.clone(),
            bytes_stored: self.bytes_stored,
            manifest: Blob(manifest),
        };
        let bytes = Bytes::from(CommitObject::seal(&body, &keys.signer));
        let name = upload::name(&self.context, job.lease.id, bytes.clone()).await;
        self.context.objects.put(keys.commit(name), bytes).await?;
        let outcome = Outcome { facts: body.facts(name), snapshot: SnapshotId(name.hash.0), stats, problems };
        self.root
            .send_message(RootMessage::Done(Box::new(outcome)))
            .map_err(|_| RepoError::internal("nobody waits for the backup"))
    }
}

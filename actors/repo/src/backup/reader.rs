//! Drives the walk: a step at a time, as far as the credit goes.

use std::sync::Arc;

use protocol::format::{content, tree};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    backup::{
        batch::Batch,
        crew::{self, Crew, Load},
        hints,
        known::KnownChunks,
        scan::{Need, Scanner, Step, Supply},
        sealing::{Seal, Sealing, SealingArguments},
        writer::WriterMessage,
    },
    buffers::Buffers,
    context::Context,
    error::{Kind, RepoError},
    index::{Index, Suspects},
    trees::TreeReader,
};

/// The one message: make the next step.
pub struct Go;

/// How much is read for one commit.
pub struct Part {
    /// Bytes of files.
    pub bytes: u64,
    /// Has the walk end.
    pub wind_up: CancellationToken,
}

/// What the reader is given at its start.
pub struct ReaderArguments {
    pub context: Context,
    pub scanner: Scanner,
    pub index: Arc<Index>,
    pub trees: TreeReader,
    pub known: Arc<KnownChunks>,
    pub known_trees: Arc<KnownChunks>,
    /// Chunks of the parents that were lost since.
    pub suspects: Arc<Suspects>,
    pub buffers: Arc<Buffers>,
    pub sealed_buffers: Arc<Buffers>,
    pub credit: Arc<Semaphore>,
    pub part: Part,
    pub writer: ActorRef<WriterMessage>,
}

/// The actor.
pub struct Reader;

/// Its state.
pub struct ReaderState {
    context: Context,
    /// None only while it is away on a thread.
    scanner: Option<Scanner>,
    trees: TreeReader,
    known: Arc<KnownChunks>,
    known_trees: Arc<KnownChunks>,
    suspects: Arc<Suspects>,
    credit: Arc<Semaphore>,
    part: Part,
    /// For the batch that is being filled.
    held: Option<OwnedSemaphorePermit>,
    sealers: Crew<Seal>,
}

impl Actor for Reader {
    type Msg = Go;
    type State = ReaderState;
    type Arguments = ReaderArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<Go>,
        arguments: ReaderArguments,
    ) -> Result<ReaderState, ActorProcessingErr> {
        let ReaderArguments {
            context,
            scanner,
            index,
            trees,
            known,
            known_trees,
            suspects,
            buffers,
            sealed_buffers,
            credit,
            part,
            writer,
        } = arguments;
        let mut sealers = Crew::new();
        for _ in 0..context.cores() {
            let load = Load::default();
            let arguments = SealingArguments {
                context: context.clone(),
                index: index.clone(),
                known: known.clone(),
                buffers: buffers.clone(),
                sealed_buffers: sealed_buffers.clone(),
                writer: writer.clone(),
                load: load.clone(),
            };
            let (sealer, _) = Actor::spawn_linked(None, Sealing, arguments, myself.get_cell()).await?;
            sealers.add(sealer, load);
        }
        myself.send_message(Go).map_err(|_| RepoError::internal("the reader cannot start"))?;
        Ok(ReaderState {
            context,
            scanner: Some(scanner),
            trees,
            known,
            known_trees,
            suspects,
            credit,
            part,
            held: None,
            sealers,
        })
    }

    async fn handle(&self, myself: ActorRef<Go>, _: Go, state: &mut ReaderState) -> Result<(), ActorProcessingErr> {
        if state.step().await? {
            myself.send_message(Go).map_err(|_| RepoError::internal("the reader cannot go on"))?;
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Go>,
        event: SupervisionEvent,
        _: &mut ReaderState,
    ) -> Result<(), ActorProcessingErr> {
        crew::propagate(event)
    }
}

impl ReaderState {
    /// Makes one step; false after the last.
    async fn step(&mut self) -> Result<bool, RepoError> {
        let mut scanner = self.scanner.take().ok_or_else(|| RepoError::internal("the walk was lost"))?;
        if self.held.is_none() {
            // For the bytes read and, at worst, as many sealed.
            let most = u32::try_from(2 * scanner.batch_len_max()).unwrap_or(u32::MAX);
            let credit = self.credit.clone().acquire_many_owned(most).await;
            self.held = Some(credit.map_err(|_| RepoError::internal("the credit was closed"))?);
        }
        let (mut scanner, step) = self
            .context
            .run(move || {
                let step = scanner.step();
                (scanner, step)
            })
            .await;
        let more = match step {
            Step::Need(need) => {
                scanner.supply(self.fetch(need).await?);
                true
            }
            Step::Failed(error) => return Err(error),
            Step::Batch(batch) => {
                let more = !batch.last;
                self.hand_on(batch)?;
                more
            }
        };
        self.scanner = Some(scanner);
        Ok(more)
    }

    fn hand_on(&mut self, batch: Batch) -> Result<(), RepoError> {
        let mut credit = self.held.take().ok_or_else(|| RepoError::internal("a batch without credit"))?;
        let len = batch.chunks.last().map_or(0, |range| range.end);
        let needed = (2 * len + batch.items_len).min(credit.num_permits());
        let needed = credit.split(needed).ok_or_else(|| RepoError::internal("credit does not split"))?;
        self.part.bytes = self.part.bytes.saturating_sub(len as u64);
        if self.part.bytes == 0 {
            self.part.wind_up.cancel();
        }
        let len = len as u64 + batch.items_len as u64;
        self.sealers.give(Seal { batch, credit: needed, len }, len)
    }

    /// Gets what the walk needs. A parent that is damaged or gone costs reading
    /// files again; a store that does not answer ends the backup.
    async fn fetch(&mut self, need: Need) -> Result<Supply, RepoError> {
        let reference = match &need {
            Need::Node(reference) | Need::Block(reference) => reference,
            Need::Hints { path, window } => {
                self.recall(path, *window).await;
                return Ok(Supply::Hints);
            }
        };
        let plain = match self.trees.plain(reference).await {
            Ok(plain) => Some(plain),
            Err(error) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => {
                tracing::warn!(%error, "a part of the parent snapshot cannot be read; its files are read again");
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(plain) = &plain
            && !self.suspects.has(&reference.id)
        {
            // What the parent has needs no sealing if it comes out the same.
            let hash = *blake3::keyed_hash(&self.context.keys.secrets.plaintext_hash, plain).as_bytes();
            self.known_trees.insert(hash, *reference, false);
        }
        Ok(match need {
            Need::Node(_) => Supply::Node(plain.and_then(|plain| tree::decode_node(&plain).ok())),
            _ => Supply::Block(plain.and_then(|plain| content::decode_block(&plain).ok())),
        })
    }

    async fn recall(&mut self, path: &[u8], window: u64) {
        let keys = self.context.keys.clone();
        let name = hints::name(&keys, path, window);
        if let Some(page) = self.context.cache.get(&name).await {
            for hint in hints::open(&keys, &name, &page) {
                if self.known.get(&hint.hash).is_none() {
                    self.known.insert(hint.hash, hint.reference, true);
                }
            }
        }
    }
}

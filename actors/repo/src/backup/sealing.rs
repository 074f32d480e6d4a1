//! Seals batches: one actor for each core.
//!
//! Invariant: a chunk is taken as stored only if this job has it on its way, or
//! the index of what the lease may reuse says so.

use std::sync::Arc;

use protocol::format::chunk::{ChunkRef, Under};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    backup::{
        batch::{Batch, SealedBatch, SealedChunk},
        crew::Load,
        known::KnownChunks,
        writer::WriterMessage,
    },
    buffers::Buffers,
    context::Context,
    error::RepoError,
    index::Index,
    seal::Sealer,
};

/// Work for a sealer.
pub struct Seal {
    /// What is to be sealed.
    pub batch: Batch,
    /// The memory of the batch and of what becomes of it.
    pub credit: OwnedSemaphorePermit,
    /// What was reported as the length of this work.
    pub len: u64,
}

/// What a sealer is given at its start.
pub struct SealingArguments {
    pub context: Context,
    pub index: Arc<Index>,
    pub known: Arc<KnownChunks>,
    pub buffers: Arc<Buffers>,
    pub sealed_buffers: Arc<Buffers>,
    pub writer: ActorRef<WriterMessage>,
    pub load: Load,
}

/// The actor.
pub struct Sealing;

/// Its state.
pub struct SealingState {
    arguments: SealingArguments,
    /// None only while it is away on a thread.
    sealer: Option<Sealer>,
}

/// What sealing needs to know on its thread.
struct Work {
    sealer: Sealer,
    batch: Batch,
    sealed: Vec<u8>,
    chunks: Vec<SealedChunk>,
    /// Which of `chunks` are known from hints only.
    doubtful: Vec<usize>,
    /// Which of `chunks` were not known for certain before.
    learned: Vec<usize>,
}

impl Actor for Sealing {
    type Msg = Seal;
    type State = SealingState;
    type Arguments = SealingArguments;

    async fn pre_start(
        &self,
        _: ActorRef<Seal>,
        arguments: SealingArguments,
    ) -> Result<SealingState, ActorProcessingErr> {
        let sealer = Sealer::new(arguments.context.keys.domain.codec)?;
        Ok(SealingState { arguments, sealer: Some(sealer) })
    }

    async fn handle(
        &self,
        _: ActorRef<Seal>,
        message: Seal,
        state: &mut SealingState,
    ) -> Result<(), ActorProcessingErr> {
        let sealer = match state.sealer.take() {
            Some(sealer) => sealer,
            None => Sealer::new(state.arguments.context.keys.domain.codec)?,
        };
        let sealed = state.arguments.seal(sealer, message.batch, message.credit).await?;
        state.sealer = Some(sealed.0);
        state.arguments.load.done(message.len);
        state
            .arguments
            .writer
            .send_message(WriterMessage::Sealed(sealed.1))
            .map_err(|_| RepoError::internal("the writer of the backup is gone"))?;
        Ok(())
    }
}

impl SealingArguments {
    async fn seal(
        &self,
        sealer: Sealer,
        batch: Batch,
        mut credit: OwnedSemaphorePermit,
    ) -> Result<(Sealer, SealedBatch), RepoError> {
        let mut sealed = self.sealed_buffers.take();
        sealed.clear();
        let chunks = Vec::with_capacity(batch.chunks.len());
        let mut work = Work { sealer, batch, sealed, chunks, doubtful: Vec::new(), learned: Vec::new() };
        let (keys, known) = (self.context.keys.clone(), self.known.clone());
        work = self.context.run(move || work.seal_unknown(&keys, &known).map(|()| work)).await?;
        let refuted = self.resolve(&mut work).await?;
        if !refuted.is_empty() {
            let keys = self.context.keys.clone();
            work = self.context.run(move || work.seal_these(&keys, &refuted).map(|()| work)).await?;
        }
        for &number in &work.learned {
            let chunk = &work.chunks[number];
            self.known.insert(chunk.hash, chunk.reference, false);
        }
        let Work { sealer, batch, sealed, chunks, .. } = work;
        // The plaintext is not needed any more: its memory goes to the next batch.
        let keep = (sealed.len() + batch.items_len).min(credit.num_permits());
        let keep = credit.split(keep);
        drop(std::mem::replace(&mut credit, keep.ok_or_else(|| RepoError::internal("credit does not split"))?));
        self.buffers.give(batch.data);
        let Batch { number, last, items, items_len, problems, .. } = Batch { data: Vec::new(), ..batch };
        Ok((sealer, SealedBatch { number, last, sealed, chunks, items, items_len, problems, credit }))
    }

    /// Asks the index about what was sealed or is doubtful. Returns the chunks that
    /// are only thought to be stored.
    async fn resolve(&self, work: &mut Work) -> Result<Vec<usize>, RepoError> {
        let fresh = (0..work.chunks.len()).filter(|number| work.chunks[*number].fresh.is_some());
        let asked: Vec<usize> = fresh.chain(std::mem::take(&mut work.doubtful)).collect();
        let ids: Vec<_> = asked.iter().map(|number| work.chunks[*number].reference.id).collect();
        let stored = self.index.reuse(&ids).await?;
        let mut refuted = Vec::new();
        for (number, stored) in asked.into_iter().zip(stored) {
            match (&mut work.chunks[number].fresh, stored) {
                (fresh @ Some(_), true) => *fresh = None,
                (None, false) => refuted.push(number),
                _ => {}
            }
        }
        Ok(refuted)
    }
}

impl Work {
    fn seal_unknown(&mut self, keys: &crate::keys::Keys, known: &KnownChunks) -> Result<(), RepoError> {
        for number in 0..self.batch.chunks.len() {
            let plain = &self.batch.data[self.batch.chunks[number].clone()];
            let hash = *blake3::keyed_hash(&keys.secrets.plaintext_hash, plain).as_bytes();
            let chunk = match known.get(&hash) {
                Some(known) => {
                    if known.doubtful {
                        self.doubtful.push(number);
                        self.learned.push(number);
                    }
                    SealedChunk { reference: known.reference, hash, fresh: None }
                }
                None => {
                    let under = self.under(keys, number);
                    let (reference, range) = seal_one(&mut self.sealer, keys, under, plain, &mut self.sealed)?;
                    self.learned.push(number);
                    SealedChunk { reference, hash, fresh: Some(range) }
                }
            };
            self.chunks.push(chunk);
        }
        Ok(())
    }

    /// Under what a chunk of the batch is sealed.
    fn under(&self, keys: &crate::keys::Keys, number: usize) -> Under {
        if self.batch.private.contains(&number) { Under::Own } else { keys.newest() }
    }

    fn seal_these(&mut self, keys: &crate::keys::Keys, numbers: &[usize]) -> Result<(), RepoError> {
        for &number in numbers {
            let plain = &self.batch.data[self.batch.chunks[number].clone()];
            let under = self.under(keys, number);
            let (reference, range) = seal_one(&mut self.sealer, keys, under, plain, &mut self.sealed)?;
            let chunk = &mut self.chunks[number];
            chunk.reference = reference;
            chunk.fresh = Some(range);
        }
        Ok(())
    }
}

fn seal_one(
    sealer: &mut Sealer,
    keys: &crate::keys::Keys,
    under: Under,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> Result<(ChunkRef, std::ops::Range<usize>), RepoError> {
    let start = out.len();
    let reference = sealer.seal(keys.chunk_key(under)?, under, plain, out);
    Ok((reference, start..out.len()))
}

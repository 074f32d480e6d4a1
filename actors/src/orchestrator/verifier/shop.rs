//! What every piece of work needs: storage, keys, claim, and the log to decide in.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use env::{Env, Steward, run_blocking, store::StoreError};
use protocol::{
    codec::DecodeError,
    commands::{Command, Decided, Publication},
    failure::Failure,
    format::segment::{PackRow, Prefix, Row, Segment},
    ids::{ChunkId, ClientId, DomainId, LeaseId, PublicKey, RepositoryId, Sha256},
    limits,
    names::{ObjectKey, ObjectName, Place},
    sign::Signer,
};
use sha2::Digest as _;

use crate::{
    log::Log,
    orchestrator::{
        desk::{Desk, unexpected},
        judge::{self, Verdict},
    },
};

/// Tables, heads or blocks that are read at the same time.
pub const READS_IN_FLIGHT: usize = 8;

/// Where a chunk is: a row of a run. Ordered by chunk, then by pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Which chunk.
    pub id: ChunkId,
    /// Its pack.
    pub pack: PackRow,
    /// Where in it the sealed bytes start.
    pub offset: u32,
    /// How many they are.
    pub len: u32,
}

/// A repository and domain that is worked on.
pub struct Shop {
    pub env: Env,
    pub repository: RepositoryId,
    pub domain: DomainId,
    pub claim: LeaseId,
    pub index_key: [u8; 32],
    pub signer: Signer,
    pub steward: Arc<dyn Steward>,
    desk: Desk,
}

/// An object that was read whole.
pub enum Read {
    /// Its bytes are those of its name.
    Sound(Bytes),
    /// It is lost, or damaged.
    Lost(String),
}

impl Shop {
    pub fn open(desk: &Desk, repository: RepositoryId, domain: DomainId, claim: LeaseId) -> Result<Self, Failure> {
        Ok(Self {
            env: desk.env.clone(),
            repository,
            domain,
            claim,
            index_key: desk.stewards.index_key(&domain)?,
            signer: desk.identity.signer(),
            steward: desk.stewards.of(&repository)?,
            desk: desk.clone(),
        })
    }

    fn log(&self) -> &Log {
        &self.desk.log
    }

    /// Runs what computes for long on a thread, and waits for it.
    pub async fn run<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        run_blocking(&*self.env.blocking, work).await
    }

    /// Who signs a client's own segments.
    pub fn commit_key(&self, client: &ClientId) -> Option<PublicKey> {
        self.log().ledger().read().enrollment(client).map(|enrollment| enrollment.keys.commit)
    }

    /// What is condemned now.
    pub fn condemned(&self) -> BTreeSet<ObjectName> {
        let ledger = self.log().ledger().read();
        let reuse = ledger.reuse(&self.repository, &self.domain);
        reuse.map(|reuse| reuse.condemned().copied().collect()).unwrap_or_default()
    }

    /// Published segments for members that `wanted` names.
    pub fn published(
        &self,
        wanted: impl Fn(&Option<ClientId>) -> bool,
    ) -> Vec<(ObjectName, control::ledger::Published)> {
        let ledger = self.log().ledger().read();
        let reuse = ledger.reuse(&self.repository, &self.domain);
        let published = reuse.into_iter().flat_map(|reuse| reuse.published());
        published.filter(|(_, segment)| wanted(&segment.scope)).map(|(name, segment)| (*name, *segment)).collect()
    }

    pub fn pack(&self, name: ObjectName) -> ObjectKey {
        Place::Pack(self.domain).object(name)
    }

    pub fn segment(&self, name: ObjectName) -> ObjectKey {
        Place::Index(self.domain).object(name)
    }

    /// Reads an object whole, and checks that its bytes are those of its name.
    pub async fn read(&self, key: ObjectKey) -> Result<Read, Failure> {
        let bytes = match self.steward.get(&key.to_string(), limits::OBJECT_BYTES_MAX).await {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Ok(Read::Lost("it is not in the storage".into())),
            Err(error) => return Err(unanswered(&error)),
        };
        let hashed = bytes.clone();
        let hash = self.run(move || Sha256(sha2::Sha256::digest(&hashed).into())).await;
        match hash == key.name.hash {
            true => Ok(Read::Sound(bytes)),
            false => Ok(Read::Lost("its bytes are not those of its name".into())),
        }
    }

    /// Judges a pack that was not what it should be. Some if it is bad.
    pub async fn judge(&self, pack: ObjectName) -> Result<Option<String>, Failure> {
        match judge::judge(&self.env, &*self.steward, &self.pack(pack), &self.index_key).await {
            Verdict::Sound => Ok(None),
            Verdict::Bad(reason) => Ok(Some(reason)),
            Verdict::Unknown(reason) => Err(Failure::retry(reason)),
        }
    }

    pub async fn condemn(&self, objects: BTreeSet<ObjectName>) -> Result<(), Failure> {
        if objects.is_empty() {
            return Ok(());
        }
        let objects = objects.into_iter().collect();
        let command = Command::Condemn { repository: self.repository, domain: self.domain, objects };
        match self.log().propose(command).await? {
            Decided::Condemned(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// A publication of nothing in the place of nothing.
    pub fn publication(&self, scope: Option<ClientId>) -> Publication {
        Publication {
            claim: self.claim,
            repository: self.repository,
            domain: self.domain,
            scope,
            segments: Vec::new(),
            covers_own: Vec::new(),
            covers: Vec::new(),
            mends: Vec::new(),
        }
    }

    pub async fn publish(&self, publication: Publication) -> Result<(), Failure> {
        match self.log().propose(Command::Publish { publication }).await? {
            Decided::Published => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

/// The storage gave no clear answer: the work is done again.
pub fn unanswered(error: &StoreError) -> Failure {
    Failure::retry(error.to_string())
}

/// A segment that was read whole.
pub struct Whole {
    pub segment: Segment,
    bytes: Bytes,
    packs: Vec<PackRow>,
}

impl Whole {
    /// Opens head and pack table.
    pub fn open(bytes: Bytes, index_key: &[u8; 32]) -> Result<Self, DecodeError> {
        let prefix = Prefix::decode(&bytes)?;
        let head = prefix.head();
        let sealed_head = bytes.get(head.start as usize..head.end as usize).unwrap_or_default();
        let segment = Segment::open(prefix, sealed_head, index_key)?;
        let mut whole = Self { segment, bytes, packs: Vec::new() };
        for number in whole.row_blocks()..whole.segment.blocks() {
            let packs = whole.segment.open_packs(number, whole.block(number))?;
            whole.packs.extend(packs);
        }
        Ok(whole)
    }

    /// How many blocks of rows there are.
    pub fn row_blocks(&self) -> usize {
        self.segment.head().blocks.len()
    }

    fn block(&self, number: usize) -> &[u8] {
        let range = self.segment.block_range(number).unwrap_or_default();
        self.bytes.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    /// The rows of a block.
    pub fn rows(&self, number: usize) -> Result<Vec<Spot>, DecodeError> {
        let rows = self.segment.open_block(number, self.block(number))?;
        // A row's pack was compared with the table's length when the block was opened.
        let spot =
            |Row { id, pack, offset, len }| Some(Spot { id, pack: *self.packs.get(pack as usize)?, offset, len });
        Ok(rows.into_iter().filter_map(spot).collect())
    }
}

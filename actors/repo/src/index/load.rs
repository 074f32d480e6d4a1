//! Reading heads and blocks of segments.

use std::sync::Arc;

use bytes::Bytes;
use protocol::{
    format::segment::{PREFIX_LEN, PackRow, Prefix, Row, Segment},
    names::ObjectName,
};

use super::{
    Index,
    kept::{Block, Opened},
    lock,
    segments::{Named, Origin},
};
use crate::error::RepoError;

/// What is read of a segment at first: enough for the head of 90,000 chunks.
const HEAD_GUESS: u64 = 128 << 10;

impl Index {
    /// A segment's head. None if it is damaged.
    pub(super) async fn opened(&self, named: Named) -> Result<Option<Arc<Opened>>, RepoError> {
        if lock(&self.damaged).contains_key(&named.name) || self.shuns(&named.name) {
            return Ok(None);
        }
        let place = lock(&self.heads).place(&named.name);
        match place.get_or_try_init(|| self.read_head(&named)).await {
            Ok(opened) => Ok(Some(opened.clone())),
            Err(error) => self.tolerate(named.name, error).map(|()| None),
        }
    }

    async fn read_head(&self, named: &Named) -> Result<Arc<Opened>, RepoError> {
        let name = named.name;
        let cache_name = self.head_name(&name);
        if let Some(bytes) = self.context.cache.get(&cache_name).await
            && let Ok(segment) = self.open_head(named, &bytes)
        {
            return Ok(Arc::new(Opened { name, segment }));
        }
        let key = self.context.keys.segment(name);
        let mut bytes = self.context.objects.get(&key, Some(0..HEAD_GUESS)).await?;
        let head = Prefix::decode(&bytes).map_err(|error| RepoError::decoding(key, error))?.head();
        if (bytes.len() as u64) < head.end {
            bytes = self.context.objects.get(&key, Some(0..head.end)).await?;
        }
        let end = (head.end as usize).min(bytes.len());
        let segment = self.open_head(named, &bytes[..end])?;
        self.context.cache.insert(cache_name, Bytes::copy_from_slice(&bytes[..end]));
        Ok(Arc::new(Opened { name, segment }))
    }

    fn open_head(&self, named: &Named, bytes: &[u8]) -> Result<Segment, RepoError> {
        let keys = &self.context.keys;
        let key = keys.segment(named.name);
        let fail = |error| RepoError::decoding(key, error);
        let prefix = Prefix::decode(bytes).map_err(fail)?;
        let sealed_head = bytes.get(PREFIX_LEN..prefix.head().end as usize).unwrap_or_default();
        let segment = Segment::open(prefix, sealed_head, &keys.secrets.index).map_err(fail)?;
        let head = segment.head();
        if head.repository != keys.repository || head.domain != keys.domain.id {
            return Err(RepoError::corrupt(format!("{key} was written for another repository or domain")));
        }
        // A published one may be signed by any orchestrator that there ever was: the log
        // decided its name, and the name is the hash of its bytes.
        if named.origin == Origin::Own && *segment.author() != keys.commit_key() {
            return Err(RepoError::corrupt(format!("{key} was signed by another key than this client's")));
        }
        Ok(segment)
    }

    /// The rows of a block; none if it is damaged.
    pub(super) async fn rows(&self, opened: &Opened, number: usize) -> Result<Arc<Vec<Row>>, RepoError> {
        match self.block(opened, number).await? {
            Some(Block::Rows(rows)) => Ok(rows),
            _ => Ok(Arc::default()),
        }
    }

    /// A block of the pack table; empty if it is damaged.
    pub(super) async fn packs(&self, opened: &Opened, number: usize) -> Result<Arc<Vec<PackRow>>, RepoError> {
        match self.block(opened, number).await? {
            Some(Block::Packs(packs)) => Ok(packs),
            _ => Ok(Arc::default()),
        }
    }

    /// The pack of this number; None if its block is damaged.
    pub(super) async fn pack(&self, opened: &Opened, pack: u32) -> Result<Option<PackRow>, RepoError> {
        let (block, at) = opened.segment.pack_block(pack);
        Ok(self.packs(opened, block).await?.get(at).copied())
    }

    async fn block(&self, opened: &Opened, number: usize) -> Result<Option<Block>, RepoError> {
        let place = (opened.name, number);
        if let Some(block) = lock(&self.blocks).get(&place) {
            return Ok(Some(block));
        }
        let cache_name = self.block_name(&opened.name, number);
        let cached = self.context.cache.get(&cache_name).await;
        let block = match cached.and_then(|bytes| open_block(&opened.segment, number, &bytes).ok()) {
            Some(block) => block,
            None => match self.fetch_block(opened, number).await {
                Ok((block, bytes)) => {
                    self.context.cache.insert(cache_name, bytes);
                    block
                }
                Err(error) => return self.tolerate(opened.name, error).map(|()| None),
            },
        };
        lock(&self.blocks).insert(place, block.clone());
        Ok(Some(block))
    }

    async fn fetch_block(&self, opened: &Opened, number: usize) -> Result<(Block, Bytes), RepoError> {
        let key = self.context.keys.segment(opened.name);
        let bytes = self.context.objects.get(&key, opened.segment.block_range(number)).await?;
        let block = open_block(&opened.segment, number, &bytes)?;
        Ok((block, bytes))
    }

    pub(super) fn head_name(&self, name: &ObjectName) -> [u8; 32] {
        self.context.keys.cache_name(b"head", &[name.to_string().as_bytes()])
    }

    pub(super) fn block_name(&self, name: &ObjectName, number: usize) -> [u8; 32] {
        self.context.keys.cache_name(b"page", &[name.to_string().as_bytes(), &(number as u64).to_le_bytes()])
    }
}

fn open_block(segment: &Segment, number: usize, bytes: &[u8]) -> Result<Block, RepoError> {
    let opened = match number < segment.head().blocks.len() {
        true => segment.open_block(number, bytes).map(|rows| Block::Rows(Arc::new(rows))),
        false => segment.open_packs(number, bytes).map(|packs| Block::Packs(Arc::new(packs))),
    };
    opened.map_err(|error| RepoError::decoding("a block of an index segment", error))
}

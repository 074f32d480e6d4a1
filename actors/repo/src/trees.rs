//! Reading trees: through the cache first, then a whole tree pack at a time.
//!
//! Invariant: whatever came from cache or store is opened against the reference
//! that asked for it, so damage is an error here and never an entry.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use protocol::{
    format::{
        chunk::ChunkRef,
        content::{self, Content, Cursor, Next},
        tree::{self, Blob, Entry, What},
    },
    ids::ChunkId,
    limits,
    names::ObjectName,
};

use crate::{
    context::Context,
    error::{Kind, RepoError},
    index::{Home, Index},
    open::Opener,
};

/// Tree packs kept in memory: trees are read in about the order they were written.
const PACKS_KEPT: usize = 3;
/// A pack up to this length is read whole when one tree chunk of it is asked for.
const PACK_WHOLE_MAX: u32 = 2 * limits::TREE_PACK_BYTES_TARGET as u32;

/// Reads tree chunks.
pub struct TreeReader {
    context: Context,
    index: Arc<Index>,
    packs: Mutex<VecDeque<(ObjectName, Bytes)>>,
    /// Tree chunks read since the last [`TreeReader::take_read`], if someone wants to know.
    read: Option<Mutex<Vec<ChunkId>>>,
}

impl TreeReader {
    /// Resolves chunks by `index`.
    pub fn new(context: Context, index: Arc<Index>) -> Self {
        Self { context, index, packs: Mutex::default(), read: None }
    }

    /// Remembers which chunks it read.
    pub fn remembering(self) -> Self {
        Self { read: Some(Mutex::default()), ..self }
    }

    /// The tree chunks that were read since the last call.
    pub fn take_read(&self) -> Vec<ChunkId> {
        let read =
            self.read.as_ref().map(|read| std::mem::take(&mut *read.lock().unwrap_or_else(PoisonError::into_inner)));
        read.unwrap_or_default()
    }

    /// The plaintext of a tree chunk.
    pub async fn plain(&self, reference: &ChunkRef) -> Result<Bytes, RepoError> {
        let keys = &self.context.keys;
        let mut opener = Opener::new()?;
        if let Some(read) = &self.read {
            read.lock().unwrap_or_else(PoisonError::into_inner).push(reference.id);
        }
        if let Some(sealed) = self.context.cache.get(&reference.id.0).await
            && let Ok(plain) = opener.open(keys, &sealed, reference)
        {
            return Ok(plain);
        }
        let mut failed = None;
        for home in self.index.homes(&reference.id).await? {
            let opened = match self.sealed(&home).await {
                Ok(sealed) => opener.open(keys, &sealed, reference).map(|plain| (sealed, plain)),
                Err(error) => Err(error),
            };
            match opened {
                Ok((sealed, plain)) => {
                    // A copy, so that the cache does not keep a whole pack alive.
                    self.context.cache.insert(reference.id.0, Bytes::copy_from_slice(&sealed));
                    return Ok(plain);
                }
                Err(error) if matches!(error.kind, Kind::Corrupt | Kind::NotFound) => {
                    let pack = keys.pack(home.pack.name);
                    let named = RepoError::corrupt(format!("{pack} is damaged where tree chunk {} lies", reference.id));
                    failed = Some(named.because(error));
                }
                Err(error) => return Err(error),
            }
        }
        Err(match failed {
            Some(error) => error,
            None => missing(&self.index, reference).await?,
        })
    }

    async fn sealed(&self, home: &Home) -> Result<Bytes, RepoError> {
        let range = home.offset as usize..home.offset as usize + home.len as usize;
        if home.pack.len > PACK_WHOLE_MAX {
            let range = range.start as u64..range.end as u64;
            return self.context.objects.get(&self.context.keys.pack(home.pack.name), Some(range)).await;
        }
        let kept = {
            let packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
            packs.iter().find(|(name, _)| *name == home.pack.name).map(|(_, bytes)| bytes.clone())
        };
        let bytes = match kept {
            Some(bytes) => bytes,
            None => {
                let bytes = self.context.objects.get(&self.context.keys.pack(home.pack.name), None).await?;
                let mut packs = self.packs.lock().unwrap_or_else(PoisonError::into_inner);
                packs.push_back((home.pack.name, bytes.clone()));
                if packs.len() > PACKS_KEPT {
                    packs.pop_front();
                }
                bytes
            }
        };
        if bytes.len() < range.end {
            return Err(RepoError::corrupt(format!("{} is cut short", self.context.keys.pack(home.pack.name))));
        }
        Ok(bytes.slice(range))
    }

    /// The entries of one node.
    pub async fn node(&self, reference: &ChunkRef) -> Result<Vec<Entry>, RepoError> {
        let plain = self.plain(reference).await?;
        tree::decode_node(&plain).map_err(|error| RepoError::decoding(format_args!("tree {}", reference.id), error))
    }

    /// The references of one block.
    pub async fn block(&self, reference: &ChunkRef) -> Result<Vec<ChunkRef>, RepoError> {
        let plain = self.plain(reference).await?;
        content::decode_block(&plain)
            .map_err(|error| RepoError::decoding(format_args!("block of references {}", reference.id), error))
    }

    /// The next chunk of a content, with the blocks between read.
    pub async fn next_chunk(&self, cursor: &mut Cursor) -> Result<Option<ChunkRef>, RepoError> {
        loop {
            match cursor.advance() {
                Next::Chunk(reference) => return Ok(Some(reference)),
                Next::Block(reference) => cursor.enter(self.block(&reference).await?),
                Next::End => return Ok(None),
            }
        }
    }

    /// The entry at a path below a directory; None if there is none.
    pub async fn find(&self, directory: Content, path: &[Blob]) -> Result<Option<Entry>, RepoError> {
        let mut content = directory;
        let mut found = None;
        for (depth, name) in path.iter().enumerate() {
            let mut stream = DirectoryStream::new(std::mem::take(&mut content));
            let entry = loop {
                match stream.next(self).await? {
                    Some(entry) if entry.name < *name => {}
                    Some(entry) if entry.name == *name => break entry,
                    _ => return Ok(None),
                }
            };
            match &entry.what {
                What::Directory { content: inner } => content = inner.clone(),
                _ if depth + 1 < path.len() => return Ok(None),
                _ => {}
            }
            found = Some(entry);
        }
        Ok(found)
    }
}

/// The error of a chunk that no segment knows.
pub async fn missing(index: &Index, reference: &ChunkRef) -> Result<RepoError, RepoError> {
    let error = RepoError::corrupt(format!("chunk {} is in no index segment", reference.id));
    Ok(match &index.damaged_so_far()[..] {
        [] => error,
        [(name, cause), ..] => RepoError::corrupt(format!(
            "chunk {} is in no index segment, and segment {name} cannot be read",
            reference.id
        ))
        .because(cause.clone()),
    })
}

/// The entries of one directory, in order, a node at a time.
pub struct DirectoryStream {
    cursor: Cursor,
    entries: std::vec::IntoIter<Entry>,
    last: Option<Blob>,
}

impl DirectoryStream {
    /// At the first entry.
    pub fn new(content: Content) -> Self {
        Self { cursor: Cursor::new(content), entries: Vec::new().into_iter(), last: None }
    }

    /// The next entry.
    pub async fn next(&mut self, trees: &TreeReader) -> Result<Option<Entry>, RepoError> {
        loop {
            if let Some(entry) = self.entries.next() {
                if self.last.as_ref().is_some_and(|last| *last >= entry.name) {
                    return Err(RepoError::corrupt("a directory's nodes are not in order"));
                }
                self.last = Some(entry.name.clone());
                return Ok(Some(entry));
            }
            match trees.next_chunk(&mut self.cursor).await? {
                Some(reference) => self.entries = trees.node(&reference).await?.into_iter(),
                None => return Ok(None),
            }
        }
    }
}

//! Comparing files that are there with what is to be restored, without fetching it:
//! sealing the bytes at hand gives the key that the snapshot's tree names.
//!
//! Invariant: a piece counts as the same only if its bytes were read here and give
//! that key; what cannot be read is fetched.

use std::sync::Arc;

use env::{
    Files,
    files::{Metadata, SourceFile},
};
use protocol::format::chunk::ChunkRef;

use super::wave::{Fate, Part, Piece};
use crate::{context::Context, error::RepoError, keys::Keys, seal::Sealer};

/// Bytes of a hole that are looked at together.
const ZEROS_BYTES: usize = 256 << 10;

/// Marks the pieces that are there already, on all cores.
pub async fn compare(context: &Context, parts: Vec<Part>) -> Result<Vec<Part>, RepoError> {
    if !parts.iter().any(|part| matches!(part.fate, Fate::Amend(_))) {
        return Ok(parts);
    }
    let jobs = share(parts, context.cores()).into_iter().map(|mut parts| {
        let (files, keys) = (context.files.clone(), context.keys.clone());
        context.run(move || {
            let mut comparer = Comparer { files, sealer: Sealer::new(keys.domain.codec)?, keys, buffer: Vec::new() };
            parts.iter_mut().for_each(|part| comparer.part(part));
            Ok(parts)
        })
    });
    let compared: Result<Vec<Vec<Part>>, RepoError> = futures_util::future::join_all(jobs).await.into_iter().collect();
    Ok(compared?.into_iter().flatten().collect())
}

/// Splits parts into runs of about the same work, in order.
pub fn share(parts: Vec<Part>, cores: usize) -> Vec<Vec<Part>> {
    const FILE_COST: u64 = 64 << 10;
    let cost = |part: &Part| FILE_COST + part.pieces.iter().map(|piece| u64::from(piece.reference.len)).sum::<u64>();
    let fair = parts.iter().map(cost).sum::<u64>() / cores as u64 + 1;
    let mut shares: Vec<Vec<Part>> = Vec::new();
    let mut full = fair;
    for part in parts {
        if full >= fair {
            shares.push(Vec::new());
            full = 0;
        }
        full += cost(&part);
        if let Some(share) = shares.last_mut() {
            share.push(part);
        }
    }
    shares
}

struct Comparer {
    files: Arc<dyn Files>,
    keys: Arc<Keys>,
    sealer: Sealer,
    buffer: Vec<u8>,
}

impl Comparer {
    fn part(&mut self, part: &mut Part) {
        let Fate::Amend(found) = &part.fate else { return };
        let Some(mut source) = open_as_found(&*self.files, part, found) else { return };
        for piece in &mut part.pieces {
            let end = piece.offset + u64::from(piece.reference.len);
            piece.same = end <= found.len && self.is_same(&mut *source, piece).unwrap_or(false);
        }
    }

    fn is_same(&mut self, source: &mut dyn SourceFile, piece: &Piece) -> std::io::Result<bool> {
        let Piece { offset, reference: ChunkRef { key, len, under, .. }, .. } = *piece;
        if piece.reference.is_hole() {
            return self.is_zero(source, offset, offset + u64::from(len));
        }
        // Without its key nothing can be said, and nothing could be restored: that is told when it is fetched.
        let Ok(chunk_key) = self.keys.chunk_key(under) else { return Ok(false) };
        source.seek(offset);
        self.buffer.resize(len as usize, 0);
        Ok(read_full(source, &mut self.buffer)? && self.sealer.key_of(chunk_key, &self.buffer) == key)
    }

    fn is_zero(&mut self, source: &mut dyn SourceFile, mut at: u64, end: u64) -> std::io::Result<bool> {
        while let Some(data) = source.data_after(at)?.filter(|data| data.start < end) {
            at = data.start;
            while at < data.end.min(end) {
                let len = (data.end.min(end) - at).min(ZEROS_BYTES as u64);
                self.buffer.resize(len as usize, 0);
                source.seek(at);
                if !read_full(source, &mut self.buffer)? || self.buffer.iter().any(|byte| *byte != 0) {
                    return Ok(false);
                }
                at += len;
            }
        }
        Ok(true)
    }
}

/// Opens the file that was found at a path. None if it cannot be read, or is another by now.
pub fn open_as_found(files: &dyn Files, part: &Part, found: &Metadata) -> Option<Box<dyn SourceFile>> {
    let source = files.open(&part.path).ok()?;
    source.metadata().is_ok_and(|now| is_unchanged(&now, found)).then_some(source)
}

/// Whether a file is what it was.
pub fn is_unchanged(now: &Metadata, found: &Metadata) -> bool {
    let stamp = |metadata: &Metadata| {
        let Metadata { device, inode, len, mtime, ctime, .. } = *metadata;
        (device, inode, len, mtime, ctime)
    };
    stamp(now) == stamp(found)
}

/// Fills the buffer; false if the file ends before.
pub fn read_full(source: &mut dyn SourceFile, mut buffer: &mut [u8]) -> std::io::Result<bool> {
    while !buffer.is_empty() {
        match source.read(buffer)? {
            0 => return Ok(false),
            len => buffer = &mut buffer[len..],
        }
    }
    Ok(true)
}

//! A file of which a copy is written to, in memory.
//!
//! Invariant: the file itself is only read.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use redb::StorageBackend;

/// What is copied when a byte of it is written.
const BLOCK_BYTES: u64 = 4096;

/// A file, and what was written over it.
#[derive(Debug)]
pub struct Overlay {
    file: Arc<dyn StorageBackend>,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// Up to here the file's own bytes still count.
    file_len: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK_BYTES as usize]>>,
}

impl Overlay {
    /// Nothing written yet.
    pub fn new(file: Arc<dyn StorageBackend>) -> io::Result<Self> {
        let len = file.len()?;
        Ok(Self { file, written: Mutex::new(Written { len, file_len: len, blocks: BTreeMap::new() }) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block as it is in the file: zeros beyond its end.
    fn block(&self, number: u64, file_len: u64) -> io::Result<Box<[u8; BLOCK_BYTES as usize]>> {
        let mut block = Box::new([0; BLOCK_BYTES as usize]);
        let start = number * BLOCK_BYTES;
        let there = file_len.saturating_sub(start).min(BLOCK_BYTES) as usize;
        if there > 0 {
            self.file.read(start, &mut block[..there])?;
        }
        Ok(block)
    }
}

/// The blocks that some bytes lie in: of each its number, where in it they begin, and
/// how many there are.
fn blocks(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let (mut at, end) = (offset, offset.saturating_add(len as u64));
    std::iter::from_fn(move || {
        let (number, from) = (at / BLOCK_BYTES, at % BLOCK_BYTES);
        let count = end.saturating_sub(at).min(BLOCK_BYTES - from);
        at += count;
        (count > 0).then_some((number, from as usize, count as usize))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.saturating_add(out.len() as u64) > written.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if written.blocks.is_empty() && written.len <= written.file_len {
            return self.file.read(offset, out);
        }
        let mut rest = out;
        for (number, from, count) in blocks(offset, rest.len()) {
            let (now, later) = rest.split_at_mut(count);
            match written.blocks.get(&number) {
                Some(block) => now.copy_from_slice(&block[from..from + count]),
                None => now.copy_from_slice(&self.block(number, written.file_len)?[from..from + count]),
            }
            rest = later;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        if len < written.len {
            // What is cut off is zeros if the file grows again.
            let (last, keep) = (len / BLOCK_BYTES, (len % BLOCK_BYTES) as usize);
            written.blocks.split_off(&(last + u64::from(keep > 0)));
            if let Some(block) = written.blocks.get_mut(&last) {
                block[keep..].fill(0);
            }
            written.file_len = written.file_len.min(len);
        }
        written.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let mut rest = data;
        for (number, from, count) in blocks(offset, data.len()) {
            let (now, later) = rest.split_at(count);
            if !written.blocks.contains_key(&number) {
                let block = self.block(number, written.file_len)?;
                written.blocks.insert(number, block);
            }
            if let Some(block) = written.blocks.get_mut(&number) {
                block[from..from + count].copy_from_slice(now);
            }
            rest = later;
        }
        written.len = written.len.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }
}

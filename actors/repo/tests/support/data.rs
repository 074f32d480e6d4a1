//! The content of a file in memory, with holes where nothing was written.

use std::{collections::BTreeMap, ops::Range};

const BLOCK: u64 = 4096;

/// Content. Two are equal if they read the same: holes do not matter.
#[derive(Debug, Clone, Default)]
pub struct Data {
    pub len: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Data {
    pub fn new(bytes: &[u8]) -> Self {
        let mut data = Self::default();
        data.write(0, bytes);
        data
    }

    /// How many bytes are no holes.
    pub fn allocated(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK
    }

    pub fn write(&mut self, mut offset: u64, mut bytes: &[u8]) {
        self.len = self.len.max(offset + bytes.len() as u64);
        while !bytes.is_empty() {
            let at = (offset % BLOCK) as usize;
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK as usize - at));
            let block = self.blocks.entry(offset / BLOCK).or_insert_with(|| vec![0; BLOCK as usize]);
            block[at..at + now.len()].copy_from_slice(now);
            (offset, bytes) = (offset + now.len() as u64, rest);
        }
    }

    pub fn set_len(&mut self, len: u64) {
        self.blocks.retain(|number, _| number * BLOCK < len);
        if let Some(last) = self.blocks.get_mut(&(len / BLOCK)) {
            last[(len % BLOCK) as usize..].fill(0);
        }
        self.len = len;
    }

    /// Up to the end of a block: short reads are allowed, so there are some.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let at = offset % BLOCK;
        let len = (BLOCK - at).min(self.len.saturating_sub(offset)).min(buffer.len() as u64) as usize;
        match self.blocks.get(&(offset / BLOCK)) {
            Some(block) => buffer[..len].copy_from_slice(&block[at as usize..at as usize + len]),
            None => buffer[..len].fill(0),
        }
        len
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap()];
        let mut at = 0;
        while at < bytes.len() {
            at += self.read(at as u64, &mut bytes[at..]);
        }
        bytes
    }

    pub fn data_after(&self, offset: u64) -> Option<Range<u64>> {
        let (first, _) = self.blocks.range(offset / BLOCK..).next()?;
        let last = (*first..).take_while(|number| self.blocks.contains_key(number)).last()?;
        let data = (first * BLOCK).max(offset)..((last + 1) * BLOCK).min(self.len);
        (data.start < data.end).then_some(data)
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        let zeros = vec![0; BLOCK as usize];
        let mut numbers = self.blocks.keys().chain(other.blocks.keys());
        let at = |data: &'_ Self, number| data.blocks.get(number).unwrap_or(&zeros).clone();
        self.len == other.len && numbers.all(|number| at(self, number) == at(other, number))
    }
}

impl Eq for Data {}

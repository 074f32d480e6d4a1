//! Cutting files: FastCDC (Xia et al., 2020) with a gear table of the domain's own.
//!
//! Invariant: where a chunk ends depends on its own bytes and on nothing before
//! it but where it starts, so equal stretches of files are cut equally.

use fastcdc::v2020::{Normalization, cut_gear, select_masks};
use protocol::{limits, records::Chunker};

use crate::error::RepoError;

/// Finds where chunks end.
pub struct Cutter {
    gear: Box<[u64; 256]>,
    /// Each entry of `gear` shifted left by one: the algorithm rolls two bytes at a time.
    gear_shifted: Box<[u64; 256]>,
    min: usize,
    average: usize,
    max: usize,
    mask_strict: u64,
    mask_loose: u64,
}

impl Cutter {
    /// A cutter of these sizes; refuses sizes that FastCDC cannot cut by.
    pub fn new(chunker: &Chunker, gear: &[u64; 256]) -> Result<Self, RepoError> {
        let (min, average, max) = (chunker.min as usize, chunker.average as usize, chunker.max as usize);
        let even = min.is_multiple_of(2) && average.is_multiple_of(2) && max.is_multiple_of(2);
        let known = (256..=4 << 20).contains(&average) && min >= 64 && max <= limits::CHUNK_BYTES_MAX;
        if !even || !known || min > average || average > max {
            return Err(RepoError::invalid(format!("the domain's chunk sizes make no sense: {min}, {average}, {max}")));
        }
        let (mask_strict, mask_loose) = select_masks(average, Normalization::Level1);
        let gear_shifted = Box::new(gear.map(|word| word << 1));
        Ok(Self { gear: Box::new(*gear), gear_shifted, min, average, max, mask_strict, mask_loose })
    }

    /// The longest chunk.
    pub fn max(&self) -> usize {
        self.max
    }

    /// What chunk sizes gather around.
    pub fn average(&self) -> usize {
        self.average
    }

    /// Length of the first chunk of `data`, which is not empty. None if it takes
    /// more data to say so; `last` means that there is no more.
    pub fn cut(&self, data: &[u8], last: bool) -> Option<usize> {
        if data.len() < self.max && !last {
            return None;
        }
        let (_, len) = cut_gear(
            data,
            self.min,
            self.average,
            self.max,
            self.mask_strict,
            self.mask_loose,
            self.mask_strict << 1,
            self.mask_loose << 1,
            &self.gear[..],
            &self.gear_shifted[..],
        );
        Some(len)
    }
}

//! Random draws that are a function of a seed and a purpose, on every machine.

/// Bytes that are drawn at once for small draws.
const BUFFER_BYTES: usize = 4096;

/// A stream of draws: the extendable output of BLAKE3.
pub struct Draws {
    stream: blake3::OutputReader,
    buffer: [u8; BUFFER_BYTES],
    at: usize,
}

impl Draws {
    /// The draws of this seed for one purpose; purposes share none.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("nuthatch 2026 benches corpus");
        hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
        Self { stream: hasher.finalize_xof(), buffer: [0; BUFFER_BYTES], at: BUFFER_BYTES }
    }

    /// Fills `bytes` with noise that does not compress.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.stream.fill(bytes);
    }

    /// This many bytes of noise.
    pub fn noise(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        if self.at == BUFFER_BYTES {
            self.stream.fill(&mut self.buffer);
            self.at = 0;
        }
        let mut eight = [0; 8];
        eight.copy_from_slice(&self.buffer[self.at..self.at + 8]);
        self.at += 8;
        u64::from_le_bytes(eight)
    }

    /// A number below `bound`, which is not zero. The bias is far below what a corpus shows.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    /// A number from 0 to 1, without 1.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number whose logarithm is normally distributed (Box and Muller 1958).
    pub fn log_normal(&mut self, mean: f64, deviation: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let angle = std::f64::consts::TAU * self.unit();
        (mean + deviation * radius * angle.cos()).exp()
    }

    /// One of these, of which there is at least one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// `count` different ones of these, or all if there are fewer, in any order.
    pub fn sample<T: Clone>(&mut self, from: &[T], count: usize) -> Vec<T> {
        let mut all = from.to_vec();
        let count = count.min(all.len());
        for place in 0..count {
            let other = self.between(place, all.len() - 1);
            all.swap(place, other);
        }
        all.truncate(count);
        all
    }
}

//! Which packs' data is read.

use std::collections::BTreeMap;

use env::Rng;
use protocol::names::ObjectName;

/// How much data is read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum ReadData {
    /// None: only what says where it is.
    #[default]
    Nothing,
    /// That of some packs, by chance: this share of them, above 0 and below 1, and at
    /// least one.
    Sample(f64),
    /// All.
    All,
}

/// What becomes of a pack that is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// It was decided earlier.
    Known,
    /// Its data is read.
    Chosen,
    /// Its data is not read.
    Passed,
}

/// Chooses packs as they are met: every n-th, from a random start, so that each has the
/// same chance and the share is met to within one.
pub struct Chooser {
    read: ReadData,
    /// What is missing to the next choice, in packs.
    due: f64,
    chosen: BTreeMap<ObjectName, bool>,
    /// The pack to be read if none is chosen: each pack met is as likely as any other.
    spare: Option<ObjectName>,
}

impl Chooser {
    /// Chooses by chance.
    pub fn new(read: ReadData, rng: &dyn Rng) -> Self {
        Self { read, due: unit(rng), chosen: BTreeMap::new(), spare: None }
    }

    /// Meets a pack.
    pub fn choose(&mut self, pack: &ObjectName, rng: &dyn Rng) -> Choice {
        if self.chosen.contains_key(pack) {
            return Choice::Known;
        }
        let chosen = match self.read {
            ReadData::Nothing => false,
            ReadData::All => true,
            ReadData::Sample(share) => {
                self.due -= share;
                let chosen = self.due < 0.0;
                self.due += f64::from(u8::from(chosen));
                chosen
            }
        };
        self.chosen.insert(*pack, chosen);
        if unit(rng) * self.chosen.len() as f64 <= 1.0 {
            self.spare = Some(*pack);
        }
        if chosen { Choice::Chosen } else { Choice::Passed }
    }

    /// Whether a pack's data is read.
    pub fn is_chosen(&self, pack: &ObjectName) -> bool {
        self.chosen.get(pack).copied().unwrap_or(false)
    }

    /// If a sample was asked for and came out empty: chooses one pack that was met.
    /// Everything has to be gone through once more.
    pub fn choose_spare(&mut self) -> Option<ObjectName> {
        let is_empty = matches!(self.read, ReadData::Sample(_)) && !self.chosen.values().any(|chosen| *chosen);
        let spare = self.spare.filter(|_| is_empty)?;
        self.chosen.insert(spare, true);
        Some(spare)
    }
}

/// A number from 0 to 1, without 1.
fn unit(rng: &dyn Rng) -> f64 {
    let mut bytes = [0; 4];
    rng.fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use protocol::ids::{LeaseId, Sha256};

    use super::*;

    struct Counting(AtomicU64);

    impl Rng for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(bytes);
        }
    }

    fn pack(number: u8) -> ObjectName {
        ObjectName { lease: LeaseId { incarnation: 1, index: 1 }, hash: Sha256([number; 32]) }
    }

    #[test]
    fn a_sample_has_its_share_wherever_it_starts() {
        for start in 0..50 {
            let rng = Counting(AtomicU64::new(start * 1000));
            let mut chooser = Chooser::new(ReadData::Sample(0.05), &rng);
            let chosen = (0..200).filter(|number| chooser.choose(&pack(*number), &rng) == Choice::Chosen).count();
            assert!((9..=11).contains(&chosen), "{chosen}");
            assert_eq!(chooser.choose_spare(), None);
        }
    }

    #[test]
    fn of_few_packs_one_is_read_and_each_has_its_chance() {
        let mut taken = [0; 3];
        for start in 0..600 {
            let rng = Counting(AtomicU64::new(start * 1000));
            let mut chooser = Chooser::new(ReadData::Sample(0.001), &rng);
            let chosen: Vec<u8> =
                (0..3).filter(|number| chooser.choose(&pack(*number), &rng) == Choice::Chosen).collect();
            let taken_now = chosen.first().copied().or(chooser.choose_spare().map(|name| name.hash.0[0]));
            taken[usize::from(taken_now.unwrap())] += 1;
        }
        assert!(taken.iter().all(|count| *count > 120), "{taken:?}");
    }
}

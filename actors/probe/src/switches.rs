//! The switches and counters of this process.
//!
//! Invariant: what `draw` answers is a function of the seed and of how often it was
//! asked about the same point, so a run that is single-threaded replays.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use crate::{ALWAYS_PPM, Plant, Point};

/// Which fault is planted.
static PLANTED: AtomicU8 = AtomicU8::new(NOTHING);
const NOTHING: u8 = u8::MAX;
const _: () = assert!(Plant::ALL.len() < NOTHING as usize);
/// How often it has struck.
static STRUCK: AtomicU64 = AtomicU64::new(0);
/// How often each path was taken.
static REACHED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

struct Dice {
    share_ppm: AtomicU32,
    state: AtomicU64,
    yes: AtomicU64,
}

static DICE: [Dice; Point::ALL.len()] =
    [const { Dice { share_ppm: AtomicU32::new(0), state: AtomicU64::new(0), yes: AtomicU64::new(0) } };
        Point::ALL.len()];

fn lock_reached() -> MutexGuard<'static, BTreeMap<&'static str, u64>> {
    REACHED.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn reach(name: &'static str) {
    *lock_reached().entry(name).or_default() += 1;
}

pub(crate) fn strikes(plant: Plant) -> bool {
    let strikes = PLANTED.load(Relaxed) == plant as u8;
    if strikes {
        STRUCK.fetch_add(1, Relaxed);
    }
    strikes
}

pub(crate) fn draw(point: Point) -> bool {
    let dice = &DICE[point as usize];
    let share = dice.share_ppm.load(Relaxed);
    if share == 0 {
        return false;
    }
    let drawn = mix(dice.state.fetch_add(GOLDEN, Relaxed));
    let yes = drawn % u64::from(ALWAYS_PPM) < u64::from(share);
    dice.yes.fetch_add(u64::from(yes), Relaxed);
    yes
}

/// Odd, and far from any pattern: the step of SplitMix64 (Steele, Lea, Flood 2014).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64.
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Plants one fault, or none, in this process.
pub fn plant(plant: Option<Plant>) {
    PLANTED.store(plant.map_or(NOTHING, |plant| plant as u8), Relaxed);
}

/// Switches rare behaviour on: each point by its share, in millionths, drawn from this seed.
pub fn loosen(seed: u64, share_ppm: impl Fn(Point) -> u32) {
    for (number, point) in (1_u64..).zip(Point::ALL) {
        let dice = &DICE[*point as usize];
        dice.share_ppm.store(share_ppm(*point).min(ALWAYS_PPM), Relaxed);
        dice.state.store(mix(seed ^ number.wrapping_mul(GOLDEN)), Relaxed);
    }
}

/// The paths that were taken in this process, with how often.
pub fn reached() -> Vec<(&'static str, u64)> {
    lock_reached().iter().map(|(name, count)| (*name, *count)).collect()
}

/// How often each point has said yes in this process.
pub fn buggified() -> Vec<(Point, u64)> {
    Point::ALL.iter().map(|point| (*point, DICE[*point as usize].yes.load(Relaxed))).collect()
}

/// How often the planted fault has struck in this process.
pub fn struck() -> u64 {
    STRUCK.load(Relaxed)
}

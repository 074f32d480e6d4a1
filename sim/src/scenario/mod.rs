//! What is played in a world, and what must hold.
//!
//! Invariant: a scenario's options, faults and play are functions of the seed;
//! the faults are a list apart from the play, so that a shorter list can be tried.

pub mod cluster;
pub mod hostile;
pub mod interruptions;
pub mod joins;
pub mod leases;
pub mod minority;
pub mod network;
mod points;
pub mod rebuilds;
pub mod residents;
pub mod restores;
pub mod returns;
pub mod roster;
pub mod sharing;
pub mod split;
pub mod stage;
pub mod swarm;
pub mod upgrades;

pub use points::{POINTS, sometimes};

use crate::{
    kernel::fault::Planned,
    world::{Options, World},
};

/// One kind of run.
#[derive(Debug)]
pub struct Scenario {
    /// How it is called on the command line.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// What its world is like.
    pub options: fn(seed: u64) -> Options,
    /// What goes wrong in it.
    pub plan: fn(seed: u64) -> Vec<Planned>,
    /// Parts of what may be said by panics that belong to the play: of a library that
    /// is known to panic, and must not take anything else with it.
    pub panics: &'static [&'static str],
    /// What happens in it. The error says what did not hold.
    pub play: fn(&mut World) -> anyhow::Result<()>,
}

/// Scenarios in which everything must hold.
pub const ALL: &[&Scenario] = &[
    &cluster::SCENARIO,
    &joins::SCENARIO,
    &roster::SCENARIO,
    &returns::SCENARIO,
    &minority::SCENARIO,
    &split::SCENARIO,
    &leases::SCENARIO,
    &restores::SCENARIO,
    &hostile::SCENARIO,
    &interruptions::SCENARIO,
    &sharing::SCENARIO,
    &network::SCENARIO,
    &upgrades::SCENARIO,
    &rebuilds::SCENARIO,
    &residents::SCENARIO,
];

/// Scenarios that must fail, or the checks are blind.
pub const CONTROLS: &[&Scenario] = &[&network::LYING_DISKS];

/// The scenario that a seed plays if none is named: all have their turn.
pub fn of(seed: u64) -> &'static Scenario {
    ALL[(seed % ALL.len() as u64) as usize]
}

/// All scenarios and controls.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    ALL.iter().chain(CONTROLS).copied()
}

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    all().find(|scenario| scenario.name == name)
}

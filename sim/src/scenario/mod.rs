//! What is played in a world, and what must hold.
//!
//! Invariant: a scenario's options, faults and play are functions of the seed;
//! the faults are a list apart from the play, so that a shorter list can be tried.

pub mod cluster;
pub mod hostile;
pub mod interruptions;
pub mod joins;
pub mod network;
pub mod roster;
pub mod sharing;
pub mod split;

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

/// The scenario that is played if none is named.
pub const DEFAULT: &str = cluster::SCENARIO.name;

/// All scenarios.
pub const ALL: &[&Scenario] = &[
    &cluster::SCENARIO,
    &joins::SCENARIO,
    &roster::SCENARIO,
    &split::SCENARIO,
    &hostile::SCENARIO,
    &interruptions::SCENARIO,
    &sharing::SCENARIO,
    &network::SCENARIO,
    &network::LYING_DISKS,
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().copied().find(|scenario| scenario.name == name)
}

//! Shows that the scenarios find bugs: switches on one planted fault after the other, and
//! plays seeds until one of them fails.
//!
//! Invariant: a fault counts as found only if the same seed passes without it.

pub mod list;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context, ensure};
use probe::Plant;

use self::list::Fault;
use crate::{
    kernel::lock,
    process::{Run, run_apart},
    scenario::Scenario,
};

/// How much of what failed fits in a line of the table.
const TOLD_CHARS: usize = 110;

/// Which faults are looked for, and how long.
#[derive(Debug, Clone)]
pub struct Search {
    /// Only this fault; none: all.
    pub fault: Option<Plant>,
    /// Seeds of each scenario after which a fault counts as not found.
    pub seeds_max: u64,
    /// The first seed.
    pub from: u64,
    /// Processes at a time.
    pub jobs: usize,
}

/// How a fault was found.
#[derive(Debug)]
struct Found {
    scenario: &'static Scenario,
    seed: u64,
    /// The run, counted over all scenarios of the fault.
    number: u64,
    /// What did not hold.
    failure: String,
}

/// What became of the search for one fault.
enum End {
    Found(Found),
    /// How often it struck in all those runs.
    NotFound {
        struck: u64,
    },
}

/// Prints what is planted.
pub fn print_list() {
    for fault in list::ALL {
        let scenarios: Vec<&str> = fault.scenarios.iter().map(|scenario| scenario.name).collect();
        println!("{:20} {:9} {}; {}", fault.plant.name(), fault.breaks, fault.wrong, scenarios.join(", "));
    }
}

impl Search {
    /// Looks for the faults, and prints how each was found. True if all were, and nothing
    /// else.
    pub fn run(&self) -> anyhow::Result<bool> {
        ensure!(probe::LIVE, "this build has no planted faults: build `sim` with debug assertions");
        println!("{:20} {:9} {:>5} {:22} caught by", "fault", "breaks", "runs", "scenario, seed");
        let (mut all, mut found) = (0, 0);
        for fault in list::named(self.fault) {
            all += 1;
            found += u64::from(self.look_for(fault)?);
        }
        println!("{found} of {all} planted faults were caught");
        Ok(found == all)
    }

    fn look_for(&self, fault: &Fault) -> anyhow::Result<bool> {
        let (name, breaks) = (fault.plant.name(), fault.breaks);
        let (mut first, mut is_clean) = (0, true);
        loop {
            match self.search(fault, first)? {
                End::Found(Found { scenario, seed, number, failure }) => {
                    let without = run_apart(scenario, &Run::of(seed));
                    let without = without.map_or_else(|error| Some(format!("{error:#}")), |report| report.failure);
                    let place = format!("{}, {seed}", scenario.name);
                    if let Some(failure) = without {
                        // That is a fault of our own.
                        println!(
                            "{name:20} {breaks:9} {:>5} {place:22} FAILS WITHOUT IT: {}",
                            number + 1,
                            told(&failure)
                        );
                        (first, is_clean) = (number + 1, false);
                        continue;
                    }
                    println!("{name:20} {breaks:9} {:>5} {place:22} {}", number + 1, told(&failure));
                    return Ok(is_clean);
                }
                End::NotFound { struck } => {
                    let runs = self.seeds_max * fault.scenarios.len() as u64;
                    println!("{name:20} {breaks:9} {runs:>5} {:22} NOT CAUGHT; it struck {struck} times", "");
                    return Ok(false);
                }
            }
        }
    }

    /// Plays the fault's scenarios in turn, from this run on, until one fails.
    fn search(&self, fault: &Fault, first: u64) -> anyhow::Result<End> {
        let scenarios = fault.scenarios;
        let end = self.seeds_max.checked_mul(scenarios.len() as u64).context("too many seeds")?;
        let (next, struck) = (AtomicU64::new(first), AtomicU64::new(0));
        let found: Mutex<Option<Found>> = Mutex::default();
        let play = || loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            // Runs that began before another has failed are waited for: the first one counts.
            if number >= end || lock(&found).is_some() {
                return;
            }
            let turn = number % scenarios.len() as u64;
            let (scenario, seed) = (scenarios[turn as usize], self.from + number / scenarios.len() as u64);
            let failure = match run_apart(scenario, &Run { plant: Some(fault.plant), ..Run::of(seed) }) {
                Ok(report) => {
                    struck.fetch_add(report.struck, Ordering::Relaxed);
                    report.failure
                }
                Err(error) => Some(format!("{error:#}")),
            };
            if let Some(failure) = failure {
                let mut found = lock(&found);
                if found.as_ref().is_none_or(|found| number < found.number) {
                    *found = Some(Found { scenario, seed, number, failure });
                }
            }
        };
        thread::scope(|scope| (0..self.jobs.max(1)).for_each(|_| drop(scope.spawn(play))));
        let found = lock(&found).take();
        Ok(found.map_or(End::NotFound { struck: struck.into_inner() }, End::Found))
    }
}

/// A failure in one line.
fn told(failure: &str) -> String {
    let line = failure.lines().next().unwrap_or_default();
    line.chars().take(TOLD_CHARS).collect()
}

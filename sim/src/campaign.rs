//! Many runs, as many at a time as there are processors, and what came of them.
//!
//! Invariant: each seed of the range is played once, in whatever order; a run that could
//! not even be made counts as failed.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    process::Report,
    scenario::{self, Scenario},
};

/// How often a line tells of the progress where nobody watches.
const PROGRESS: Duration = Duration::from_secs(60);

/// Which runs to make.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// What to play; none: each scenario in its turn.
    pub scenario: Option<&'static Scenario>,
    /// The first seed.
    pub from: u64,
    /// How many seeds at most.
    pub seeds: u64,
    /// After how long no further run begins.
    pub lasts: Option<Duration>,
    /// How many at a time.
    pub jobs: usize,
}

/// What came of one seed.
pub struct Done {
    /// The report of its run, if there is one.
    pub report: Option<Report>,
    /// What is wrong, as it is to be printed.
    pub failure: Option<String>,
}

/// What came of the runs of one scenario.
#[derive(Debug, Default, Clone, Copy)]
struct Row {
    runs: u64,
    failed: u64,
    events: u64,
    packets: u64,
    simulated: Duration,
    real: Duration,
}

/// What came of all.
#[derive(Debug, Default)]
pub struct Tally {
    rows: BTreeMap<&'static str, Row>,
    /// In how many runs each path was taken.
    reached: BTreeMap<String, u64>,
    real: Duration,
}

#[expect(clippy::disallowed_methods, reason = "how fast the simulator is takes a real clock")]
fn now() -> Instant {
    Instant::now()
}

impl Campaign {
    /// Plays all of it; failures are printed as they come.
    pub fn run(&self, play: impl Fn(&'static Scenario, u64) -> Done + Sync) -> Tally {
        let started = now();
        let next = AtomicU64::new(0);
        let (give, take) = mpsc::sync_channel(self.jobs);
        let mut tally = Tally::default();
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                let (give, next, play) = (give.clone(), &next, &play);
                scope.spawn(move || {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let is_late = self.lasts.is_some_and(|lasts| started.elapsed() >= lasts);
                        if number >= self.seeds || is_late {
                            break;
                        }
                        let seed = self.from.wrapping_add(number);
                        let scenario = self.scenario.unwrap_or_else(|| scenario::of(seed));
                        let began = now();
                        let done = play(scenario, seed);
                        if give.send((scenario, began.elapsed(), done)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(give);
            let mut progress = Progress::new(self, started);
            for (scenario, took, done) in take {
                progress.clear();
                if let Some(failure) = &done.failure {
                    println!("{failure}");
                }
                tally.add(scenario, took, &done);
                progress.tell(&tally);
            }
            progress.clear();
        });
        tally.real = started.elapsed();
        tally
    }
}

/// A line on a terminal that changes; elsewhere one every minute.
struct Progress {
    is_terminal: bool,
    goal: String,
    started: Instant,
    told: Instant,
}

impl Progress {
    fn new(campaign: &Campaign, started: Instant) -> Self {
        let goal = match campaign.lasts {
            Some(lasts) => format!("{} min", lasts.as_secs() / 60),
            None => format!("{} seeds", campaign.seeds),
        };
        Self { is_terminal: io::stderr().is_terminal(), goal, started, told: started }
    }

    fn clear(&self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }

    fn tell(&mut self, tally: &Tally) {
        let all = tally.all();
        let took = self.started.elapsed();
        let minutes = took.as_secs_f64() / 60.0;
        let rate = all.runs as f64 / took.as_secs_f64();
        let line = format!(
            "{} seeds in {minutes:.1} min of {}, {} failed, {rate:.2} a second",
            all.runs, self.goal, all.failed
        );
        if self.is_terminal {
            eprint!("{line}");
        } else if self.told.elapsed() >= PROGRESS {
            self.told = now();
            println!("{line}");
        }
    }
}

impl Tally {
    fn add(&mut self, scenario: &'static Scenario, took: Duration, done: &Done) {
        let row = self.rows.entry(scenario.name).or_default();
        row.runs += 1;
        row.failed += u64::from(done.failure.is_some());
        row.real += took;
        if let Some(report) = &done.report {
            let (events, _, packets) = report.counts;
            row.events += events;
            row.packets += packets;
            row.simulated += report.time;
            for (name, _) in &report.reached {
                *self.reached.entry(name.clone()).or_default() += 1;
            }
        }
    }

    fn all(&self) -> Row {
        self.rows.values().fold(Row::default(), |sum, row| Row {
            runs: sum.runs + row.runs,
            failed: sum.failed + row.failed,
            events: sum.events + row.events,
            packets: sum.packets + row.packets,
            simulated: sum.simulated + row.simulated,
            real: sum.real + row.real,
        })
    }

    /// Whether every run did well.
    pub fn is_sound(&self) -> bool {
        self.all().failed == 0
    }

    /// Prints a table of the scenarios, what was reached, and the sums.
    pub fn tell(&self, out: &mut dyn Write) -> io::Result<()> {
        let line = |out: &mut dyn Write, name: &str, row: &Row| {
            let (hours, each) = (hours(row.simulated), row.real.as_secs_f64() / row.runs.max(1) as f64);
            let Row { runs, failed, events, packets, .. } = row;
            writeln!(out, "{name:14} {runs:7} {failed:7} {hours:9.2} {events:12} {packets:12} {each:9.2}")
        };
        let all = self.all();
        writeln!(
            out,
            "{:14} {:>7} {:>7} {:>9} {:>12} {:>12} {:>9}",
            "scenario", "seeds", "failed", "hours", "events", "packets", "s a seed"
        )?;
        for (name, row) in &self.rows {
            line(out, name, row)?;
        }
        line(out, "all", &all)?;
        self.tell_paths(out)?;
        let (real, simulated) = (self.real.as_secs_f64(), all.simulated.as_secs_f64());
        writeln!(
            out,
            "{} seeds, {} failed, {real:.1} s, {:.2} seeds a second, {:.2} simulated hours ({:.0} times real time), {} events",
            all.runs,
            all.failed,
            all.runs as f64 / real,
            hours(all.simulated),
            simulated / real,
            all.events
        )
    }

    /// How often each path was taken, and which never was, of those that could be.
    fn tell_paths(&self, out: &mut dyn Write) -> io::Result<()> {
        if !probe::LIVE {
            return writeln!(out, "this build has no probes: which paths were taken is not known");
        }
        let played = |name: &&str| name.split_once(": ").is_none_or(|(scenario, _)| self.could_play(scenario));
        let known: Vec<&str> = probe::PATHS.iter().chain(scenario::POINTS).copied().filter(played).collect();
        writeln!(out, "\npaths taken, and in how many of {} seeds:", self.all().runs)?;
        for (name, runs) in &self.reached {
            writeln!(out, "{runs:7}  {name}")?;
        }
        let never: Vec<&str> = known.into_iter().filter(|name| !self.reached.contains_key(*name)).collect();
        if !never.is_empty() {
            writeln!(out, "never taken:")?;
        }
        never.iter().try_for_each(|name| writeln!(out, "{:7}  {name}", ""))?;
        writeln!(out)
    }

    /// Whether a path is of a scenario that was played, or of none.
    fn could_play(&self, scenario: &str) -> bool {
        self.rows.contains_key(scenario) || scenario::find(scenario).is_none()
    }
}

fn hours(time: Duration) -> f64 {
    time.as_secs_f64() / 3600.0
}

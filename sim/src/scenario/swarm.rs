//! Faults in swarm style: each seed draws which kinds of trouble there are at all, and
//! then how often, when, to whom and how strong.
//!
//! That finds more than the same mixture on every seed (Groce and others, "Swarm
//! testing", 2012): a kind that is left out cannot hide what another would show.
//!
//! Invariant: whatever strikes is over after `lasts`, apart from clocks that were
//! stepped, which stay wrong by minutes at most, and losses of power that are aimed at a
//! moment: they wait for it until all is calm.

use std::{ops::Range, time::Duration};

use crate::kernel::{
    fault::{Fault, Lapse, Moment, Node, Plan},
    rng::Stream,
};

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A process dies.
    Killed,
    /// A machine loses its power.
    Unpowered,
    /// A machine loses its power at one of its own moments: at a sync, after sending.
    UnpoweredAt,
    /// A machine is cut off from all others.
    CutOff,
    /// An orchestrator is cut off from the other orchestrators, and from nobody else.
    Deserted,
    /// Packets pass between two machines in one direction only.
    CutOneWay,
    /// A process does nothing.
    Paused,
    /// A disk is full.
    DiskFull,
    /// A wall clock jumps by up to two minutes.
    ClockStepped,
    /// Clocks run up to a tenth too fast or too slow.
    ClockDrifts,
    /// A machine does not reach the storage.
    StorageCut,
    /// Nobody reaches the storage.
    StorageDown,
    /// The storage answers wrongly or not at all.
    StorageLapses,
}

use Trouble as T;

/// What an orchestrator has to live with, and everyone who depends on it. A full disk is
/// apart: it also refuses what is asked for.
pub const OF_MACHINES: &[Trouble] = &[
    T::Killed,
    T::Unpowered,
    T::UnpoweredAt,
    T::CutOff,
    T::Deserted,
    T::CutOneWay,
    T::Paused,
    T::ClockStepped,
    T::ClockDrifts,
];

/// What the storage does to those who depend on it.
pub const OF_STORAGE: &[Trouble] = &[T::StorageDown, T::StorageLapses];

/// Lapses after which the same may be tried again.
pub const LAPSES_PASSING: &[Lapse] =
    &[Lapse::Internal, Lapse::Busy, Lapse::InternalAfter, Lapse::LostRequest, Lapse::LostAnswer];

/// All that the storage may do wrong.
pub const LAPSES_ALL: &[Lapse] = &[
    Lapse::Forbidden,
    Lapse::NotFound,
    Lapse::Exists,
    Lapse::Internal,
    Lapse::Busy,
    Lapse::Full,
    Lapse::InternalAfter,
    Lapse::LostRequest,
    Lapse::LostAnswer,
    Lapse::Truncated,
    Lapse::Corrupt,
];

/// How far a wall clock jumps at most, in milliseconds. Tickets are good for 15 minutes.
const STEP_MS_MAX: u64 = 120_000;
/// How much too fast or too slow clocks run at most.
const DRIFT_PPM_MAX: u64 = 100_000;
/// At which of the moments to come a machine loses its power, at most.
const MOMENTS_MAX: u64 = 30;
/// How many requests in a row the storage answers wrongly, at most.
const LAPSES_IN_A_ROW_MAX: u64 = 3;

/// Trouble for some machines in some time.
#[derive(Debug, Clone)]
pub struct Swarm<'a> {
    /// Whom it strikes.
    pub strikes: &'a [Node],
    /// How many machines there are.
    pub machines: u32,
    /// How often, at least and less than.
    pub times: Range<u64>,
    /// When it begins.
    pub during: Range<Duration>,
    /// How long each lasts.
    pub lasts: Range<Duration>,
    /// Which kinds there may be.
    pub allowed: &'a [Trouble],
    /// What the storage may do wrong.
    pub lapses: &'a [Lapse],
}

impl Swarm<'_> {
    /// Adds what the stream draws to a plan.
    pub fn add(&self, plan: &mut Plan, stream: &mut Stream) {
        let mut enabled: Vec<Trouble> = self.allowed.iter().copied().filter(|_| stream.chance(500_000)).collect();
        if enabled.is_empty() {
            enabled.extend(stream.choose(self.allowed));
        }
        for _ in 0..stream.within(&self.times) {
            let at = Plan::moment(stream, self.during.start, self.during.end);
            let lasts = Plan::moment(stream, self.lasts.start, self.lasts.end);
            if let (Some(trouble), Some(node)) = (stream.choose(&enabled), stream.choose(self.strikes)) {
                self.strike(*trouble, *node, at, lasts, plan, stream);
            }
        }
    }

    fn strike(
        &self,
        trouble: Trouble,
        node: Node,
        at: Duration,
        lasts: Duration,
        plan: &mut Plan,
        stream: &mut Stream,
    ) {
        let (over, lasts_ms) = (at + lasts, lasts.as_millis() as u64);
        let others: Vec<Node> = (0..self.machines).map(Node).filter(|other| *other != node).collect();
        match trouble {
            T::Killed => plan.at(at, Fault::Kill(node)).at(over, Fault::Boot(node)),
            T::Unpowered => plan.outage(at, node, lasts),
            T::UnpoweredAt => {
                let moments = [Moment::BeforeSync, Moment::AfterSync, Moment::AfterSend, Moment::AfterStorageRequest];
                let moment = stream.choose(&moments).copied().unwrap_or(Moment::AfterSync);
                let count = 1 + stream.below(MOMENTS_MAX) as u32;
                plan.at(at, Fault::PowerLossAt { node, moment, count, down_ms: lasts_ms })
            }
            T::CutOff => plan.isolate(at, node, &others, lasts),
            T::Deserted => plan.isolate(at, node, self.strikes, lasts),
            T::CutOneWay => {
                let other = stream.choose(&others).copied().unwrap_or(node);
                let (from, to) = if stream.chance(500_000) { (node, other) } else { (other, node) };
                plan.at(at, Fault::Cut { from, to }).at(over, Fault::Heal { from, to })
            }
            T::Paused => plan.at(at, Fault::Pause { node, for_ms: lasts_ms }),
            T::DiskFull => plan.at(at, Fault::DiskFull(node)).at(over, Fault::DiskFree(node)),
            T::ClockStepped => {
                let by_ms = stream.below(2 * STEP_MS_MAX).cast_signed() - STEP_MS_MAX.cast_signed();
                plan.at(at, Fault::ClockStep { node, by_ms })
            }
            T::ClockDrifts => {
                let ppm = stream.below(2 * DRIFT_PPM_MAX) as i32 - DRIFT_PPM_MAX as i32;
                plan.at(at, Fault::ClockDrift { node, ppm }).at(over, Fault::ClockDrift { node, ppm: 0 })
            }
            T::StorageCut => plan.at(at, Fault::StorageCut(node)).at(over, Fault::StorageHeal(node)),
            T::StorageDown => plan.at(at, Fault::StorageDown).at(over, Fault::StorageUp),
            T::StorageLapses => {
                let lapse = stream.choose(self.lapses).copied().unwrap_or(Lapse::Busy);
                let times = 1 + stream.below(LAPSES_IN_A_ROW_MAX) as u32;
                plan.at(at, Fault::StorageLapse { node: None, method: None, lapse, times })
            }
        };
    }
}

/// The nodes of these numbers.
pub fn nodes(numbers: Range<u32>) -> Vec<Node> {
    numbers.map(Node).collect()
}

/// Whole milliseconds, as a range of times.
pub const fn millis(from: u64, to: u64) -> Range<Duration> {
    Duration::from_millis(from)..Duration::from_millis(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fault::Planned;

    fn drawn(seed: u64, allowed: &[Trouble]) -> Vec<Planned> {
        let (strikes, mut plan) = (nodes(0..3), Plan::default());
        let swarm = Swarm {
            strikes: &strikes,
            machines: 5,
            times: 20..21,
            during: millis(1_000, 2_000),
            lasts: millis(100, 200),
            allowed,
            lapses: LAPSES_PASSING,
        };
        swarm.add(&mut plan, &mut Stream::new(seed, "swarm", 0));
        plan.finish()
    }

    #[test]
    fn every_seed_draws_some_kinds_and_none_that_is_not_allowed() {
        let is_kill = |planned: &Planned| matches!(planned.fault, Fault::Kill(_));
        let with_kills = (0..100).filter(|seed| drawn(*seed, OF_MACHINES).iter().any(is_kill)).count();
        assert!((25..75).contains(&with_kills), "{with_kills} of 100 seeds kill");
        let only: Vec<Planned> = (0..20).flat_map(|seed| drawn(seed, &[Trouble::Paused])).collect();
        assert_eq!(only.len(), 400);
        assert!(only.iter().all(|planned| matches!(planned.fault, Fault::Pause { .. })));
    }

    #[test]
    fn whatever_strikes_is_over_in_time() {
        let kinds = [OF_MACHINES, OF_STORAGE, &[Trouble::DiskFull, Trouble::StorageCut]].concat();
        for seed in 0..50 {
            let plan = drawn(seed, &kinds);
            assert!(plan.iter().all(|planned| planned.at < Duration::from_millis(2_200)));
            let ends = |begin: fn(&Fault) -> bool, end: fn(&Fault) -> bool| {
                let count = |is: fn(&Fault) -> bool| plan.iter().filter(|planned| is(&planned.fault)).count();
                assert_eq!(count(begin), count(end), "seed {seed}");
            };
            ends(|fault| matches!(fault, Fault::Cut { .. }), |fault| matches!(fault, Fault::Heal { .. }));
            ends(|fault| matches!(fault, Fault::DiskFull(_)), |fault| matches!(fault, Fault::DiskFree(_)));
            ends(|fault| matches!(fault, Fault::StorageDown), |fault| matches!(fault, Fault::StorageUp));
            ends(
                |fault| matches!(fault, Fault::Kill(_) | Fault::PowerLoss(_)),
                |fault| matches!(fault, Fault::Boot(_)),
            );
        }
    }
}

//! The two clocks of a simulated machine, which run as wrong as they are told to.
//!
//! Invariant: the monotonic clock never goes back, whatever steps and drifts.

use std::time::Duration;

/// When every run begins, in nanoseconds since 1970: some morning in 2026.
pub const EPOCH_NS: u64 = 1_790_000_000_000_000_000;

/// Turns true time (nanoseconds since the start of the run) into a machine's.
#[derive(Debug, Clone)]
pub struct Clocks {
    /// True time and local time of the last change of speed.
    anchor: (u64, u64),
    drift_ppm: i32,
    wall_offset_ns: i64,
    booted_at: u64,
    /// What the monotonic clock showed at boot.
    boot_value: u64,
}

impl Clocks {
    /// Right ones, apart from an offset of the wall clock.
    pub fn new(wall_offset_ns: i64) -> Self {
        Self { anchor: (0, 0), drift_ppm: 0, wall_offset_ns, booted_at: 0, boot_value: 0 }
    }

    fn local(&self, now: u64) -> u64 {
        let elapsed = now.saturating_sub(self.anchor.0);
        let speed = i128::from(1_000_000 + i64::from(self.drift_ppm));
        self.anchor.1 + (i128::from(elapsed) * speed / 1_000_000) as u64
    }

    /// The monotonic clock, in nanoseconds.
    pub fn monotonic(&self, now: u64) -> u64 {
        self.boot_value + self.local(now).saturating_sub(self.booted_at)
    }

    /// The wall clock, in nanoseconds since 1970.
    pub fn wall(&self, now: u64) -> u64 {
        (EPOCH_NS + self.local(now)).saturating_add_signed(self.wall_offset_ns)
    }

    /// How long `local` on this machine's clocks is in true time, rounded up.
    pub fn true_duration(&self, local: Duration) -> u64 {
        let speed = u128::from((1_000_000 + i64::from(self.drift_ppm)).unsigned_abs());
        u64::try_from((local.as_nanos() * 1_000_000).div_ceil(speed)).unwrap_or(u64::MAX >> 1)
    }

    /// The machine boots: its monotonic clock starts anew, at `value`.
    pub fn boot(&mut self, now: u64, value: u64) {
        self.booted_at = self.local(now);
        self.boot_value = value;
    }

    /// The wall clock jumps.
    pub fn step(&mut self, by_ns: i64) {
        self.wall_offset_ns = self.wall_offset_ns.saturating_add(by_ns);
    }

    /// Both clocks change their speed.
    pub fn set_drift(&mut self, now: u64, ppm: i32) {
        self.anchor = (now, self.local(now));
        self.drift_ppm = ppm.max(-999_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drifting_clock_goes_on_from_where_it_was() {
        let mut clocks = Clocks::new(0);
        clocks.boot(1_000, 50);
        assert_eq!((clocks.monotonic(1_000), clocks.wall(1_000)), (50, EPOCH_NS + 1_000));
        clocks.set_drift(2_000, 500_000);
        assert_eq!(clocks.monotonic(2_000), 1_050);
        assert_eq!(clocks.monotonic(4_000), 1_050 + 3_000);
        assert_eq!(clocks.true_duration(Duration::from_nanos(3_000)), 2_000);
        clocks.set_drift(4_000, -500_000);
        assert_eq!(clocks.monotonic(6_000), 4_050 + 1_000);
    }

    #[test]
    fn a_step_moves_the_wall_clock_only() {
        let mut clocks = Clocks::new(7);
        clocks.step(-1_000);
        assert_eq!((clocks.monotonic(5_000), clocks.wall(5_000)), (5_000, EPOCH_NS + 5_000 + 7 - 1_000));
    }
}

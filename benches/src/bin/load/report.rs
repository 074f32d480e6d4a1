//! What came of it: one table, or one object.

use std::{
    fmt::{Display, Write as _},
    time::Duration,
};

use benches::setting;
use serde_json::json;

/// How long one change of policy took to reach the live clients, since it was signed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Until the orchestrators had it.
    pub decided: Duration,
    /// Until half of the clients had it.
    pub half: Duration,
    /// Until 99 of 100 had it.
    pub most: Duration,
    /// Until all had it.
    pub all: Duration,
}

impl Change {
    /// From the times that it took to each client, at least one.
    pub fn of(decided: Duration, mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        let part = |percent: usize| {
            let place = (took.len() * percent).div_ceil(100).saturating_sub(1);
            took.get(place).copied().unwrap_or_default()
        };
        Self { decided, half: part(50), most: part(99), all: part(100) }
    }
}

/// Processor time of the orchestrators while nobody asked anything.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// Of the three.
    pub cpu: Duration,
    /// In this time.
    pub during: Duration,
}

impl Idle {
    fn percent(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.during.as_secs_f64()
    }
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Report {
    /// Clients that were to be enrolled.
    pub asked: u32,
    /// Clients that were, in time.
    pub enrolled: u32,
    /// Clients that were connected.
    pub live: u32,
    /// Clients that joined at the same time.
    pub joining: u32,
    /// Which fleet.
    pub seed: u64,
    /// Cores that orchestrators and clients shared.
    pub cores: usize,
    /// How long enrolling took.
    pub enrolling: Duration,
    /// What the orchestrators computed meanwhile.
    pub enrolling_cpu: Duration,
    /// How long it took until all live clients were connected and configured.
    pub connecting: Duration,
    /// Resident memory of the three orchestrators, in bytes: at first, with all enrolled,
    /// with all live clients connected.
    pub memory: [u64; 3],
    /// The changes of policy.
    pub changes: Vec<Change>,
    /// With nobody connected.
    pub idle_empty: Idle,
    /// With all live clients connected.
    pub idle_live: Idle,
}

const ORCHESTRATORS: f64 = 3.0;

impl Report {
    fn enrolled_a_second(&self) -> f64 {
        f64::from(self.enrolled) / self.enrolling.as_secs_f64()
    }

    /// What one enrolled client takes at each orchestrator: all of them know it.
    fn bytes_per_enrolled(&self) -> f64 {
        (self.memory[1] as f64 - self.memory[0] as f64) / ORCHESTRATORS / f64::from(self.enrolled)
    }

    /// What one live client takes at the orchestrator to which it is connected.
    fn bytes_per_live(&self) -> f64 {
        (self.memory[2] as f64 - self.memory[1] as f64) / f64::from(self.live)
    }

    /// The median over the changes.
    fn median(&self, of: fn(&Change) -> Duration) -> f64 {
        let mut all: Vec<Duration> = self.changes.iter().map(of).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1000.0
    }

    fn slowest(&self) -> f64 {
        let slowest = self.changes.iter().map(|change| change.all).max();
        slowest.unwrap_or_default().as_secs_f64() * 1000.0
    }
}

impl setting::Report for Report {
    fn text(&self) -> impl Display {
        let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
        let kib = |bytes: f64| format!("{:.1} KiB", bytes / 1024.0);
        let cpu_ms = 1000.0 * self.enrolling_cpu.as_secs_f64() / f64::from(self.enrolled);
        let rows = [
            ("clients enrolled", format!("{} of {}", self.enrolled, self.asked)),
            ("clients live", self.live.to_string()),
            ("cores, shared by orchestrators and clients", self.cores.to_string()),
            ("enrolled a second", format!("{:.0}", self.enrolled_a_second())),
            ("orchestrators' processor time for each", format!("{cpu_ms:.2} ms")),
            ("live clients connected and configured after", format!("{:.1} s", self.connecting.as_secs_f64())),
            ("memory of three orchestrators, at first", mib(self.memory[0])),
            ("  with all enrolled", mib(self.memory[1])),
            ("  with all live", mib(self.memory[2])),
            ("memory for each enrolled, at each orchestrator", kib(self.bytes_per_enrolled())),
            ("memory for each live, at its orchestrator", kib(self.bytes_per_live())),
            ("policy change, until taken by the orchestrators", format!("{:.0} ms", self.median(|c| c.decided))),
            ("  until 50 % of live clients have it", format!("{:.0} ms", self.median(|c| c.half))),
            ("  until 99 %", format!("{:.0} ms", self.median(|c| c.most))),
            ("  until all", format!("{:.0} ms, at most {:.0} ms", self.median(|c| c.all), self.slowest())),
            ("processor, idle, nobody connected", format!("{:.2} % of a core", self.idle_empty.percent())),
            ("processor, idle, all live", format!("{:.2} % of a core", self.idle_live.percent())),
        ];
        rows.iter().fold(String::new(), |mut text, (name, value)| {
            // A string takes everything.
            let _ = writeln!(text, "{name:<50}{value:>24}");
            text
        })
    }

    /// Times in milliseconds, memory in bytes.
    fn json(&self) -> impl Display {
        json!({
            "asked": self.asked,
            "enrolled": self.enrolled,
            "live": self.live,
            "joining": self.joining,
            "seed": self.seed,
            "cores": self.cores,
            "enrolled_per_second": self.enrolled_a_second(),
            "enrolling_cpu_ms": self.enrolling_cpu.as_secs_f64() * 1000.0 / f64::from(self.enrolled),
            "connecting_ms": self.connecting.as_secs_f64() * 1000.0,
            "memory_bytes": { "founded": self.memory[0], "enrolled": self.memory[1], "live": self.memory[2] },
            "memory_bytes_per_enrolled": self.bytes_per_enrolled(),
            "memory_bytes_per_live": self.bytes_per_live(),
            "policy_ms": {
                "decided": self.median(|change| change.decided),
                "half": self.median(|change| change.half),
                "most": self.median(|change| change.most),
                "all": self.median(|change| change.all),
                "slowest": self.slowest(),
            },
            "idle_percent_of_core": { "empty": self.idle_empty.percent(), "live": self.idle_live.percent() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_fleet_are_counted_upwards() {
        let millis = |ms: u64| Duration::from_millis(ms);
        let took = (1..=200).rev().map(millis).collect();
        let change = Change::of(millis(0), took);
        assert_eq!((change.half, change.most, change.all), (millis(100), millis(198), millis(200)));
        let one = Change::of(millis(0), vec![millis(7)]);
        assert_eq!((one.half, one.most, one.all), (millis(7), millis(7), millis(7)));
    }
}

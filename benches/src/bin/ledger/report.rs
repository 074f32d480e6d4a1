//! What came of it: one table, or one object.

use std::{
    fmt::{Display, Write as _},
    time::Duration,
};

use benches::setting;
use serde_json::json;

/// One step.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// How long it took.
    pub took: Duration,
    /// The command's most resident memory, in bytes. 0 if it was no command.
    pub peak: u64,
    /// What it wrote, or said, or has in memory after it, in bytes.
    pub bytes: u64,
}

/// Everything that was measured. Sizes in bytes.
#[derive(Debug)]
pub struct Report {
    /// Clients in the ledger.
    pub clients: u64,
    /// Snapshots in the ledger.
    pub snapshots: u64,
    /// Snapshots whose commits the storage lists.
    pub listed: u64,
    /// Cores that all processes shared.
    pub cores: usize,
    /// `cluster rebuild`.
    pub rebuild: Step,
    /// Resident memory of each orchestrator, some time after that.
    pub memory: [u64; 3],
    /// The most that they had during it, together.
    pub peak: u64,
    /// The ledger's snapshot, on an orchestrator's disk. 0 if there is none yet.
    pub image: u64,
    /// The log's file there.
    pub log: u64,
    /// The first backup of the rebuilt ledger, from the end of the rebuild on.
    pub backup: Step,
    /// `cluster status`.
    pub status: Step,
    /// `client list`.
    pub list: Step,
    /// Until an orchestrator that was killed and started is whole again.
    pub restart: Step,
    /// Until an empty one in the place of another is.
    pub replace: Step,
    /// Processor time of the three orchestrators while nobody asked anything, in seconds a second.
    pub idle: f64,
}

impl Report {
    fn items_a_second(&self) -> f64 {
        (self.clients + self.snapshots) as f64 / self.rebuild.took.as_secs_f64()
    }
}

impl setting::Report for Report {
    fn text(&self) -> impl Display {
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let secs = |step: &Step| format!("{:.2} s", step.took.as_secs_f64());
        let rows = [
            ("clients", self.clients.to_string()),
            ("snapshots", self.snapshots.to_string()),
            ("  of which the storage lists", self.listed.to_string()),
            ("cores, shared by everything", self.cores.to_string()),
            ("cluster rebuild", secs(&self.rebuild)),
            ("  pieces of the ledger a second", format!("{:.0}", self.items_a_second())),
            ("  most memory of the command", mib(self.rebuild.peak)),
            ("  most memory of the three orchestrators", mib(self.peak)),
            ("memory of each orchestrator after that", self.memory.map(mib).join(", ")),
            ("ledger's snapshot on disk", mib(self.image)),
            ("log on disk", mib(self.log)),
            ("the ledger's next backup, after", secs(&self.backup)),
            ("  of", mib(self.backup.bytes)),
            ("cluster status", secs(&self.status)),
            ("client list", secs(&self.list)),
            ("  of", mib(self.list.bytes)),
            ("  most memory of the command", mib(self.list.peak)),
            ("an orchestrator restarted, whole after", secs(&self.restart)),
            ("an orchestrator replaced, whole after", secs(&self.replace)),
            ("memory of one restarted, and one replaced", [self.restart.bytes, self.replace.bytes].map(mib).join(", ")),
            ("processor, idle, of the three", format!("{:.2} % of a core", 100.0 * self.idle)),
        ];
        rows.iter().fold(String::new(), |mut text, (name, value)| {
            // A string takes everything.
            let _ = writeln!(text, "{name:<45}{value:>35}");
            text
        })
    }

    /// Times in milliseconds, memory in bytes.
    fn json(&self) -> impl Display {
        let ms = |step: &Step| step.took.as_secs_f64() * 1000.0;
        json!({
            "clients": self.clients,
            "snapshots": self.snapshots,
            "listed": self.listed,
            "cores": self.cores,
            "rebuild": {
                "ms": ms(&self.rebuild),
                "items_a_second": self.items_a_second(),
                "command_peak_bytes": self.rebuild.peak,
                "orchestrators_peak_bytes": self.peak,
            },
            "memory_bytes": self.memory,
            "snapshot_file_bytes": self.image,
            "log_bytes": self.log,
            "backup": { "ms": ms(&self.backup), "bytes": self.backup.bytes },
            "status_ms": ms(&self.status),
            "list": { "ms": ms(&self.list), "bytes": self.list.bytes, "command_peak_bytes": self.list.peak },
            "restart": { "ms": ms(&self.restart), "memory_bytes": self.restart.bytes },
            "replace": { "ms": ms(&self.replace), "memory_bytes": self.replace.bytes },
            "idle_percent_of_core": 100.0 * self.idle,
        })
    }
}

//! What the demo measured, for people and for scripts.

use std::time::Duration;

use protocol::format::manifest::Stats;
use repo::{Problems, RestoreOutcome, VerifyReport};
use serde_json::{Value, json};

use super::{
    compare::{Comparison, Names},
    loss::Loss,
};
use crate::cli::human;

const WRONG: &str = "Not all went as it should: what differs is named.";
/// Names that the table shows.
const SHOWN_MAX: usize = 10;

/// One backup.
pub struct Backup {
    /// What it came to.
    pub stats: Stats,
    /// What it could not read.
    pub problems: Problems,
    /// How long it took.
    pub took: Duration,
}

/// Everything that was measured.
pub struct Report {
    /// What was backed up, for people.
    pub source: String,
    /// The first backup, during which an orchestrator was lost.
    pub first: Backup,
    /// The second, after a small change.
    pub second: Backup,
    /// What was lost.
    pub loss: Option<Loss>,
    /// From the kill to the first answer of another orchestrator.
    pub failover: Option<Duration>,
    /// The orchestrator that the client ended with.
    pub went_on_with: Option<String>,
    /// What came back.
    pub restored: RestoreOutcome,
    /// How long that took.
    pub restore_took: Duration,
    /// Whether it is the same.
    pub comparison: Comparison,
    /// What the second key was told, if it was refused.
    pub token_refusal: Option<String>,
    /// What a look at every byte in the storage found.
    pub verified: VerifyReport,
    /// Bytes that the client sent to orchestrators in all of this, on the wire.
    pub bytes_via_orchestrators: u64,
}

impl Report {
    fn identical(&self) -> bool {
        self.comparison.differences.count == 0 && self.comparison.entries > 0
    }

    fn bytes_stored(&self) -> u64 {
        self.first.stats.bytes_stored + self.second.stats.bytes_stored
    }

    /// Whether all went as it should.
    pub fn ok(&self) -> bool {
        self.identical()
            && self.loss.is_some()
            && self.failover.is_some()
            && self.token_refusal.is_some()
            && self.verified.damages_count == 0
            && self.restored.problems.count == 0
    }

    /// One object, for scripts.
    pub fn json(&self) -> Value {
        let names = |names: &Names| -> Value {
            names.named.iter().map(|(path, reason)| json!({ "path": path, "reason": reason })).collect()
        };
        json!({
            "ok": self.ok(),
            "code": (!self.ok()).then_some("internal"),
            "message": (!self.ok()).then_some(WRONG),
            "identical": self.identical(),
            "orchestrator_killed": self.loss.is_some(),
            "token_reuse_refused": self.token_refusal.is_some(),
            "files": self.second.stats.files,
            "directories": self.second.stats.directories,
            "bytes_source": self.second.stats.bytes_source,
            "bytes_read": self.first.stats.bytes_read + self.second.stats.bytes_read,
            "bytes_stored": self.bytes_stored(),
            "bytes_via_orchestrators": self.bytes_via_orchestrators,
            "failover_ms": self.failover.map(|failover| failover.as_millis() as u64),
            "killed_after_bytes_stored": self.loss.as_ref().map(|loss| loss.bytes_stored),
            "first": backup_json(&self.first),
            "second": backup_json(&self.second),
            "restore_seconds": self.restore_took.as_secs_f64(),
            "restore_problems": self.restored.problems.count,
            "entries_compared": self.comparison.entries,
            "bytes_compared": self.comparison.bytes,
            "differences": self.comparison.differences.count,
            "difference_list": names(&self.comparison.differences),
            "excluded": self.comparison.excluded.count,
            "excluded_list": names(&self.comparison.excluded),
            "verify_damages": self.verified.damages_count,
        })
    }

    /// For people.
    pub fn table(&self) -> String {
        let (first, second) = (&self.first, &self.second);
        let both = |name: &str, cell: fn(&Backup) -> String| vec![name.into(), cell(first), cell(second)];
        let rows = [
            vec![String::new(), "first backup".into(), "after a change".into()],
            both("files", |backup| human::count(backup.stats.files)),
            both("  not opened, unchanged", |backup| human::count(backup.stats.files_unchanged)),
            both("size", |backup| human::bytes(backup.stats.bytes_source)),
            both("read", |backup| human::bytes(backup.stats.bytes_read)),
            both("  new to the storage", |backup| human::bytes(backup.stats.bytes_new)),
            both("stored", |backup| human::bytes(backup.stats.bytes_stored)),
            both("  of its size", |backup| human::percent(backup.stats.bytes_stored, backup.stats.bytes_source)),
            both("time", |backup| human::seconds(backup.took.as_secs_f64())),
            both("  per second", |backup| human::speed(backup.stats.bytes_source, backup.took.as_secs_f64())),
            both("could not be read", |backup| human::count(backup.problems.count)),
        ];
        let mut text = format!("\n{}\n\n{}\n", self.source, human::columns(&rows, &[1, 2]));
        text.push_str(&human::columns(&self.findings(), &[]));
        for (title, names) in
            [("Differences", &self.comparison.differences), ("Left out of the comparison", &self.comparison.excluded)]
        {
            if names.count > 0 {
                text.push_str(&format!("\n{title}: {}\n", human::count(names.count)));
            }
            for (path, reason) in names.named.iter().take(SHOWN_MAX) {
                text.push_str(&format!("  {path}: {reason}\n"));
            }
        }
        for problem in self.restored.problems.named.iter().take(SHOWN_MAX) {
            text.push_str(&format!("  not restored: {}: {}\n", problem.path, problem.reason));
        }
        text.push_str(&format!("\n{}\n", if self.ok() { "All well." } else { WRONG }));
        text
    }

    fn findings(&self) -> Vec<Vec<String>> {
        let lost = match &self.loss {
            Some(loss) => format!(
                "{} at {}, killed when {} were stored",
                loss.name,
                loss.address,
                human::bytes(loss.bytes_stored)
            ),
            None => "none: the client used none when it was to be killed".into(),
        };
        let went_on = match (&self.failover, &self.went_on_with) {
            (Some(took), Some(name)) => format!("with {name}, {:.2} s later", took.as_secs_f64()),
            _ => "not shown".into(),
        };
        let share = human::percent(self.bytes_via_orchestrators, self.bytes_stored());
        let comparison = &self.comparison;
        let verdict = if self.identical() { "identical" } else { "NOT identical" };
        let damages = match self.verified.damages_count {
            0 => format!("no damage; {} read and opened", human::bytes(self.verified.bytes_read)),
            count => format!("{} DAMAGED", human::count(count)),
        };
        [
            ("orchestrator lost", lost),
            ("client went on", went_on),
            (
                "sent to orchestrators",
                format!("{}, {share} of what was stored", human::bytes(self.bytes_via_orchestrators)),
            ),
            (
                "restored",
                format!(
                    "{} in {} ({})",
                    human::bytes(self.restored.bytes),
                    human::seconds(self.restore_took.as_secs_f64()),
                    human::speed(self.restored.bytes, self.restore_took.as_secs_f64())
                ),
            ),
            (
                "compared",
                format!(
                    "{verdict}: {}, {}",
                    human::counted(comparison.entries, "name"),
                    human::bytes(comparison.bytes)
                ),
            ),
            ("verified", damages),
            (
                "token, second key",
                self.token_refusal.as_ref().map_or_else(|| "NOT refused".into(), |_| "refused".into()),
            ),
        ]
        .into_iter()
        .map(|(name, value)| vec![name.into(), value])
        .collect()
    }
}

fn backup_json(backup: &Backup) -> Value {
    json!({
        "files": backup.stats.files,
        "files_unchanged": backup.stats.files_unchanged,
        "bytes_source": backup.stats.bytes_source,
        "bytes_read": backup.stats.bytes_read,
        "bytes_new": backup.stats.bytes_new,
        "bytes_stored": backup.stats.bytes_stored,
        "seconds": backup.took.as_secs_f64(),
        "problems": backup.problems.count,
    })
}

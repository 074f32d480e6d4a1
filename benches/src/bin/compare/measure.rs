//! One process, from its start to its end: seconds, processor time, most memory.
//!
//! Invariant: this program itself stays small. A process starts with the most
//! memory that its parent ever had as its own (Linux counts it across `exec`), so
//! a large parent would show in every figure.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::Serialize;

use benches::trouble::Trouble;

/// Lines of a failed command's output that are shown.
const LOG_LINES: usize = 5;

/// What a process took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Usage {
    /// From start to end.
    pub seconds: f64,
    /// Of all processors, in user and in kernel mode, with that of its children.
    pub cpu_seconds: f64,
    /// The most resident memory of the largest process.
    pub peak_bytes: u64,
}

/// Runs a command to its end. Its output goes to `log`; a failure quotes the end of it.
pub fn run(mut command: Command, log: &Path) -> Result<Usage, Trouble> {
    let shown = shown(&command);
    let start_error = |error| Trouble(format!("cannot run {shown}: {error}"));
    let out = File::create(log).map_err(start_error)?;
    command.stdin(Stdio::null()).stdout(out.try_clone().map_err(start_error)?).stderr(out);
    let start = Instant::now();
    let ended = command.spawn().and_then(wait4::Wait4::wait4).map_err(start_error)?;
    let seconds = start.elapsed().as_secs_f64();
    if !ended.status.success() {
        let log = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
        return Err(Trouble(format!("{shown} failed ({}):\n  {last}", ended.status)));
    }
    let cpu_seconds = (ended.rusage.utime + ended.rusage.stime).as_secs_f64();
    Ok(Usage { seconds, cpu_seconds, peak_bytes: ended.rusage.maxrss })
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// What processes that go on running have used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Standing {
    /// Of all of them, in user and in kernel mode.
    pub cpu_seconds: f64,
    /// The sum of the most resident memory that each had.
    pub peak_bytes: u64,
}

/// Looks at running processes. One that has gone counts for nothing.
pub fn standing(processes: &[u32]) -> Standing {
    let mut sum = Standing::default();
    for process in processes {
        let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).unwrap_or_default();
        let status = read("status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak_kib: u64 = peak.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default();
        sum.peak_bytes += peak_kib << 10;
        // Fields 14 and 15; the second, a name in parentheses, may have spaces in it.
        let stat = read("stat");
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        sum.cpu_seconds += ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    }
    sum
}

/// Waits until files that were just changed count as settled, and nothing is left
/// to be written: every phase of every contender starts from the same.
pub fn settle(after_change: bool) {
    rustix::fs::sync();
    if after_change {
        std::thread::sleep(Duration::from_millis(2500));
    }
}

/// How busy the machine has been for the last minute.
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_measured_and_a_failure_quotes_it() {
        let work = tempfile::tempdir().unwrap();
        let log = work.path().join("log");
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let usage = run(shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"), &log).unwrap();
        assert!(usage.cpu_seconds > 0.0 && usage.seconds > 0.0 && usage.peak_bytes > 0, "{usage:?}");
        let Trouble(text) = run(shell("echo out of cheese; exit 7"), &log).unwrap_err();
        assert!(text.contains("out of cheese") && text.contains('7'), "{text}");
    }

    #[test]
    fn a_running_process_is_looked_at() {
        let own = standing(&[std::process::id()]);
        assert!(own.peak_bytes > 1 << 20, "{own:?}");
        assert_eq!(standing(&[]), Standing::default());
    }
}

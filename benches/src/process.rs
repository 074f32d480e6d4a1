//! What the kernel tells of processes, and what it allows this one.

use std::{fs, time::Duration};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::trouble::Trouble;

/// Descriptors for everything that is not a client's socket.
const DESCRIPTORS_BESIDE: u64 = 256;

/// What processes use.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// Resident memory of all of them, in bytes.
    pub resident: u64,
    /// The most that each of them had, summed, in bytes.
    pub peak: u64,
    /// Processor time of all of them since their start, in user and in kernel mode.
    pub cpu: Duration,
}

/// Looks at processes. All must run.
pub fn read_all(processes: &[u32]) -> Result<Reading, Trouble> {
    let mut sum = Reading::default();
    for process in processes {
        let one = read(*process).ok_or_else(|| Trouble(format!("process {process} has ended: see its log")))?;
        sum.resident += one.resident;
        sum.peak += one.peak;
        sum.cpu += one.cpu;
    }
    Ok(sum)
}

/// Looks at a process. None if it has ended.
pub fn read(process: u32) -> Option<Reading> {
    let file = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).ok();
    let status = file("status")?;
    let bytes = |field: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        value.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib << 10)
    };
    let stat = file("stat")?;
    // Fields 14 and 15; the second, a name in parentheses, may have spaces in it.
    let fields = stat.rsplit_once(')')?.1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    let cpu = Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
    Some(Reading { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")?, cpu })
}

/// Makes room for so many sockets.
pub fn raise_descriptors(sockets: u64) -> Result<(), Trouble> {
    let (needed, mut limit) = (sockets + DESCRIPTORS_BESIDE, getrlimit(Resource::Nofile));
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(Trouble(format!(
            "this takes {needed} file descriptors, and {} are allowed: raise the limit (`ulimit -Hn`), or lower --live",
            limit.maximum.unwrap_or_default()
        )));
    }
    if limit.current.is_some_and(|current| current < needed) {
        limit.current = Some(needed);
        setrlimit(Resource::Nofile, limit).map_err(|error| Trouble(format!("cannot have {needed} files: {error}")))?;
    }
    Ok(())
}

/// How many cores share the work.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_is_read_and_one_that_does_not_is_told() {
        let own = read_all(&[std::process::id()]).unwrap();
        assert!(own.resident > 1 << 20 && own.peak >= own.resident, "{own:?}");
        // The kernel gives out no such number.
        let Trouble(text) = read_all(&[u32::MAX]).unwrap_err();
        assert!(text.contains("has ended"), "{text}");
    }
}

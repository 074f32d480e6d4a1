//! A run as a person reads it: when, who, what, one event a line. Packets and syncs of
//! disks are counted and left out.
//!
//! Invariant: every other line of the trace is there, in its order; names stand for the
//! numbers of nodes, and long lines are cut.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use crate::kernel::fault::Planned;

/// Columns of a line at most: what nodes log can be a page long.
const COLUMNS_MAX: usize = 200;
/// What stands in place of a name where the world itself acts.
const WORLD: &str = "*";

/// Writes a trace as a timeline.
pub fn tell(out: &mut dyn Write, trace: &[u8], names: &[String]) -> io::Result<()> {
    let (mut packets, mut syncs) = (0_u64, 0_u64);
    let width = names.iter().map(String::len).max().unwrap_or_default().max(8);
    for line in String::from_utf8_lossy(trace).lines() {
        let Some((at, what)) = line.trim_start().split_once(' ') else { continue };
        let (who, what) = match what.split_once(' ') {
            Some((node, what)) if name(node, names).is_some() => (node, what),
            _ => (WORLD, what),
        };
        match what {
            _ if what.starts_with("packet ") => packets += 1,
            _ if what.starts_with("disk sync ") => syncs += 1,
            _ => {
                let who = name(who, names).unwrap_or(who);
                let seconds: f64 = at.parse().unwrap_or_default();
                let line = format!("{seconds:10.3} s  {who:width$}  {}", with_names(&shorter(what), names));
                writeln!(out, "{}", cut(&line))?;
            }
        }
    }
    writeln!(out, "left out: {packets} packets, {syncs} syncs of disks")
}

/// Writes a list of faults, with their places in the plan; a dash marks those that do not strike.
pub fn tell_plan(out: &mut dyn Write, plan: &[Planned], names: &[String], only: Option<&[usize]>) -> io::Result<()> {
    for (number, planned) in plan.iter().enumerate() {
        let mark = if only.is_none_or(|only| only.contains(&number)) { ' ' } else { '-' };
        let fault = with_names(&planned.fault.to_string(), names);
        writeln!(out, " {mark}{number:3}  {:8.3} s  {fault}", planned.at.as_secs_f64())?;
    }
    Ok(())
}

/// The name of the node that `word` stands for: `n` and its number.
fn name<'a>(word: &str, names: &'a [String]) -> Option<&'a str> {
    names.get(word.strip_prefix('n')?.parse::<usize>().ok()?).map(String::as_str)
}

/// Replaces nodes by their names wherever they stand as words.
pub fn with_names(text: &str, names: &[String]) -> String {
    let mut said = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        // A word of its own only if what stands before it does not belong to it, as in `1-n2`.
        let rest = &piece[word.len()..];
        let _ = write!(said, "{}{rest}", name(word, names).unwrap_or(word));
    }
    said
}

/// What a node logged, without the path of the module that said it; faults in capitals.
fn shorter(what: &str) -> String {
    if let Some(fault) = what.strip_prefix("fault ") {
        return format!("FAULT {fault}");
    }
    let logged = what.strip_prefix("log ").and_then(|said| {
        let (level, said) = said.split_once(' ')?;
        let (target, said) = said.split_once(' ')?;
        Some(format!("{} {}: {said}", level.to_lowercase(), target.rsplit("::").next()?))
    });
    logged.unwrap_or_else(|| what.to_owned())
}

fn cut(line: &str) -> String {
    if line.chars().count() <= COLUMNS_MAX {
        return line.to_owned();
    }
    line.chars().take(COLUMNS_MAX - 2).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_when_who_and_what_and_leaves_packets_out() {
        let names = ["o0".to_owned(), "client".to_owned()];
        let trace = "    0.000000 seed 7 hashers 00\n\
            \x20   1.500400 fault 3: packets from n1 to n0 vanish\n\
            \x20   2.000000 n0 log WARN actors::log::store the disk of n1, n12 and in1 is slow\n\
            \x20   2.000001 packet 10.0.0.1:1 > 10.0.0.2:1 99 bytes\n\
            \x20   2.000002 n1 disk sync log changes 3\n\
            \x20   3.000000 n1 ended: well\n";
        let mut told = Vec::new();
        tell(&mut told, trace.as_bytes(), &names).unwrap();
        let told = String::from_utf8(told).unwrap();
        let expected = "     0.000 s  *         seed 7 hashers 00\n\
            \x20    1.500 s  *         FAULT 3: packets from client to o0 vanish\n\
            \x20    2.000 s  o0        warn store: the disk of client, n12 and in1 is slow\n\
            \x20    3.000 s  client    ended: well\n\
            left out: 1 packets, 1 syncs of disks\n";
        assert_eq!(told, expected);
    }

    #[test]
    fn long_lines_are_cut_between_letters() {
        let line = "ä".repeat(COLUMNS_MAX + 1);
        assert_eq!(cut(&line).chars().count(), COLUMNS_MAX);
        assert_eq!(cut("short"), "short");
    }
}

//! Backs up and restores the same corpora with this project's program and with
//! its peers, in turn, and prints how they compare.
//!
//! `just compare` builds what it needs and runs it; by hand:
//! `cargo build --release -p node && cargo run --release -p benches --bin compare -- --help`.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark measures the real machine"
)]

mod contender;
mod corpus;
mod measure;
mod nuthatch;
mod peers;
mod report;
mod round;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use benches::{node::beside, trouble::Trouble};
use clap::Parser;
use serde_json::{Value, json};

use self::{
    contender::Tool,
    corpus::Part,
    round::{Round, Taken},
};

/// Seeds in one run: weeks of measuring.
const SEEDS_MAX: usize = 1000;
/// A machine that is busier than this when a run starts has something else to do.
const LOAD_IDLE: f64 = 0.5;

/// Compare nuthatch with the backup programs that are installed.
///
/// For each seed and part of the corpus, every program backs up the same files
/// into a repository of its own, backs them up again unchanged, once more after an
/// edit, and restores them. `nuthatch` runs as people run it: three orchestrators
/// and the built-in storage, as processes on this machine, and its commands.
///
/// Page cache: warm for all. The source is read once before each phase, and all
/// that is still to be written is written (`sync`) before each command.
///
/// Peak memory is what the kernel says of the process that does the work.
///
/// Nothing is deleted before the end, because creating files is slow for some
/// minutes after a large deletion; a run soon after another still feels that.
#[derive(Debug, Parser)]
#[command(name = "compare")]
struct Arguments {
    /// Which corpora: numbers and ranges, as `1`, `1-9` or `1,4-6`.
    #[arg(long, default_value = "1", value_parser = seeds)]
    seeds: Seeds,
    /// How large: 1 is 60,000 files, and an image of 2 GiB.
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// Which parts.
    #[arg(long, value_delimiter = ',', default_value = "tree,big")]
    parts: Vec<Part>,
    /// Who takes part. Default: all that are installed.
    #[arg(long, value_delimiter = ',')]
    tools: Vec<Tool>,
    /// The program of this project. Default: the one that was built with this one.
    #[arg(long, value_name = "FILE")]
    nuthatch: Option<PathBuf>,
    /// Where corpus and repositories lie meanwhile: about 14 GB at scale 1. Default: a new temporary directory.
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone)]
struct Seeds(Vec<u64>);

fn seeds(text: &str) -> Result<Seeds, String> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
        let range = number(first)?..=number(last)?;
        if range.is_empty() || range.end() - range.start() >= SEEDS_MAX as u64 || all.len() >= SEEDS_MAX {
            return Err(format!("{part:?} is not a range of at most {SEEDS_MAX}"));
        }
        all.extend(range);
    }
    Ok(Seeds(all))
}

fn scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    // An image has whole mebibytes, and an edit changes some hundred files.
    if (0.005..=100.0).contains(&scale) { Ok(scale) } else { Err("a scale lies between 0.005 and 100".into()) }
}

fn main() -> ExitCode {
    match compare(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Trouble(text)) => {
            eprintln!("compare: {text}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &Arguments) -> Result<(), Trouble> {
    let nuthatch = arguments.nuthatch.clone().map_or_else(beside, Ok)?;
    let asked = if arguments.tools.is_empty() { &Tool::ALL[..] } else { &arguments.tools };
    let mut tools = Vec::new();
    let mut versions = serde_json::Map::new();
    for tool in asked {
        match tool.version(&nuthatch) {
            Some(version) => {
                eprintln!("{version}");
                versions.insert(tool.name().into(), version.into());
                tools.push(*tool);
            }
            None if *tool == Tool::Nuthatch => {
                return Err(Trouble(format!(
                    "{} does not run: build it with `cargo build --release -p node`, or name another with --nuthatch",
                    nuthatch.display()
                )));
            }
            None if arguments.tools.is_empty() => eprintln!("{} is not installed, and is left out", tool.name()),
            None => return Err(Trouble(format!("{} is not installed", tool.name()))),
        }
    }
    let load = measure::load();
    let busy = if load > LOAD_IDLE { ": this machine is busy, and the figures will show it" } else { "" };
    eprintln!("load average at the start: {load:.2}{busy}");

    let all = rounds(arguments, &tools, &nuthatch)?;
    let parts: Vec<String> = arguments.parts.iter().map(Part::to_string).collect();
    if arguments.json {
        let mut object =
            json!({ "versions": versions, "load_at_start": load, "scale": arguments.scale, "page_cache": "warm" });
        if let (Value::Object(object), Value::Object(more)) = (&mut object, report::json(&all, &parts, &tools)) {
            object.extend(more);
        }
        println!("{object}");
    } else {
        println!("{}", report::text(&all, &parts, &tools));
    }
    Ok(())
}

/// Runs all rounds, each in an empty directory.
fn rounds(arguments: &Arguments, tools: &[Tool], nuthatch: &Path) -> Result<Vec<Taken>, Trouble> {
    let parent = arguments.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    let (mut all, mut kept) = (Vec::new(), Vec::new());
    for (turn, seed) in arguments.seeds.0.iter().enumerate() {
        for part in &arguments.parts {
            let made = fs::create_dir_all(&parent)
                .and_then(|()| tempfile::Builder::new().prefix("nuthatch-compare-").tempdir_in(&parent));
            let work = made.map_err(|error| Trouble::about("work in", &parent, &error))?;
            let mut tools = tools.to_vec();
            if !tools.is_empty() {
                let first = turn % tools.len();
                tools.rotate_left(first);
            }
            let round =
                Round { seed: *seed, scale: arguments.scale, part: *part, tools: &tools, nuthatch, work: work.path() };
            all.extend(round.run(&mut |taken| {
                let Taken { seed, part, who, phase, usage, .. } = taken;
                eprintln!(
                    "seed {seed} {part:5} {:10} {who:9} {:8.2} s {:8.2} s cpu {:6} MiB, stored {:6} MiB",
                    phase.name(),
                    usage.seconds,
                    usage.cpu_seconds,
                    usage.peak_bytes >> 20,
                    taken.stored_bytes >> 20
                );
            })?);
            // It goes at the end: see `round`.
            kept.push(work);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_numbers_and_ranges() {
        assert_eq!(seeds("1-3,7").unwrap().0, [1, 2, 3, 7]);
        assert_eq!(seeds("5").unwrap().0, [5]);
        for wrong in ["", "a", "3-1", "1-", "0-18446744073709551615"] {
            seeds(wrong).unwrap_err();
        }
    }

    #[test]
    fn scales_are_bounded() {
        scale("1").unwrap();
        for wrong in ["0", "-1", "nan", "inf", "x"] {
            scale(wrong).unwrap_err();
        }
    }
}

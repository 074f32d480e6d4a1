//! What came of it: a table for each part, with ratios to the best peer.
//!
//! Invariant: a ratio is the median over rounds of the ratio within each round, so
//! that a machine that got slower in between does not pass for a contender that did.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use crate::{
    contender::Tool,
    round::{COPY, Phase, Taken},
};

/// What is compared. Less of it is better.
struct Measure {
    name: &'static str,
    unit: &'static str,
    of: fn(&Rounds<'_>, u64, &str) -> Option<f64>,
}

const MEASURES: [Measure; 8] = [
    Measure { name: "first", unit: "s", of: |rounds, seed, who| rounds.seconds(seed, who, Phase::First) },
    Measure { name: "unchanged", unit: "s", of: |rounds, seed, who| rounds.seconds(seed, who, Phase::Unchanged) },
    Measure { name: "edited", unit: "s", of: |rounds, seed, who| rounds.seconds(seed, who, Phase::Edited) },
    Measure { name: "restore", unit: "s", of: |rounds, seed, who| rounds.seconds(seed, who, Phase::Restore) },
    Measure {
        name: "restore / cp -a",
        unit: "",
        of: |rounds, seed, who| {
            Some(rounds.seconds(seed, who, Phase::Restore)? / rounds.seconds(seed, COPY, Phase::Restore)?)
        },
    },
    Measure {
        name: "peak of backups",
        unit: "MiB",
        of: |rounds, seed, who| {
            let peaks = [Phase::First, Phase::Unchanged, Phase::Edited].map(|phase| rounds.peak_mib(seed, who, phase));
            peaks.into_iter().flatten().reduce(f64::max)
        },
    },
    Measure {
        name: "peak of restore",
        unit: "MiB",
        of: |rounds, seed, who| rounds.peak_mib(seed, who, Phase::Restore),
    },
    Measure {
        name: "stored",
        unit: "MiB",
        of: |rounds, seed, who| Some(mib(rounds.get(seed, who, Phase::Edited)?.stored_bytes)),
    },
];

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// All that was taken for one part.
struct Rounds<'a>(BTreeMap<(u64, &'a str, Phase), &'a Taken>);

impl<'a> Rounds<'a> {
    fn of(all: &'a [Taken], part: &str) -> Self {
        let ours = all.iter().filter(|taken| taken.part == part);
        Self(ours.map(|taken| ((taken.seed, taken.who, taken.phase), taken)).collect())
    }

    fn get(&self, seed: u64, who: &str, phase: Phase) -> Option<&Taken> {
        self.0.get(&(seed, who, phase)).copied()
    }

    fn seconds(&self, seed: u64, who: &str, phase: Phase) -> Option<f64> {
        self.get(seed, who, phase).map(|taken| taken.usage.seconds)
    }

    fn peak_mib(&self, seed: u64, who: &str, phase: Phase) -> Option<f64> {
        self.get(seed, who, phase).map(|taken| mib(taken.usage.peak_bytes))
    }

    fn seeds(&self) -> Vec<u64> {
        let mut seeds: Vec<u64> = self.0.keys().map(|(seed, ..)| *seed).collect();
        seeds.dedup();
        seeds
    }
}

/// One line of a table.
struct Row {
    name: &'static str,
    unit: &'static str,
    /// The median of each contender, in order.
    values: Vec<Option<f64>>,
    best: Option<Best>,
}

/// How this project's program compares with the best peer of each round.
struct Best {
    /// The best in most rounds.
    peer: &'static str,
    ratio: f64,
    least: f64,
    most: f64,
}

fn rows(rounds: &Rounds<'_>, tools: &[Tool]) -> Vec<Row> {
    let seeds = rounds.seeds();
    let row = |measure: &Measure| {
        let of =
            |tool: &Tool| median(seeds.iter().filter_map(|seed| (measure.of)(rounds, *seed, tool.name())).collect());
        let (mut ratios, mut won) = (Vec::new(), BTreeMap::<&str, usize>::new());
        for seed in &seeds {
            let peers = tools.iter().filter(|tool| **tool != Tool::Nuthatch);
            let peers = peers.filter_map(|peer| Some((peer.name(), (measure.of)(rounds, *seed, peer.name())?)));
            let best = peers.min_by(|one, other| one.1.total_cmp(&other.1));
            if let (Some((peer, best)), Some(own)) = (best, (measure.of)(rounds, *seed, Tool::Nuthatch.name())) {
                ratios.push(own / best);
                *won.entry(peer).or_default() += 1;
            }
        }
        let peer = won.into_iter().max_by_key(|(_, times)| *times).map(|(peer, _)| peer);
        let (least, most) = ratios.iter().fold((f64::MAX, f64::MIN), |(least, most), r| (least.min(*r), most.max(*r)));
        let best = peer.zip(median(ratios)).map(|(peer, ratio)| Best { peer, ratio, least, most });
        Row { name: measure.name, unit: measure.unit, values: tools.iter().map(of).collect(), best }
    };
    MEASURES.iter().map(row).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { (values[middle - 1] + upper) / 2.0 })
}

/// The tables, for people.
pub fn text(all: &[Taken], parts: &[String], tools: &[Tool]) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    for part in parts {
        let rounds = Rounds::of(all, part);
        let seeds = rounds.seeds().len();
        let _ = write!(text, "\n{:22}", format!("{part}, {seeds} round{}", if seeds == 1 { "" } else { "s" }));
        for tool in tools {
            let _ = write!(text, "{:>10}", tool.name());
        }
        let _ = writeln!(text, "   to the best peer");
        for row in rows(&rounds, tools) {
            let _ = write!(text, "{:22}", format!("{} {}", row.name, row.unit));
            for value in row.values {
                let digits = if row.unit == "MiB" { 0 } else { 2 };
                let _ = match value {
                    Some(value) => write!(text, "{value:>10.digits$}"),
                    None => write!(text, "{:>10}", "-"),
                };
            }
            if let Some(Best { peer, ratio, least, most }) = row.best {
                let spread = if seeds > 1 { format!(" ({least:.2} to {most:.2})") } else { String::new() };
                let _ = write!(text, "   {ratio:.2}{spread} of {peer}");
            }
            text.push('\n');
        }
        let copy: Vec<f64> = rounds.seeds().iter().filter_map(|s| rounds.seconds(*s, COPY, Phase::Restore)).collect();
        if let Some(copy) = median(copy) {
            let _ = writeln!(text, "cp -a of the same: {copy:.2} s.");
        }
        if let Some(servers) = servers(&rounds) {
            let _ = writeln!(text, "{servers}");
        }
    }
    text
}

/// What this project's other processes took, which share the machine with its commands.
fn servers(rounds: &Rounds<'_>) -> Option<String> {
    let own = |phase| {
        let taken = rounds.seeds().into_iter().filter_map(|seed| rounds.get(seed, Tool::Nuthatch.name(), phase));
        median(taken.map(|taken| taken.servers.cpu_seconds).collect())
    };
    let peak = rounds.0.values().map(|taken| taken.servers.peak_bytes).max()?;
    let cpu: Option<Vec<String>> = Phase::ALL.into_iter().map(|phase| own(phase).map(|s| format!("{s:.2}"))).collect();
    let cpu = cpu?.join(", ");
    Some(format!(
        "In these phases nuthatch's orchestrators and storage took {cpu} s of processor, and {:.0} MiB at most.",
        mib(peak)
    ))
}

/// Everything, for scripts.
pub fn json(all: &[Taken], parts: &[String], tools: &[Tool]) -> Value {
    let part = |part: &String| {
        let rounds = Rounds::of(all, part);
        let rows = rows(&rounds, tools).into_iter().map(|row| {
            let values: BTreeMap<&str, Option<f64>> = tools.iter().map(|tool| tool.name()).zip(row.values).collect();
            let best = row
                .best
                .map(|best| json!({ "peer": best.peer, "ratio": best.ratio, "least": best.least, "most": best.most }));
            json!({ "measure": row.name, "unit": row.unit, "median": values, "to_best_peer": best })
        });
        (part.clone(), Value::Array(rows.collect()))
    };
    json!({ "parts": parts.iter().map(part).collect::<serde_json::Map<_, _>>(), "taken": all })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{Standing, Usage};

    fn taken(seed: u64, who: &'static str, phase: Phase, seconds: f64) -> Taken {
        let usage = Usage { seconds, cpu_seconds: seconds, peak_bytes: 100 << 20 };
        Taken { seed, part: "tree".into(), who, phase, usage, servers: Standing::default(), stored_bytes: 7 << 20 }
    }

    #[test]
    fn ratios_are_to_the_best_peer_of_each_round() {
        let all: Vec<Taken> = [(1, [3.0, 2.0, 4.0]), (2, [12.0, 8.0, 6.0]), (3, [1.0, 1.0, 4.0])]
            .into_iter()
            .flat_map(|(seed, [own, restic, borg])| {
                let mut all = vec![taken(seed, COPY, Phase::Restore, 2.0)];
                for phase in Phase::ALL {
                    all.push(taken(seed, "nuthatch", phase, own));
                    all.push(taken(seed, "restic", phase, restic));
                    all.push(taken(seed, "borg", phase, borg));
                }
                all
            })
            .collect();
        let tools = [Tool::Nuthatch, Tool::Restic, Tool::Borg];
        let rows = rows(&Rounds::of(&all, "tree"), &tools);
        assert_eq!(rows[0].values, [Some(3.0), Some(2.0), Some(4.0)]);
        let best = rows[0].best.as_ref().unwrap();
        assert_eq!((best.peer, best.ratio, best.least, best.most), ("restic", 1.5, 1.0, 2.0));
        assert_eq!(rows[4].values[0], Some(1.5));
        let shown = text(&all, &["tree".into()], &tools);
        assert!(shown.contains("1.50 (1.00 to 2.00) of restic"), "{shown}");
        assert_eq!(json(&all, &["tree".into()], &tools)["parts"]["tree"][7]["median"]["borg"], 7.0);
    }

    #[test]
    fn who_is_missing_leaves_a_gap() {
        let all = [taken(1, "nuthatch", Phase::First, 1.0)];
        let shown = text(&all, &["tree".into()], &[Tool::Nuthatch, Tool::Restic]);
        assert!(shown.contains('-') && !shown.contains("of restic"), "{shown}");
    }
}

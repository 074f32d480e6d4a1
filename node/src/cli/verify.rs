//! Verifying.

use std::sync::Arc;

use actors::client::Means;
use repo::{CancellationToken, Cost, Progress, VerifyReport};
use serde_json::{Value, json};

use super::{
    args::Verify,
    human,
    output::Output,
    progress::{Shown, follow},
    session::ClientSession,
    snapshot::{choose, stopped},
    text::safe_path,
    trouble::{Exit, Trouble},
};

/// Damages that are printed; the JSON has all that were named.
const DAMAGES_PRINTED_MAX: usize = 20;
/// Packs that are named as read.
const PACKS_PRINTED_MAX: usize = 20;

/// `verify`.
pub async fn verify(args: Verify, output: Output) -> Result<Exit, Trouble> {
    let mut session = args.data.open().await?;
    let done = run(&mut session, &args, output).await;
    session.close(done).await
}

async fn run(session: &mut ClientSession, args: &Verify, output: Output) -> Result<Exit, Trouble> {
    let snapshots = match &args.snapshot {
        Some(wanted) => vec![choose(&session.client, wanted).await?],
        None => session.client.snapshots().await?,
    };
    let (clock, progress, cancel) =
        (session.env().clock.clone(), Arc::new(Progress::default()), CancellationToken::new());
    let started = clock.monotonic();
    let shown = Shown { verb: "verifying", moved: "fetched", bytes_total: None };
    let (read, means, watched) = (args.read(), Means::default(), progress.clone());
    let job = Box::pin(session.client.verify(&snapshots, read, means, progress, cancel.clone()));
    let done = follow(output, clock.clone(), shown, &watched, &cancel, job).await?;
    let report = done.map_err(stopped("verification", "It changes nothing: run it again."))?;
    let seconds = (clock.monotonic() - started).as_secs_f64();
    output.result(json(&report, seconds), || text(&report, args.read_data, seconds));
    if args.sample.is_some() {
        report.packs_read_named.iter().take(PACKS_PRINTED_MAX).for_each(|pack| output.note(&format!("read {pack}")));
        let more = report.packs_read.saturating_sub(PACKS_PRINTED_MAX as u64);
        if more > 0 {
            output.note(&format!("and {} more; --json names up to a thousand", human::counted(more, "pack")));
        }
    }
    for damage in report.damages.iter().take(DAMAGES_PRINTED_MAX) {
        output.note(&format!("{}: {}", damage.object, damage.reason));
        damage.files.iter().for_each(|file| output.note(&format!("  needed by {}", safe_path(file))));
    }
    if let Some(consequence) = consequence(&report) {
        output.note(&format!("\n{consequence}"));
    }
    Ok(if report.is_sound() { Exit::Well } else { Exit::Failed })
}

/// What follows from the damages, and what to do.
fn consequence(report: &VerifyReport) -> Option<&'static str> {
    Some(match report.damages.iter().map(|damage| damage.cost).max()? {
        Cost::Snapshot => {
            "A snapshot whose commit is damaged cannot be restored. Others are not touched by that: restore from one of them, and back up again."
        }
        Cost::Files => {
            "The files named above cannot be restored whole from these snapshots. Keep the originals, and back up again: what is damaged is stored anew."
        }
        Cost::Nothing => {
            "Every file that was looked at can be restored all the same. Find out what damages the storage, and back up again."
        }
    })
}

fn json(report: &VerifyReport, seconds: f64) -> Value {
    let cost = |cost: Cost| match cost {
        Cost::Nothing => "nothing",
        Cost::Files => "files",
        Cost::Snapshot => "snapshot",
    };
    let damage = |damage: &repo::Damage| {
        json!({
            "object": damage.object,
            "reason": damage.reason,
            "cost": cost(damage.cost),
            "files": damage.files,
        })
    };
    let mut object = json!({
        "ok": report.is_sound(),
        "snapshots": report.snapshots,
        "trees": report.trees,
        "entries": report.entries,
        "chunks": report.chunks,
        "packs": report.packs,
        "packs_read": report.packs_read,
        "pack_list": report.packs_read_named,
        "bytes_read": report.bytes_read,
        "seconds": seconds,
        "damages": report.damages_count,
        "damage_list": report.damages.iter().map(damage).collect::<Vec<_>>(),
    });
    if !report.is_sound() {
        object["code"] = "corrupt".into();
        object["message"] = format!("{} found", human::counted(report.damages_count, "damage")).into();
    }
    object
}

fn text(report: &VerifyReport, read_data: bool, seconds: f64) -> String {
    let verdict = match report.damages_count {
        0 => "No damage found".into(),
        count => format!("{} found", human::counted(count, "damage")),
    };
    let read = match read_data {
        true => format!(
            ", {} of data in {} read and opened",
            human::bytes(report.bytes_read),
            human::counted(report.packs_read, "pack")
        ),
        false => String::new(),
    };
    format!(
        "{verdict} in {} ({}, {} chunks in {}{read}) in {}",
        human::counted(report.snapshots, "snapshot"),
        human::counted(report.entries, "name"),
        human::count(report.chunks),
        human::counted(report.packs, "pack"),
        human::seconds(seconds),
    )
}

//! Verifying.

use std::sync::Arc;

use actors::client::Means;
use repo::{CancellationToken, Progress, VerifyReport};
use serde_json::{Value, json};

use super::{
    args::Verify,
    human,
    output::Output,
    progress::{Shown, follow},
    session::ClientSession,
    snapshot::{choose, stopped},
    trouble::{Exit, Trouble},
};

/// Damages that are printed; the JSON has all that were named.
const DAMAGES_PRINTED_MAX: usize = 20;

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
    let (means, watched) = (Means::default(), progress.clone());
    let job = Box::pin(session.client.verify(&snapshots, args.read_data, means, progress, cancel.clone()));
    let done = follow(output, clock.clone(), shown, &watched, &cancel, job).await?;
    let report = done.map_err(stopped("verification", "It changes nothing: run it again."))?;
    let sound = report.damages_count == 0;
    let seconds = (clock.monotonic() - started).as_secs_f64();
    output.result(json(&report, seconds), || text(&report, args.read_data, seconds));
    for damage in report.damages.iter().take(DAMAGES_PRINTED_MAX) {
        output.note(&format!("{}: {}", damage.object, damage.reason));
        damage.files.iter().for_each(|file| output.note(&format!("  needed by {file}")));
    }
    if !sound {
        output.note("\nThe files named above cannot be restored from these snapshots. Keep the originals: a backup into this repository does not yet store again what it believes is there.");
    }
    Ok(if sound { Exit::Well } else { Exit::Failed })
}

fn json(report: &VerifyReport, seconds: f64) -> Value {
    let damage =
        |damage: &repo::Damage| json!({ "object": damage.object, "reason": damage.reason, "files": damage.files });
    let mut object = json!({
        "ok": report.damages_count == 0,
        "snapshots": report.snapshots,
        "trees": report.trees,
        "entries": report.entries,
        "chunks": report.chunks,
        "packs": report.packs,
        "bytes_read": report.bytes_read,
        "seconds": seconds,
        "damages": report.damages_count,
        "damage_list": report.damages.iter().map(damage).collect::<Vec<_>>(),
    });
    if report.damages_count > 0 {
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
    let read = if read_data {
        format!(", {} of data read and opened", human::bytes(report.bytes_read))
    } else {
        String::new()
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

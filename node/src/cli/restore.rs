//! Restoring.

use std::sync::Arc;

use actors::client::{Means, RestoreRequest};
use env::run_blocking;
use repo::{CancellationToken, Progress};
use serde_json::json;

use super::{
    args::Restore,
    human,
    output::Output,
    progress::{Shown, follow},
    session::{ClientSession, absolute},
    snapshot::{choose, finish, problems_json, stopped},
    trouble::{Exit, Trouble},
};

/// `restore`.
pub async fn restore(args: Restore, output: Output) -> Result<Exit, Trouble> {
    let target = absolute(&args.destination)?;
    if args.source.path.as_ref().is_some_and(|path| !path.is_absolute()) {
        return Err(Trouble::usage("the path in the snapshot is not absolute")
            .hint("Write it as `nuthatch snapshot ls SNAPSHOT --recursive` shows it."));
    }
    let mut session = args.data.open().await?;
    let (files, looked) = (session.env().files.clone(), target.clone());
    let present = run_blocking(&*session.env().blocking, move || files.read_dir(&looked)).await;
    if !args.overwrite && present.is_ok_and(|names| !names.is_empty()) {
        let refusal = Trouble::invalid(format!("{} exists and is not empty", target.display()))
            .hint("Restore to another place, or add --overwrite to replace what is in the way.");
        return session.close(Err(refusal)).await;
    }
    let done = run(&mut session, args, target, output).await;
    session.close(done).await
}

async fn run(
    session: &mut ClientSession,
    args: Restore,
    target: std::path::PathBuf,
    output: Output,
) -> Result<Exit, Trouble> {
    let snapshot = choose(&session.client, &args.source.snapshot).await?;
    let id = snapshot.id;
    // Only a whole snapshot says in advance how much it is.
    let bytes_total = match &args.source.path {
        Some(_) => None,
        None => Some(session.client.show(&snapshot).await?.manifest.stats.bytes_source),
    };
    let means = Means::default();
    let request =
        RestoreRequest { snapshot, path: args.source.path, target: target.clone(), overwrite: args.overwrite, means };
    let (clock, progress, cancel) =
        (session.env().clock.clone(), Arc::new(Progress::default()), CancellationToken::new());
    let started = clock.monotonic();
    let shown = Shown { verb: "restoring", moved: "fetched", bytes_total };
    let job = Box::pin(session.client.restore(request, progress.clone(), cancel.clone()));
    let done = follow(output, clock.clone(), shown, &progress, &cancel, job).await?;
    let outcome = done.map_err(stopped(
        "restore",
        "What was restored so far is there, and may end in a file that is not whole. Remove it, or restore again with --overwrite.",
    ))?;
    let seconds = (clock.monotonic() - started).as_secs_f64();
    let object = json!({
        "snapshot": id.to_string(),
        "files": outcome.files,
        "directories": outcome.directories,
        "others": outcome.others,
        "bytes": outcome.bytes,
        "bytes_fetched": outcome.bytes_fetched,
        "seconds": seconds,
        "problems": outcome.problems.count,
        "problem_list": problems_json(&outcome.problems),
    });
    output.result(object, || {
        format!(
            "Restored snapshot {} to {}\n{}, {} directories, {} others, {} in {} ({})",
            id.short(),
            target.display(),
            human::counted(outcome.files, "file"),
            human::count(outcome.directories),
            human::count(outcome.others),
            human::bytes(outcome.bytes),
            human::seconds(seconds),
            human::speed(outcome.bytes, seconds),
        )
    });
    Ok(finish(&outcome.problems, "could not be restored, or not completely", output))
}

//! Restoring.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use actors::client::{Means, RestoreRequest};
use env::run_blocking;
use repo::{CancellationToken, Deed, Listing, Progress, RestoreOptions, RestoreOutcome, Selection};
use serde_json::{Value, json};

use super::{
    args::Restore,
    human,
    output::{Output, line},
    progress::{Shown, follow},
    session::{ClientSession, absolute},
    snapshot::{choose, finish, problems_json, stopped},
    text::safe_path,
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
    if args.overwrite.is_none() && present.is_ok_and(|names| !names.is_empty()) {
        let refusal = Trouble::invalid(format!("{} exists and is not empty", target.display())).hint(
            "Restore to another place, or say what becomes of what is there: --overwrite if-changed replaces what differs, never keeps it.",
        );
        return session.close(Err(refusal)).await;
    }
    let done = run(&mut session, args, target, output).await;
    session.close(done).await
}

fn options(args: &Restore, output: Output) -> RestoreOptions {
    let from_root = |path: &PathBuf| path.strip_prefix("/").unwrap_or(path).to_path_buf();
    RestoreOptions {
        overwrite: args.overwrite.map(Into::into).unwrap_or_default(),
        selection: Selection {
            paths: args.paths.iter().map(from_root).collect(),
            include: args.include.clone(),
            exclude: args.exclude.clone(),
        },
        dry_run: args.dry_run.then(|| Listing::new(move |deed, path| tell(deed, path, output))),
    }
}

fn tell(deed: Deed, path: &Path, output: Output) {
    let (name, sign) = match deed {
        Deed::Made => ("make", '+'),
        Deed::Replaced => ("replace", 'M'),
        Deed::Adjusted => ("adjust", 'U'),
        Deed::Kept => ("keep", '='),
    };
    // A reader that has gone is no error.
    let _ = match output.is_json() {
        true => line(&json!({ "deed": name, "path": path.to_string_lossy() }).to_string()),
        false => line(&format!("{sign} {}", safe_path(path))),
    };
}

async fn run(session: &mut ClientSession, args: Restore, target: PathBuf, output: Output) -> Result<Exit, Trouble> {
    let snapshot = choose(&session.client, &args.source.snapshot).await?;
    let (id, complete) = (snapshot.id, snapshot.commit.complete);
    if !complete {
        output.note(&format!(
            "snapshot {} is partial: it has what a longer backup had come to by then, and lacks the rest",
            id.short()
        ));
    }
    let options = options(&args, output);
    // Only a whole snapshot says in advance how much it is.
    let is_whole = args.source.path.is_none() && options.selection == Selection::default();
    let bytes_total = match is_whole {
        true => Some(session.client.show(&snapshot).await?.manifest.stats.bytes_source),
        false => None,
    };
    let request =
        RestoreRequest { snapshot, path: args.source.path, target: target.clone(), options, means: Means::default() };
    let (clock, progress, cancel) =
        (session.env().clock.clone(), Arc::new(Progress::default()), CancellationToken::new());
    let started = clock.monotonic();
    let verb = if args.dry_run { "comparing" } else { "restoring" };
    let shown = Shown { verb, moved: "fetched", bytes_total };
    let job = Box::pin(session.client.restore(request, progress.clone(), cancel.clone()));
    let done = follow(output, clock.clone(), shown, &progress, &cancel, job).await?;
    let outcome = done.map_err(stopped(
        "restore",
        "What was restored so far is there: every file that has its name is whole. Restore again with --overwrite if-changed, and it goes on.",
    ))?;
    let seconds = (clock.monotonic() - started).as_secs_f64();
    let is_in_vain = outcome.is_empty() && outcome.problems.count > 0;
    let mut object = json(&outcome, seconds);
    object["snapshot"] = id.to_string().into();
    object["complete"] = complete.into();
    if is_in_vain {
        object["ok"] = false.into();
        object["code"] = "corrupt".into();
        object["message"] = "nothing of what was asked for could be restored".into();
    }
    output.result(object, || {
        let did = match (is_in_vain, args.dry_run) {
            (true, _) => "Could restore nothing of",
            (false, true) => "Would restore",
            (false, false) => "Restored",
        };
        format!("{did} snapshot {} to {}\n{}", id.short(), safe_path(&target), text(&outcome, seconds))
    });
    left(&outcome, output);
    let exit = finish(&outcome.problems, "could not be restored, or not completely", output);
    Ok(if is_in_vain { Exit::Failed } else { exit })
}

fn json(outcome: &RestoreOutcome, seconds: f64) -> Value {
    json!({
        "files": outcome.files,
        "unchanged": outcome.unchanged,
        "kept": outcome.kept,
        "directories": outcome.directories,
        "others": outcome.others,
        "bytes": outcome.bytes,
        "bytes_fetched": outcome.bytes_fetched,
        "seconds": seconds,
        "owners_left": outcome.left.owners,
        "set_ids_left": outcome.left.set_ids,
        "xattrs_left": outcome.left.xattrs,
        "problems": outcome.problems.count,
        "problem_list": problems_json(&outcome.problems),
    })
}

fn text(outcome: &RestoreOutcome, seconds: f64) -> String {
    let mut text = human::counted(outcome.files, "file");
    for (count, word) in [(outcome.unchanged, "unchanged"), (outcome.kept, "kept")] {
        if count > 0 {
            text.push_str(&format!(", {} {word}", human::count(count)));
        }
    }
    format!(
        "{text}, {} directories, {} others, {} in {} ({})",
        human::count(outcome.directories),
        human::count(outcome.others),
        human::bytes(outcome.bytes),
        human::seconds(seconds),
        human::speed(outcome.bytes, seconds),
    )
}

/// Says once what this user had no right to put back.
fn left(outcome: &RestoreOutcome, output: Output) {
    let left = &outcome.left;
    if left.owners > 0 {
        let also = match left.set_ids {
            0 => String::new(),
            count => format!(" {} came back without setuid or setgid bits.", human::counted(count, "program")),
        };
        output.note(&format!(
            "{} belong to you now, and not to whom they did: only root may set owners.{also}",
            human::counted(left.owners, "name")
        ));
    }
    if left.xattrs > 0 {
        output.note(&format!(
            "{} were left out: only root may set them.",
            human::counted(left.xattrs, "extended attribute")
        ));
    }
}

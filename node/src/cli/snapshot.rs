//! Backing up, and looking at what was backed up.

use std::{path::Path, sync::Arc, time::Duration};

use actors::client::{BackupRequest, Client, Contention, Means, Stamina};
use protocol::{
    commands::SnapshotRecord,
    format::{
        manifest::Manifest,
        tree::{Blob, Entry, What},
    },
};
use repo::{CancellationToken, Outcome, Problems, Progress, RepoError, Snapshot};
use serde_json::{Value, json};

use super::{
    args::{DataArgs, SnapshotCreate, SnapshotLs, SnapshotShow, StaminaArgs},
    enroll::host_name,
    human,
    output::{Output, line},
    progress::{Shown, follow},
    sources::sources,
    trouble::{Exit, Trouble},
};

/// Problems that are printed; the rest are counted, and all that were named stand in the JSON.
const PROBLEMS_PRINTED_MAX: usize = 20;

/// `snapshot create`.
pub async fn create(args: SnapshotCreate, output: Output) -> Result<Exit, Trouble> {
    let mut session = args.data.open().await?;
    let source = match sources(args.source, &*session.env().clock, output) {
        Ok(source) => source,
        Err(trouble) => return session.close(Err(trouble)).await,
    };
    let mut stamina = stamina(&args.stamina);
    if source.stream.is_some() {
        // It cannot be gone on with in a further part: the lease itself is its bound.
        stamina.part_after = Duration::MAX;
    }
    let request = BackupRequest {
        sources: source.paths,
        rules: source.rules,
        stream: source.stream,
        host: host_name(),
        description: args.description,
        tags: args.tags,
        means: Means::default(),
        stamina,
    };
    let (clock, progress, cancel) =
        (session.env().clock.clone(), Arc::new(Progress::default()), CancellationToken::new());
    let started = clock.monotonic();
    let shown = Shown { verb: "backing up", moved: "stored", bytes_total: None };
    let backup = Box::pin(session.client.backup(request, progress.clone(), cancel.clone()));
    let done = follow(output, clock.clone(), shown, &progress, &cancel, backup).await;
    let done = done.and_then(|done| {
        done.map_err(stopped(
            "backup",
            "The snapshots that there are stay as they were. Run it again: it goes on from what is stored.",
        ))
    });
    let outcome = session.close(done).await?;
    let seconds = (clock.monotonic() - started).as_secs_f64();
    output.result(outcome_json(&outcome, seconds), || outcome_text(&outcome, seconds));
    Ok(finish(&outcome.problems, "could not be backed up", output))
}

fn stamina(args: &StaminaArgs) -> Stamina {
    let contention = match (args.wait, args.take_over) {
        (true, _) => Contention::Wait,
        (_, true) => Contention::TakeOver,
        _ => Contention::Refuse,
    };
    Stamina {
        me: format!("process {}", std::process::id()),
        contention,
        patience: args.retry_for,
        part_after: args.part_after,
        part_bytes: args.part_size.unwrap_or(u64::MAX),
    }
}

/// A stopped job says what remains of it.
pub fn stopped(job: &'static str, remains: &'static str) -> impl FnOnce(RepoError) -> Trouble {
    move |error| match error.kind {
        repo::Kind::Cancelled => Trouble::cancelled(format!("the {job} was stopped")).hint(remains),
        _ => error.into(),
    }
}

/// Names the files that could not be done, and says how the program ends.
pub fn finish(problems: &Problems, what: &str, output: Output) -> Exit {
    if problems.count == 0 {
        return Exit::Well;
    }
    output.note(&format!("\n{} {what}:", human::counted(problems.count, "file")));
    for problem in problems.named.iter().take(PROBLEMS_PRINTED_MAX) {
        output.note(&format!("  {}: {}", problem.path, problem.reason));
    }
    if problems.count > PROBLEMS_PRINTED_MAX as u64 {
        output.note(&format!(
            "  and {} more; --json names up to a thousand",
            human::count(problems.count - PROBLEMS_PRINTED_MAX as u64)
        ));
    }
    Exit::FileErrors
}

/// Problems, for scripts.
pub fn problems_json(problems: &Problems) -> Value {
    problems.named.iter().map(|problem| json!({ "path": problem.path, "reason": problem.reason })).collect()
}

fn outcome_json(outcome: &Outcome, seconds: f64) -> Value {
    let mut object = stats_json(&outcome.stats);
    object["snapshot"] = outcome.snapshot.to_string().into();
    object["seconds"] = seconds.into();
    object["problems"] = outcome.problems.count.into();
    object["problem_list"] = problems_json(&outcome.problems);
    object
}

fn stats_json(stats: &protocol::format::manifest::Stats) -> Value {
    json!({
        "files": stats.files,
        "files_unchanged": stats.files_unchanged,
        "directories": stats.directories,
        "others": stats.others,
        "bytes_source": stats.bytes_source,
        "bytes_read": stats.bytes_read,
        "bytes_new": stats.bytes_new,
        "bytes_stored": stats.bytes_stored,
        "chunks_new": stats.chunks_new,
        "packs": stats.packs,
        "excluded": stats.excluded,
        "vanished": stats.vanished,
        "problems": stats.problems,
    })
}

fn outcome_text(outcome: &Outcome, seconds: f64) -> String {
    let stats = &outcome.stats;
    format!(
        "Snapshot {}\n{}\nRead {}, new {}, stored {} in {} ({})",
        outcome.snapshot.short(),
        contents_text(stats),
        human::bytes(stats.bytes_read),
        human::bytes(stats.bytes_new),
        human::bytes(stats.bytes_stored),
        human::seconds(seconds),
        human::speed(stats.bytes_source, seconds),
    )
}

fn contents_text(stats: &protocol::format::manifest::Stats) -> String {
    let mut text = format!(
        "{} ({} unchanged), {} directories, {} others, {}",
        human::counted(stats.files, "file"),
        human::count(stats.files_unchanged),
        human::count(stats.directories),
        human::count(stats.others),
        human::bytes(stats.bytes_source),
    );
    for (count, what) in [(stats.excluded, "excluded"), (stats.vanished, "vanished meanwhile")] {
        if count > 0 {
            text.push_str(&format!(", {} {what}", human::count(count)));
        }
    }
    text
}

/// The one snapshot that a person means.
pub async fn choose(client: &Client, wanted: &str) -> Result<SnapshotRecord, Trouble> {
    let snapshots = client.snapshots().await?;
    pick(&snapshots, wanted).cloned()
}

fn pick<'a>(snapshots: &'a [SnapshotRecord], wanted: &str) -> Result<&'a SnapshotRecord, Trouble> {
    if wanted.eq_ignore_ascii_case("latest") {
        // A partial one is where a long backup goes on from, not what a person wants back.
        let latest = snapshots.iter().rev().find(|snapshot| snapshot.commit.complete);
        return latest.ok_or_else(|| match snapshots.last() {
            None => {
                Trouble::not_found("this machine has no snapshot yet").hint("Make one: nuthatch snapshot create PATH")
            }
            Some(partial) => Trouble::not_found("this machine has no complete snapshot yet").hint(format!(
                "Run its backup again, and it goes on from where it was; or name a partial one to see what it has: {}.",
                partial.id.short()
            )),
        });
    }
    let wanted = wanted.to_ascii_lowercase();
    let hex = !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut matching = snapshots.iter().filter(|snapshot| hex && snapshot.id.to_string().starts_with(&wanted));
    match (matching.next(), matching.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            Err(Trouble::invalid(format!("more than one snapshot starts with {wanted}: give more digits")))
        }
        (None, _) => Err(Trouble::not_found(format!("this machine has no snapshot {wanted:?}"))
            .hint("`nuthatch snapshot list` shows those that there are; `latest` is the newest.")),
    }
}

/// `snapshot list`.
pub async fn list(data: &DataArgs, output: Output) -> Result<(), Trouble> {
    let mut session = data.open().await?;
    let listed = async {
        let records = session.client.snapshots().await?;
        let shown = session.client.show_all(&records).await?;
        Ok((records, shown))
    }
    .await;
    let (records, shown) = session.close(listed).await?;
    let object = |(record, shown): (&SnapshotRecord, &Result<Snapshot, RepoError>)| record_json(record, shown.as_ref());
    let objects: Vec<Value> = records.iter().zip(&shown).map(object).collect();
    output.result(json!({ "snapshots": objects }), || {
        if records.is_empty() {
            return "No snapshot yet: nuthatch snapshot create PATH".into();
        }
        let mut rows = vec![["ID", "TIME", "FILES", "SIZE", "STORED", "PATHS"].map(String::from).to_vec()];
        rows.extend(records.iter().zip(&shown).map(|(record, shown)| row(record, shown)));
        human::columns(&rows, &[2, 3, 4])
    });
    for (record, shown) in records.iter().zip(&shown) {
        if let Err(error) = shown {
            output.note(&format!("{}: {}", record.id.short(), Trouble::from(error.clone())));
        }
    }
    Ok(())
}

fn row(record: &SnapshotRecord, shown: &Result<Snapshot, RepoError>) -> Vec<String> {
    let mut row = vec![record.id.short(), human::time(record.at)];
    match shown {
        Err(_) => {
            row.extend(["?".into(), "?".into(), human::bytes(record.commit.bytes_stored), "cannot be read".into()])
        }
        Ok(Snapshot { manifest, .. }) => {
            let mut paths = paths_text(manifest);
            if !record.commit.complete {
                paths.push_str(" (partial)");
            }
            row.extend([
                human::count(manifest.stats.files),
                human::bytes(manifest.stats.bytes_source),
                human::bytes(record.commit.bytes_stored),
                paths,
            ]);
        }
    }
    row
}

fn paths_text(manifest: &Manifest) -> String {
    manifest.paths.iter().map(text).collect::<Vec<_>>().join(" ")
}

fn text(bytes: &Blob) -> String {
    String::from_utf8_lossy(&bytes.0).into_owned()
}

fn record_json(record: &SnapshotRecord, shown: Result<&Snapshot, &RepoError>) -> Value {
    let mut object = json!({
        "id": record.id.to_string(),
        "at_ms": record.at.0,
        "complete": record.commit.complete,
        "bytes_stored": record.commit.bytes_stored,
        "error": shown.as_ref().err().map(|error| error.to_string()),
    });
    if let Ok(Snapshot { manifest, .. }) = shown {
        object["host"] = manifest.host.clone().into();
        object["paths"] = manifest.paths.iter().map(text).collect();
        object["description"] = manifest.description.clone().into();
        object["tags"] = manifest.tags.clone().into();
        object["files"] = manifest.stats.files.into();
        object["bytes_source"] = manifest.stats.bytes_source.into();
        object["problems"] = manifest.stats.problems.into();
    }
    object
}

/// `snapshot show`.
pub async fn show(args: SnapshotShow, output: Output) -> Result<(), Trouble> {
    let mut session = args.data.open().await?;
    let shown = async {
        let record = choose(&session.client, &args.snapshot).await?;
        let snapshot = session.client.show(&record).await?;
        Ok((record, snapshot))
    }
    .await;
    let (record, snapshot) = session.close(shown).await?;
    let (manifest, commit) = (&snapshot.manifest, &snapshot.commit);
    let mut object = stats_json(&manifest.stats);
    if let (Value::Object(object), Value::Object(more)) = (&mut object, record_json(&record, Ok(&snapshot))) {
        object.extend(more);
    }
    object["sequence"] = commit.sequence.into();
    object["previous"] = commit.previous.map(|previous| previous.to_string()).into();
    object["excludes"] = manifest.excludes.clone().into();
    object["program"] = manifest.program.clone().into();
    object["started_ms"] = manifest.started.0.into();
    object["finished_ms"] = manifest.finished.0.into();
    output.result(object, || {
        let seconds = manifest.finished.since(manifest.started) as f64 / 1000.0;
        let mut rows = vec![
            ("Snapshot", snapshot.id.to_string()),
            ("Time", format!("{}, {} long", human::time(manifest.started), human::seconds(seconds))),
            ("Machine", manifest.host.clone()),
            ("Paths", paths_text(manifest)),
            ("Contents", contents_text(&manifest.stats)),
            (
                "Stored",
                format!(
                    "{} for {} of new data",
                    human::bytes(manifest.stats.bytes_stored),
                    human::bytes(manifest.stats.bytes_new)
                ),
            ),
            ("Before it", commit.previous.map_or_else(|| "nothing".into(), |previous| previous.short())),
            ("Written by", manifest.program.clone()),
        ];
        if !manifest.description.is_empty() {
            rows.insert(1, ("Description", manifest.description.clone()));
        }
        if !manifest.excludes.is_empty() {
            rows.push(("Left out", manifest.excludes.join(" ")));
        }
        if !manifest.tags.is_empty() {
            rows.push(("Tags", manifest.tags.join(", ")));
        }
        if manifest.stats.problems > 0 {
            rows.push((
                "Problems",
                format!("{} could not be backed up", human::counted(manifest.stats.problems, "file")),
            ));
        }
        if !record.commit.complete {
            rows.push(("Partial", "a longer backup goes on in the next one".into()));
        }
        let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.into(), value]).collect();
        human::columns(&rows, &[])
    });
    Ok(())
}

/// `snapshot ls`.
pub async fn ls(args: SnapshotLs, output: Output) -> Result<(), Trouble> {
    let mut session = args.data.open().await?;
    let listed = async {
        let record = choose(&session.client, &args.snapshot).await?;
        let mut visit = |path: &Path, entry: &Entry| {
            line(&if output.is_json() { entry_json(path, entry).to_string() } else { entry_text(path, entry) })
        };
        session.client.ls(&record, args.path, args.recursive, &mut visit).await?;
        Ok(())
    }
    .await;
    session.close(listed).await
}

/// What an entry is: its name in JSON, and its letter.
pub fn kind(what: &What) -> (&'static str, char) {
    match what {
        What::File { .. } => ("file", '-'),
        What::Directory { .. } => ("directory", 'd'),
        What::Symlink { .. } => ("symlink", 'l'),
        What::Fifo => ("fifo", 'p'),
        What::Socket => ("socket", 's'),
        What::CharDevice { .. } => ("char_device", 'c'),
        What::BlockDevice { .. } => ("block_device", 'b'),
    }
}

/// Length of a file.
pub fn size(what: &What) -> Option<u64> {
    if let What::File { len, .. } = what { Some(*len) } else { None }
}

fn entry_text(path: &Path, entry: &Entry) -> String {
    let attributes = &entry.attributes;
    let arrow =
        if let What::Symlink { target } = &entry.what { format!(" -> {}", text(target)) } else { String::new() };
    format!(
        "{}{:04o} {:>5} {:>5} {:>9}  {}  {}{arrow}",
        kind(&entry.what).1,
        attributes.mode,
        attributes.uid,
        attributes.gid,
        size(&entry.what).map_or_else(|| "-".into(), human::bytes),
        human::file_time(attributes.mtime),
        path.display(),
    )
}

fn entry_json(path: &Path, entry: &Entry) -> Value {
    let attributes = &entry.attributes;
    let target = if let What::Symlink { target } = &entry.what { Some(text(target)) } else { None };
    json!({
        "path": path.to_string_lossy(),
        "kind": kind(&entry.what).0,
        "mode": attributes.mode,
        "uid": attributes.uid,
        "gid": attributes.gid,
        "size": size(&entry.what),
        "mtime_s": attributes.mtime.secs,
        "mtime_ns": attributes.mtime.nanos,
        "target": target,
    })
}

//! Backs up a directory, again unchanged, and restores it: seconds and bytes.
//!
//! `whole DIR TARGET`: TARGET must not exist; it is where DIR is restored to.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a benchmark measures the real machine"
)]

mod machine;

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use protocol::{
    commands::{Lease, ParentSnapshot, View},
    ids::LeaseId,
    time::UnixMillis,
};
use repo::{BackupJob, CancellationToken, Context, Outcome, Progress, RestoreJob, Segments};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(source), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err("usage: whole DIR TARGET".into());
    };
    let context = machine::context(benches::keys()?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    runtime.block_on(async {
        let first = timed("first backup", backup(&context, &source, None)).await?;
        let second = timed("unchanged", backup(&context, &source, Some(&first))).await?;
        let segments = Segments { own: first.facts.segments.clone(), shared: Vec::new() };
        let job = RestoreJob {
            snapshot: second.facts.object,
            segments,
            path: Some(source),
            target,
            overwrite: false,
            memory_bytes: 256 << 20,
            downloads: 4,
            cancel: CancellationToken::new(),
        };
        let restored = timed("restore", repo::restore(context, job, Arc::default())).await?;
        println!("{} files restored, {} problems", restored.files, restored.problems.count);
        Ok(())
    })
}

async fn timed<T, E>(name: &str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let start = Instant::now();
    let result = work.await;
    let peak_kib = machine::peak_kib();
    println!("{name:14} {:7.2} s   peak {:5} MiB", start.elapsed().as_secs_f64(), peak_kib / 1024);
    result
}

async fn backup(context: &Context, source: &Path, parent: Option<&Outcome>) -> Result<Outcome, repo::RepoError> {
    let sequence = if parent.is_some() { 2 } else { 1 };
    let lease = Lease {
        id: LeaseId { incarnation: 1, index: sequence },
        repository: context.keys.domain().repository,
        domain: context.keys.domain().id,
        granted: UnixMillis(0),
        expires: UnixMillis(0),
        view: View {
            epoch: 0,
            index: sequence,
            own: parent.map(|parent| parent.facts.segments.clone()).unwrap_or_default(),
            shared: Vec::new(),
        },
        parent: parent.map(|parent| ParentSnapshot { id: parent.snapshot, object: parent.facts.object }),
        parent_complete: None,
        lineage: context.keys.lineage(&[source.into()]),
        previous: parent.map(|parent| parent.snapshot),
        sequence,
    };
    let job = BackupJob {
        sources: vec![source.into()],
        lease,
        host: "bench".into(),
        description: String::new(),
        tags: Vec::new(),
        program: "whole".into(),
        started: context.clock.now(),
        memory_bytes: 192 << 20,
        uploads: 4,
        cancel: CancellationToken::new(),
    };
    let progress = Arc::new(Progress::default());
    let outcome = repo::backup(context.clone(), job, progress).await?;
    let stats = &outcome.stats;
    println!(
        "{} files, {:.1} MiB read, {:.1} MiB stored in {} packs, {} new chunks, {} problems",
        stats.files,
        stats.bytes_read as f64 / 1048576.0,
        stats.bytes_stored as f64 / 1048576.0,
        stats.packs,
        stats.chunks_new,
        stats.problems
    );
    Ok(outcome)
}

//! What the operator and the person at the client do.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use actors::client::{Client, Means, RestoreRequest, Stamina};
use anyhow::Context;
use env::files::{Attributes, FileTime, Kind};
use protocol::commands::SnapshotRecord;
use repo::{CancellationToken, Overwrite, Problem, Problems, Progress, RestoreOptions};

use super::Script;
use crate::scenario::stage::{
    MayRetry, Player, Untold,
    founding::found_with_token,
    person::{self, SETTLING},
    tree::{SOURCE, TARGET},
};

/// The operator: makes the cluster and a token.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    if me.script().token.is_some() {
        return Ok(());
    }
    let token = found_with_token(&me).await?;
    me.script().token = Some(token);
    Ok(())
}

/// The client, in each of its lives: backs up twice, restores the first snapshot, and then
/// the second over it.
pub async fn work(me: Player<Script>) -> anyhow::Result<()> {
    let token = me.told(|script| script.token.clone()).await;
    person::join(&me, &token, "laptop").await?;
    let mut client = person::open(&me).await?;
    if me.script().made.is_empty() {
        me.env.clock.sleep(SETTLING).await;
        back_up(&me, &mut client).await?;
    }
    if !me.script().restored {
        let first = snapshots(&me, &client).await?.into_iter().next().context("a snapshot")?;
        restore(&me, &mut client, &first).await?;
        me.script().restored = true;
    }
    if me.script().made.len() == 1 {
        edit_in_place(&me)?;
        me.env.clock.sleep(SETTLING).await;
        back_up(&me, &mut client).await?;
    }
    me.until(|script| script.rotten).await;
    let last = snapshots(&me, &client).await?.into_iter().last().context("a snapshot")?;
    let problems = restore(&me, &mut client, &last).await?;
    client.close().await?;
    let below = format!("{TARGET}{SOURCE}");
    let told = |problem: &Problem| Path::new(&problem.path).strip_prefix(&below).unwrap_or(Path::new("")).to_owned();
    me.script().told = Some(problems.named.iter().map(told).collect());
    Ok(())
}

async fn back_up(me: &Player<Script>, client: &mut Client) -> anyhow::Result<()> {
    let outcome = loop {
        match person::back_up(me, client, Stamina::default()).await {
            Err(error) if error.may_retry() => me.pause().await,
            done => break done.context("backup")?,
        }
    };
    let mut script = me.script();
    let tree = script.files.as_ref().context("files")?.entries(SOURCE)?;
    script.made.push((outcome.snapshot.to_string(), Untold(tree)));
    Ok(())
}

async fn snapshots(me: &Player<Script>, client: &Client) -> anyhow::Result<Vec<SnapshotRecord>> {
    me.persist(|| client.snapshots()).await.context("snapshot list")
}

/// Restores over what is there; what it says that it could not restore.
async fn restore(me: &Player<Script>, client: &mut Client, snapshot: &SnapshotRecord) -> anyhow::Result<Problems> {
    loop {
        let request = RestoreRequest {
            snapshot: snapshot.clone(),
            path: None,
            target: PathBuf::from(TARGET),
            options: RestoreOptions { overwrite: Overwrite::Always, ..RestoreOptions::default() },
            means: Means { memory_bytes: 32 << 20, transfers: 4 },
        };
        match client.restore(request, Arc::new(Progress::default()), CancellationToken::new()).await {
            Err(error) if error.may_retry() => me.pause().await,
            done => return Ok(done.context("restore")?.problems),
        }
    }
}

/// Another content of the same length, as of a later time, in every third file.
fn edit_in_place(me: &Player<Script>) -> anyhow::Result<()> {
    let tree = me.script().files.as_ref().context("files")?.entries(SOURCE)?;
    let salt: [u8; 8] = me.env.rng.array();
    let contents = tree.into_iter().filter(|(_, entry)| entry.metadata.kind == Kind::File && entry.metadata.links == 1);
    for (path, entry) in contents.step_by(3) {
        let content: Vec<u8> = entry.content.iter().zip(salt.iter().cycle()).map(|(byte, salt)| byte ^ salt).collect();
        let path = Path::new(SOURCE).join(path);
        let mut file = me.env.files.create_file(&path.with_extension("new"))?;
        file.write_at(0, &content)?;
        let mtime = FileTime { secs: 1_750_000_000, nanos: 1 };
        let attributes = Attributes { kind: Kind::File, mode: 0o644, owner: None, mtime, xattrs: Vec::new() };
        file.finish(content.len() as u64, &attributes)?;
        me.env.files.rename(&path.with_extension("new"), &path)?;
    }
    Ok(())
}

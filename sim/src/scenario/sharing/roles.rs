//! What the operator and the people at the two clients do.

use std::{path::PathBuf, sync::Arc, time::Duration};

use actors::{
    client::{BackupRequest, Client, Means, RestoreRequest, Stamina, enroll},
    net::Pace,
    operator::NewToken,
};
use anyhow::{Context, bail, ensure};
use env::Env;
use protocol::{
    commands::View,
    failure::{Code, Failure},
    ids::RepositoryId,
    token::Token,
    wire,
};
use repo::{CancellationToken, Kind, Outcome, Progress, ReadData, RestoreOptions};

use super::{BACKUPS, SOURCE, SharedScript, TARGET};
use crate::{
    kernel::lock,
    scenario::cluster::{
        roles::{Founded, found},
        tree,
    },
    world::BootInfo,
};

/// Between two looks at something that others must do first, or after something failed.
const PAUSE: Duration = Duration::from_millis(500);
/// Until what is in the source tree counts as old.
const SETTLING: Duration = Duration::from_secs(3);

/// The operator: makes the cluster and a token for two.
pub async fn operate(env: Env, script: SharedScript) -> anyhow::Result<()> {
    let Founded { operator, domain, secrets, .. } = found(&env).await?;
    let expires = env.clock.now().plus_secs(86_400);
    let new = NewToken { name: "both".into(), uses: 2, expires, domain: domain.id, tags: Vec::new() };
    let token = operator.add_token(new, &secrets).await.context("token create")?;
    lock(&script).token = Some(token.to_text());
    operator.close().await;
    Ok(())
}

/// A person at a client. The first one backs up, day after day, and waits until nothing
/// of it waits to be published; the second has the same files and comes after.
pub async fn back_up(env: Env, info: BootInfo, first: bool, script: SharedScript) -> anyhow::Result<()> {
    join(&env, if first { "first" } else { "second" }, &script).await?;
    let mut client = Client::open(&env, Pace::Busy)?;
    env.clock.sleep(SETTLING).await;
    let mut last = None;
    if first {
        for day in 0..BACKUPS {
            if day > 0 {
                tree::edit(&*env.files, day, &[day as u8; 32])?;
            }
            let outcome = back_up_once(&env, &mut client, &info).await?;
            lock(&script).stored += outcome.stats.bytes_stored;
            // Each is published by itself, as if days lay between.
            wait_for_publishing(&env, &client).await?;
        }
        lock(&script).published = true;
    } else {
        while !lock(&script).published {
            env.clock.sleep(PAUSE).await;
        }
        (1..BACKUPS).try_for_each(|day| tree::edit(&*env.files, day, &[day as u8; 32]))?;
        let outcome = back_up_once(&env, &mut client, &info).await?;
        let (stored, all) = (outcome.stats.bytes_stored, lock(&script).stored);
        ensure!(stored < all / 10, "{stored} bytes of {all} were stored twice: {:?}", outcome.stats);
        let view = survey(&env, &client).await?;
        ensure!(view.shared.len() <= 2 * protocol::limits::RUNS_PER_CLASS_MAX, "{} segments", view.shared.len());
        last = Some(outcome);
    }
    info.tracer.note(format_args!("backed up, {last:?}"));
    restore(&env, &mut client).await?;
    client.close().await?;
    lock(&script).done += 1;
    Ok(())
}

async fn join(env: &Env, name: &str, script: &SharedScript) -> anyhow::Result<()> {
    let token: Token = loop {
        if let Some(text) = &lock(script).token {
            break text.parse()?;
        }
        env.clock.sleep(PAUSE).await;
    };
    loop {
        match enroll(env, &token, name).await {
            Ok(_) => return Ok(()),
            Err(Failure { code: Code::Retry, .. }) => env.clock.sleep(PAUSE).await,
            Err(failure) => bail!("enroll: {failure}"),
        }
    }
}

async fn back_up_once(env: &Env, client: &mut Client, info: &BootInfo) -> anyhow::Result<Outcome> {
    loop {
        let request = BackupRequest {
            sources: vec![PathBuf::from(SOURCE)],
            rules: repo::Rules::default(),
            stream: None,
            host: "client".into(),
            description: String::new(),
            tags: Vec::new(),
            means: Means { memory_bytes: 32 << 20, transfers: 4 },
            stamina: Stamina::default(),
        };
        match client.backup(request, Arc::new(Progress::default()), CancellationToken::new()).await {
            Ok(outcome) => {
                ensure!(outcome.problems.count == 0, "backup: {:?}", outcome.problems);
                info.tracer.note(format_args!("snapshot {} {:?}", outcome.snapshot, outcome.stats));
                return Ok(outcome);
            }
            Err(error) if matches!(error.kind, Kind::Retry | Kind::Fenced) => env.clock.sleep(PAUSE).await,
            Err(error) => bail!("backup: {error:?}"),
        }
    }
}

async fn repository(env: &Env, client: &Client) -> anyhow::Result<RepositoryId> {
    loop {
        match client.snapshots().await {
            Ok(snapshots) => return Ok(snapshots.first().context("a snapshot")?.repository),
            Err(failure) if failure.code == Code::Retry => env.clock.sleep(PAUSE).await,
            Err(failure) => bail!("snapshot list: {failure}"),
        }
    }
}

async fn survey(env: &Env, client: &Client) -> anyhow::Result<View> {
    let repository = repository(env, client).await?;
    loop {
        match client.link().call(wire::Survey { repository }).await {
            Ok(view) => return Ok(view),
            Err(failure) if failure.code == Code::Retry => env.clock.sleep(PAUSE).await,
            Err(failure) => bail!("survey: {failure}"),
        }
    }
}

async fn wait_for_publishing(env: &Env, client: &Client) -> anyhow::Result<()> {
    while !survey(env, client).await?.own.is_empty() {
        env.clock.sleep(PAUSE).await;
    }
    Ok(())
}

/// Restores the newest snapshot, and verifies all of them.
async fn restore(env: &Env, client: &mut Client) -> anyhow::Result<()> {
    loop {
        match try_restore(client).await {
            Ok(()) => return Ok(()),
            Err(error) if error.downcast_ref::<repo::RepoError>().is_some_and(|error| error.kind == Kind::Retry) => {}
            Err(error) if error.downcast_ref::<Failure>().is_some_and(|failure| failure.code == Code::Retry) => {}
            Err(error) => return Err(error),
        }
        env.clock.sleep(PAUSE).await;
    }
}

async fn try_restore(client: &mut Client) -> anyhow::Result<()> {
    let snapshots = client.snapshots().await?;
    let snapshot = snapshots.last().context("a snapshot")?.clone();
    let options = RestoreOptions { overwrite: repo::Overwrite::Always, ..RestoreOptions::default() };
    let request =
        RestoreRequest { snapshot, path: None, target: PathBuf::from(TARGET), options, means: Means::default() };
    let restored = client.restore(request, Arc::new(Progress::default()), CancellationToken::new()).await?;
    ensure!(restored.problems.count == 0, "restore: {:?}", restored.problems);
    let progress = Arc::new(Progress::default());
    let all = client.verify(&snapshots, ReadData::All, Means::default(), progress, CancellationToken::new()).await?;
    ensure!(all.is_sound(), "verify: {:?}", all.damages);
    Ok(())
}

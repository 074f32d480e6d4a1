//! What the operator and the people at the two clients do.

use actors::{
    client::{Client, Stamina},
    net::Pace,
};
use anyhow::{Context, bail, ensure};
use protocol::{commands::View, limits, wire};
use repo::{Outcome, ReadData};

use super::{BACKUPS, Script};
use crate::scenario::{
    sometimes,
    stage::{
        MayRetry, Player,
        founding::found,
        person::{self, SETTLING},
        tree,
    },
};

/// The operator: makes the cluster and a token for two.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    let founded = found(&me.env).await?;
    let token = founded.token(&me, "both", 2).await?;
    me.script().token = Some(token);
    founded.operator.close().await;
    Ok(())
}

/// The person at the first client backs up, day after day, and waits until nothing of it
/// waits to be published.
pub async fn come_first(me: Player<Script>) -> anyhow::Result<()> {
    let mut client = join(&me, "first").await?;
    for day in 0..BACKUPS {
        if day > 0 {
            tree::edit(&*me.env.files, day, &[day as u8; 32])?;
        }
        let outcome = back_up(&me, &mut client).await?;
        me.script().stored += outcome.stats.bytes_stored;
        // Each is published by itself, as if days lay between.
        while !survey(&me, &client).await?.own.is_empty() {
            me.pause().await;
        }
    }
    me.script().published = true;
    restore(&me, client).await
}

/// The person at the second has the same files and comes after.
pub async fn come_second(me: Player<Script>) -> anyhow::Result<()> {
    let mut client = join(&me, "second").await?;
    me.until(|script| script.published).await;
    (1..BACKUPS).try_for_each(|day| tree::edit(&*me.env.files, day, &[day as u8; 32]))?;
    let outcome = back_up(&me, &mut client).await?;
    let (stored, all) = (outcome.stats.bytes_stored, me.script().stored);
    ensure!(stored < all / 10, "{stored} bytes of {all} were stored twice: {:?}", outcome.stats);
    let view = survey(&me, &client).await?;
    ensure!(view.shared.len() <= 2 * limits::RUNS_PER_CLASS_MAX, "{} segments", view.shared.len());
    restore(&me, client).await
}

async fn join(me: &Player<Script>, name: &str) -> anyhow::Result<Client> {
    let token = me.told(|script| script.token.clone()).await;
    person::join(me, &token, name).await?;
    let client = Client::open(&me.env, Pace::Busy)?;
    me.env.clock.sleep(SETTLING).await;
    Ok(client)
}

async fn back_up(me: &Player<Script>, client: &mut Client) -> anyhow::Result<Outcome> {
    loop {
        match person::back_up(me, client, Stamina::default()).await {
            Ok(outcome) => {
                ensure!(outcome.problems.count == 0, "backup: {:?}", outcome.problems);
                me.note(format_args!("snapshot {} {:?}", outcome.snapshot, outcome.stats));
                return Ok(outcome);
            }
            Err(error) if error.may_retry() => {
                sometimes("sharing: a backup fails, and is made again");
                me.pause().await;
            }
            Err(error) => bail!("backup: {error:?}"),
        }
    }
}

async fn survey(me: &Player<Script>, client: &Client) -> anyhow::Result<View> {
    let snapshots = me.persist(|| client.snapshots()).await.context("snapshot list")?;
    let repository = snapshots.first().context("a snapshot")?.repository;
    me.persist(|| client.link().call(wire::Survey { repository })).await.context("survey")
}

/// Restores the newest snapshot, and verifies all of them.
async fn restore(me: &Player<Script>, mut client: Client) -> anyhow::Result<()> {
    while let Err(error) = try_restore(me, &mut client).await {
        if !error.may_retry() {
            return Err(error);
        }
        sometimes("sharing: a restore fails, and goes on");
        me.pause().await;
    }
    client.close().await?;
    me.script().done += 1;
    Ok(())
}

async fn try_restore(me: &Player<Script>, client: &mut Client) -> anyhow::Result<()> {
    let snapshots = client.snapshots().await?;
    person::restore(me, client, snapshots.last().context("a snapshot")?, tree::TARGET).await?;
    person::verify(client, &snapshots, ReadData::All).await
}

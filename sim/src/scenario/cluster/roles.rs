//! What the operator and the person at the client do.

use actors::client::{Client, Stamina, enroll};
use anyhow::{Context, bail, ensure};
use protocol::{
    failure::{Code, Failure},
    token::Token,
};
use repo::ReadData;

use super::Script;
use crate::scenario::{
    sometimes,
    stage::{
        Player,
        founding::found_with_token,
        person::{self, SETTLING},
        tree,
    },
};

/// How many times the client backs up.
const BACKUPS: usize = 5;

/// The operator: makes the cluster, a storage, a domain and a token.
pub(super) async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    let token = found_with_token(&me).await?;
    me.script().token = Some(token);
    Ok(())
}

/// The client: joins, backs up day after day, restores, and tries to join a second time.
pub(super) async fn back_up(me: Player<Script>) -> anyhow::Result<()> {
    let token: Token = me.told(|script| script.token.clone()).await.parse()?;
    let asked = enroll(&me.env, &token, "laptop");
    let enrolled = person::recorded_join(&me, &person::name_of(&me), &token, asked).await.context("enroll")?;
    let mut client = Client::open(&me.env, actors::net::Pace::Busy)?;
    me.env.clock.sleep(SETTLING).await;
    for number in 0..BACKUPS {
        if number > 0 {
            tree::edit(&*me.env.files, number, &me.env.rng.array())?;
        }
        let before = client.link().report().failovers;
        let outcome = person::back_up(&me, &mut client, Stamina::default()).await;
        let outcome = outcome.with_context(|| format!("backup {number}"))?;
        ensure!(outcome.problems.count == 0, "backup {number}: {:?}", outcome.problems);
        me.note(format_args!("backup {number}: {} {:?}", outcome.snapshot, outcome.stats));
        if client.link().report().failovers > before && outcome.stats.bytes_stored > 0 {
            sometimes("cluster: a failover in mid-backup");
        }
        if number > 0 {
            ensure!(outcome.stats.files_unchanged > 0, "backup {number} opened every file: {:?}", outcome.stats);
        }
    }
    let from_ms = me.info.recorder.now_ms();
    let snapshots = client.snapshots().await.context("snapshot list")?;
    ensure!(snapshots.len() == BACKUPS, "{} snapshots", snapshots.len());
    person::record_snapshots(&me, from_ms, enrolled.client, &snapshots);
    person::restore(&me, &mut client, snapshots.last().context("a snapshot")?, tree::TARGET).await?;
    person::verify(&mut client, &snapshots, ReadData::All).await?;
    let report = client.link().report();
    me.note(format_args!("failovers {} bytes sent {}", report.failovers, report.bytes_sent));
    client.close().await?;
    refuse_second(&me, &token).await?;
    me.script().refused = true;
    Ok(())
}

/// I4: the token is spent, so other keys are refused.
async fn refuse_second(me: &Player<Script>, token: &Token) -> anyhow::Result<()> {
    me.env.disk.remove("client")?;
    match person::recorded_join(me, "thief", token, enroll(&me.env, token, "thief")).await {
        Err(Failure { code: Code::Denied, .. }) => Ok(()),
        other => bail!("a spent token was answered with {other:?}"),
    }
}

//! What the orchestrators, the operator and the clients do.

use std::time::Duration;

use actors::operator::{Operator, Roster};
use anyhow::{Context, bail, ensure};
use protocol::{audit::Act, failure::Code, sign::Signer, wire};

use super::{CLIENTS, NEWCOMER, NEXT, ORCHESTRATORS, Script};
use crate::scenario::stage::{
    MayRetry, Player,
    founding::{self, agree, candidate, found, start_as},
    person,
};

/// How long the log is watched staying where it is: several looks of its leader.
const WATCHED: Duration = Duration::from_secs(6);
/// An orchestrator, with the program that the script gives it.
pub async fn orchestrate(me: Player<Script>) -> anyhow::Result<()> {
    let levels = me.script().speaks(me.info.node);
    match start_as(&me, levels).await {
        Ok(mut system) => system.ended().await,
        Err(error) => {
            let said = format!("{error:#}");
            if said.contains("this program speaks") {
                me.script().refused = Some(said);
                return Ok(());
            }
            return Err(error);
        }
    }
    Ok(())
}

/// The operator: founds, watches the level, and looks at everything in the end.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    let founded = found(&me.env).await?;
    let token = founded.token(&me, "all", CLIENTS).await?;
    me.script().token = Some(token);
    let operator = founded.operator;
    for updated in 0..=ORCHESTRATORS as usize {
        me.until(|script| script.updated() == updated).await;
        if updated < ORCHESTRATORS as usize {
            stays(&me, &operator, updated).await?;
        } else {
            rises(&me, &operator).await?;
        }
        me.script().seen = Some(updated);
    }
    let root = Signer::from_seed(&founded.root_seed);
    turn_away(&me, &operator, &root).await?;
    me.script().turned_away = true;
    me.until(|script| script.done && script.ended == CLIENTS).await;
    agreed(&me, &operator).await?;
    let told = me.script().told.clone();
    founding::invariant_told_is_listed(&me, &operator, &told).await?;
    operator.close().await;
    me.script().checked = true;
    Ok(())
}

/// The level of the log at each orchestrator, and the highest that its program speaks.
/// None until all of them answer.
async fn levels(me: &Player<Script>, operator: &Operator) -> anyhow::Result<Option<Vec<(u8, u8)>>> {
    let roster: Roster = me.persist(|| operator.roster()).await?;
    let speeches = operator.ask_each(&roster, wire::Speak {}).await;
    let each =
        speeches.into_iter().map(|speech| speech.ok().and_then(|speech| Some((speech.active?, speech.levels.last))));
    Ok(each.collect())
}

/// While one of them has the old program, the log stays where it is.
async fn stays(me: &Player<Script>, operator: &Operator, updated: usize) -> anyhow::Result<()> {
    let mut since = None;
    loop {
        if let Some(levels) = levels(me, operator).await? {
            ensure!(levels.iter().all(|(active, _)| *active == NEXT - 1), "the log rose too early: {levels:?}");
            if levels.iter().filter(|(_, last)| *last == NEXT).count() == updated {
                let now = me.env.clock.monotonic();
                if now - *since.get_or_insert(now) >= WATCHED {
                    return Ok(());
                }
            }
        }
        me.pause().await;
    }
}

/// Once all have the new one, it rises, and the trail says so.
async fn rises(me: &Player<Script>, operator: &Operator) -> anyhow::Result<()> {
    while !levels(me, operator).await?.is_some_and(|levels| levels.iter().all(|(active, _)| *active == NEXT)) {
        me.pause().await;
    }
    let trail = me.persist(|| operator.audit()).await?;
    let raised = trail.iter().filter(|entry| entry.act == Act::Level(NEXT)).count();
    ensure!(raised == 1, "the trail says {raised} times that the log was raised");
    Ok(())
}

/// A node with the old program is not made an orchestrator: nothing is signed.
async fn turn_away(me: &Player<Script>, operator: &Operator, root: &Signer) -> anyhow::Result<()> {
    let (newcomer, before) = (candidate(NEWCOMER.0), me.persist(|| operator.roster()).await?.record.version());
    loop {
        match operator.add_orchestrator(&newcomer, None, root).await {
            Err(failure) if failure.may_retry() => me.pause().await,
            Err(failure) if failure.code == Code::Invalid && failure.message.contains("bring it up to date") => break,
            other => bail!("a newcomer with the old program was answered with {other:?}"),
        }
    }
    let after = me.persist(|| operator.roster()).await?.record.version();
    ensure!(after == before, "keyset {after} was signed for a newcomer that was turned away");
    Ok(())
}

/// I2. The one that went back may still be starting.
async fn agreed(me: &Player<Script>, operator: &Operator) -> anyhow::Result<()> {
    let back = |levels: &Vec<(u8, u8)>| levels.iter().all(|level| *level == (NEXT, NEXT));
    while !levels(me, operator).await?.as_ref().is_some_and(back) {
        me.pause().await;
    }
    agree(me, operator).await
}

/// A client: joins, and backs up until all is done.
pub async fn work(me: Player<Script>) -> anyhow::Result<()> {
    let token = me.told(|script| script.token.clone()).await;
    let name = format!("client {}", me.info.node.0);
    let (_, enrollment) = person::join(&me, &token, &name).await?;
    let mut client = person::open(&me).await?;
    let done = |script: &mut Script, made| {
        script.told.entry(enrollment.client).or_default().push(made);
        script.done
    };
    person::back_up_until(&me, &mut client, &mut (1..), done).await.context(name)?;
    client.close().await?;
    me.script().ended += 1;
    Ok(())
}

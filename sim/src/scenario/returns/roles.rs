//! What the operator and the clients do.

use std::{path::Path, time::Duration};

use actors::{client::Stamina, operator::Operator};
use anyhow::{Context, ensure};
use env::files::{Attributes, FileTime, Kind};
use protocol::{commands::SnapshotRecord, ids::SnapshotId};

use super::{LAST_AT, RESTORER, Script, Step};
use crate::{
    kernel::fault::Node,
    scenario::stage::{
        Player,
        founding::{agree, candidate, found},
        person, tree,
    },
};

/// How long whoever takes a lost one's place may take until it is whole.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to recognise an old disk.
const RECOGNISED_WITHIN: Duration = Duration::from_secs(30);
/// Between two backups of a client.
const BETWEEN: Duration = Duration::from_secs(2);

/// The operator: founds, replaces what is lost, and looks at everything in the end.
pub async fn operate(me: Player<Script>, lost: Node) -> anyhow::Result<()> {
    let founded = found(&me.env).await?;
    let token = founded.token(&me, "all", super::CLIENTS).await?;
    let home = founded.home();
    founded.operator.close().await;
    {
        let mut script = me.script();
        script.home = Some(home.clone());
        script.token = Some(token);
    }
    let (root, operator) = (home.root(), home.operator(&me.env)?);
    let step = me.told(|script| (script.step != Step::Working).then_some(script.step)).await;
    if step == Step::Returned {
        recognise(&me, &operator, lost).await?;
        me.script().step = Step::Replacing;
    }
    let began = me.env.clock.monotonic();
    if step != Step::Whole {
        let newcomer = candidate(lost.0);
        let replaces = newcomer.name.clone();
        // Until its machine is up with an empty disk, its place is not to be had.
        let given = loop {
            match operator.add_orchestrator(&newcomer, Some(&replaces), &root).await {
                Ok(changed) if changed.replaced.is_some() => break changed,
                _ => me.pause().await,
            }
        };
        me.note(format_args!("keyset {} gives {} its place", given.keyset, newcomer.name));
        me.persist(|| operator.settled()).await.context("orchestrator add --replace")?;
    }
    agree_at_work(&me, &operator).await?;
    let took = me.env.clock.monotonic() - began;
    me.note(format_args!("whole again after {took:?}"));
    ensure!(took < WHOLE_WITHIN, "whoever came back was whole after {took:?}");
    me.script().step = Step::Needed;
    me.until(|script| script.step == Step::Done).await;
    agree(&me, &operator).await?;
    check(&me, &operator).await?;
    operator.close().await;
    me.script().step = Step::Checked;
    Ok(())
}

/// An old disk is not voted with: its node answers, and says that it takes no part.
async fn recognise(me: &Player<Script>, operator: &Operator, lost: Node) -> anyhow::Result<()> {
    let give_up = me.env.clock.monotonic() + RECOGNISED_WITHIN;
    let name = candidate(lost.0).name;
    loop {
        let status = me.persist(|| operator.status()).await?;
        let (_, said) = status.iter().find(|(node, _)| node.name == name).context("it is in the roster")?;
        if let Err(failure) = said
            && failure.message.contains("empty data directory")
        {
            return Ok(());
        }
        ensure!(me.env.clock.monotonic() < give_up, "I3: an old disk was not recognised: {said:?}");
        me.pause().await;
    }
}

/// Waits until all orchestrators are in step, while the log goes on.
async fn agree_at_work(me: &Player<Script>, operator: &Operator) -> anyhow::Result<()> {
    let give_up = me.env.clock.monotonic() + WHOLE_WITHIN;
    loop {
        let status = me.persist(|| operator.status()).await?;
        let applied: Vec<u64> = status.iter().filter_map(|(_, status)| Some(status.as_ref().ok()?.applied)).collect();
        if applied.len() == status.len() && applied.iter().max() <= applied.iter().min().map(|low| low + 8).as_ref() {
            return Ok(());
        }
        ensure!(me.env.clock.monotonic() < give_up, "the orchestrators do not come to be in step: {applied:?}");
        me.pause().await;
    }
}

/// I3: what clients were told is there.
async fn check(me: &Player<Script>, operator: &Operator) -> anyhow::Result<()> {
    let clients = me.persist(|| operator.clients()).await?;
    let told = me.script().told.clone();
    for (client, snapshots) in told {
        let known = clients.iter().any(|status| status.enrollment.client == client);
        ensure!(known, "I3: the enrollment of {client} was acknowledged and is gone");
        let from_ms = me.info.recorder.now_ms();
        let decided: Vec<SnapshotRecord> = me.persist(|| operator.snapshots(client)).await?;
        person::record_snapshots(me, from_ms, client, &decided);
        let decided: Vec<SnapshotId> = decided.iter().map(|snapshot| snapshot.id).collect();
        // One backup may have been under way when all was done, and be told of later.
        let told_all = decided.starts_with(&snapshots) && decided.len() <= snapshots.len() + 1;
        ensure!(told_all, "I3: {client} was told of {snapshots:?}, and has {decided:?}");
    }
    Ok(())
}

/// A client: joins in its turn, and backs up until all is done. It sees no error.
pub async fn work(me: Player<Script>, number: usize) -> anyhow::Result<()> {
    let token = me.told(|script| script.token.clone()).await;
    // The last ones join when the lost one is back.
    let after = if number >= LAST_AT { Step::Needed } else { Step::Working };
    me.until(|script| script.joined() == number && script.step >= after).await;
    let (token, name) = (token.parse()?, format!("c{number}"));
    let asked = actors::client::enroll(&me.env, &token, &name);
    let enrolled = person::recorded_join(&me, &name, &token, asked).await.context("enroll")?;
    me.script().told.insert(enrolled.client, Vec::new());
    let mut client = person::open(&me).await?;
    for round in 0.. {
        if me.script().step >= Step::Done {
            break;
        }
        edit(&me, round)?;
        let outcome = person::back_up(&me, &mut client, Stamina::default()).await;
        let outcome = outcome.with_context(|| format!("backup {round} of c{number}"))?;
        ensure!(outcome.problems.count == 0, "backup {round}: {:?}", outcome.problems);
        me.script().told.entry(enrolled.client).or_default().push(outcome.snapshot);
        me.env.clock.sleep(BETWEEN).await;
    }
    if number == RESTORER as usize {
        let snapshots = client.snapshots().await.context("snapshot list")?;
        for snapshot in [snapshots.first(), snapshots.last()].into_iter().flatten() {
            person::restore(&me, &mut client, snapshot, tree::TARGET).await?;
            me.script().restored += 1;
        }
    }
    client.close().await?;
    Ok(())
}

/// One file changes.
fn edit(me: &Player<Script>, round: i64) -> anyhow::Result<()> {
    let content = format!("round {round} of {}", me.info.node);
    let mut file = me.env.files.create_file(&Path::new(tree::SOURCE).join(format!("round{round}")))?;
    file.write_at(0, content.as_bytes())?;
    let mtime = FileTime { secs: 1_700_000_000 + round, nanos: 7 };
    let attributes = Attributes { kind: Kind::File, mode: 0o644, owner: None, mtime, xattrs: Vec::new() };
    Ok(file.finish(content.len() as u64, &attributes)?)
}

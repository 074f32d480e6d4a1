//! What the operator and the clients do.

use std::time::Duration;

use actors::{
    client::Stamina,
    operator::{Operator, Rebuilt, Remains},
};
use anyhow::{Context, ensure};
use protocol::{failure::Failure, ids::SnapshotId, records::Payload, sign::Signer};
use repo::ReadData;

use super::{CLIENTS, Kept, Script, Step};
use crate::scenario::{
    sometimes,
    stage::{
        MayRetry, ORCHESTRATORS, Player,
        founding::{agree, candidate, credential, found},
        person, tree,
    },
};

/// Between two backups of a client.
const BETWEEN: Duration = Duration::from_millis(700);
/// The incarnation of a ledger that was never lost.
const FIRST_LIFE: u32 = 1;

/// The operator, from wherever an earlier life of its machine stopped.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    if me.script().kept.is_none() {
        prepare(&me).await?;
    }
    let kept = me.script().kept.clone().context("founded")?;
    me.until(|script| script.step >= Step::Lost).await;
    if me.script().step == Step::Lost {
        let rebuilt = persist(&me, &kept).await?;
        let mut script = me.script();
        script.kept = Some(Kept { trust: rebuilt.trust, ..kept.clone() });
        script.step = Step::Rebuilt;
    }
    me.until(|script| script.step == Step::Ending && script.ended == CLIENTS).await;
    let kept = me.script().kept.clone().context("rebuilt")?;
    let operator = Operator::new(&me.env, kept.admin_seed, kept.trust)?;
    agree(&me, &operator).await?;
    check(&me, &operator).await?;
    operator.close().await;
    me.script().step = Step::Checked;
    Ok(())
}

/// Makes everything, and waits until the ledger's backup knows all clients.
async fn prepare(me: &Player<Script>) -> anyhow::Result<()> {
    let founded = found(&me.env).await?;
    let token = founded.token(me, "all", CLIENTS).await?;
    let operator = founded.operator;
    let records = me.persist(|| operator.records(Vec::new())).await?;
    let storage = records.iter().find_map(|record| match record.payload() {
        Payload::Storage(storage) => Some(storage.clone()),
        _ => None,
    });
    let storage = storage.context("the storage was added")?;
    let (root_seed, admin_seed, trust) = (founded.root_seed, founded.admin_seed, operator.trust());
    me.script().token = Some(token);
    me.until(|script| script.told.len() == CLIENTS as usize && script.snapshots() > 0).await;
    while backed_up(me, &operator).await? < u64::from(CLIENTS) {
        me.pause().await;
    }
    operator.close().await;
    let mut script = me.script();
    script.kept = Some(Kept { root_seed, admin_seed, trust, storage });
    script.step = Step::Kept;
    Ok(())
}

/// How many clients are in the last backup of the ledger.
async fn backed_up(me: &Player<Script>, operator: &Operator) -> anyhow::Result<u64> {
    let roster = me.persist(|| operator.roster()).await?;
    let seen = operator.inspect(&roster).await.into_iter().flatten();
    Ok(seen.filter_map(|seen| seen.backup).map(|backup| backup.clients).max().unwrap_or(0))
}

/// Runs the same command until it is done.
async fn persist(me: &Player<Script>, kept: &Kept) -> anyhow::Result<Rebuilt> {
    loop {
        match rebuild(me, kept).await {
            Ok(rebuilt) => return Ok(rebuilt),
            Err(failure) if failure.may_retry() => {
                sometimes("rebuilds: the command fails, and is run again");
                me.note(format_args!("cluster rebuild: {failure}"));
                me.pause().await;
            }
            Err(failure) => return Err(failure).context("cluster rebuild"),
        }
    }
}

/// `cluster rebuild`.
async fn rebuild(me: &Player<Script>, kept: &Kept) -> Result<Rebuilt, Failure> {
    let root = Signer::from_seed(&kept.root_seed);
    let candidates: Vec<_> = (0..ORCHESTRATORS).map(candidate).collect();
    let remains = Remains::read(&me.env, &kept.storage, &credential(), &root).await?;
    if remains.later > 0 {
        sometimes("rebuilds: snapshots are found beside the backup");
    }
    let admin = (kept.admin_seed, "operator");
    remains.rebuild(&me.env, &candidates, &root, admin, kept.trust.keyset_floor).await
}

/// I3: what clients were told is there, in another incarnation.
async fn check(me: &Player<Script>, operator: &Operator) -> anyhow::Result<()> {
    let told = me.script().told.clone();
    for (client, snapshots) in told {
        let decided = me.persist(|| operator.snapshots(client)).await?;
        let decided: Vec<SnapshotId> = decided.iter().map(|snapshot| snapshot.id).collect();
        let lost = snapshots.iter().find(|snapshot| !decided.contains(snapshot));
        ensure!(lost.is_none(), "I3: {client} was told of {lost:?}, which is gone");
    }
    let roster = me.persist(|| operator.roster()).await?;
    for seen in operator.inspect(&roster).await {
        let seen = seen?;
        ensure!(seen.incarnation > FIRST_LIFE && !seen.importing, "it is not in another life: {seen:?}");
    }
    while backed_up(me, operator).await? < u64::from(CLIENTS) {
        me.pause().await;
    }
    Ok(())
}

/// A client: joins, backs up through everything, and looks at all of its snapshots.
pub async fn work(me: Player<Script>) -> anyhow::Result<()> {
    let token = me.told(|script| script.token.clone()).await;
    let name = format!("client {}", me.info.node.0);
    let (_, enrollment) = person::join(&me, &token, &name).await?;
    me.script().told.insert(enrollment.client, Vec::new());
    let mut client = person::open(&me).await?;
    for round in 1.. {
        tree::add(&*me.env.files, round)?;
        let outcome = loop {
            match person::back_up(&me, &mut client, Stamina::default()).await {
                Ok(outcome) => break outcome,
                Err(error) if error.may_retry() => me.pause().await,
                Err(error) => return Err(error).with_context(|| format!("backup {round} of {name}")),
            }
        };
        me.script().told.entry(enrollment.client).or_default().push(outcome.snapshot);
        if me.script().step >= Step::Ending {
            break;
        }
        me.env.clock.sleep(BETWEEN).await;
    }
    let snapshots = client.snapshots().await.context("snapshot list")?;
    for snapshot in [snapshots.first(), snapshots.last()].into_iter().flatten() {
        person::restore(&me, &mut client, snapshot, tree::TARGET).await?;
    }
    person::verify(&mut client, &snapshots, ReadData::All).await?;
    client.close().await?;
    me.script().ended += 1;
    Ok(())
}

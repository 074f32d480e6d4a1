//! What the operator and the clients do.

use actors::operator::{Operator, Rebuilt, Remains};
use anyhow::{Context, ensure};
use protocol::{failure::Failure, records::Payload, wire};
use repo::ReadData;

use super::{CLIENTS, Script, Step};
use crate::scenario::{
    sometimes,
    stage::{
        MayRetry, ORCHESTRATORS, Player,
        founding::{self, Home, agree, candidate, credential, found},
        person, tree,
    },
};

/// The incarnation of a ledger that was never lost.
const FIRST_LIFE: u32 = 1;

/// The operator, from wherever an earlier life of its machine stopped.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    if me.script().home.is_none() {
        prepare(&me).await?;
    }
    let home = me.script().home.clone().context("founded")?;
    me.until(|script| script.step >= Step::Lost).await;
    if me.script().step == Step::Lost {
        let rebuilt = persist(&me, &home).await?;
        let mut script = me.script();
        script.home = Some(Home { trust: rebuilt.trust, ..home });
        script.step = Step::Rebuilt;
    }
    me.until(|script| script.step == Step::Ending && script.ended == CLIENTS).await;
    let operator = me.script().home.clone().context("rebuilt")?.operator(&me.env)?;
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
    let home = founded.home();
    let operator = founded.operator;
    let records = me.persist(|| operator.records(Vec::new())).await?;
    let storage = records.iter().find_map(|record| match record.payload() {
        Payload::Storage(storage) => Some(storage.clone()),
        _ => None,
    });
    let storage = storage.context("the storage was added")?;
    me.script().token = Some(token);
    me.until(|script| script.told.len() == CLIENTS as usize && script.snapshots() > 0).await;
    while backed_up(me, &operator).await? < u64::from(CLIENTS) {
        me.pause().await;
    }
    operator.close().await;
    let mut script = me.script();
    (script.home, script.storage) = (Some(home), Some(storage));
    script.step = Step::Kept;
    Ok(())
}

/// How many clients are in the last backup of the ledger.
async fn backed_up(me: &Player<Script>, operator: &Operator) -> anyhow::Result<u64> {
    let roster = me.persist(|| operator.roster()).await?;
    let seen = operator.ask_each(&roster, wire::Inspect {}).await.into_iter().flatten();
    Ok(seen.filter_map(|seen| seen.backup).map(|backup| backup.clients).max().unwrap_or(0))
}

/// Runs the same command until it is done.
async fn persist(me: &Player<Script>, home: &Home) -> anyhow::Result<Rebuilt> {
    loop {
        match rebuild(me, home).await {
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
async fn rebuild(me: &Player<Script>, home: &Home) -> Result<Rebuilt, Failure> {
    let root = home.root();
    let candidates: Vec<_> = (0..ORCHESTRATORS).map(candidate).collect();
    let Some(storage) = me.script().storage.clone() else { return Err(Failure::internal("there is no storage")) };
    let remains = Remains::read(&me.env, &storage, &credential(), &root).await?;
    if remains.later > 0 {
        sometimes("rebuilds: snapshots are found beside the backup");
    }
    let admin = (home.admin_seed, "operator");
    remains.rebuild(&me.env, &candidates, &root, admin, home.trust.keyset_floor).await
}

/// I3: what clients were told is there, in another incarnation.
async fn check(me: &Player<Script>, operator: &Operator) -> anyhow::Result<()> {
    let told = me.script().told.clone();
    founding::invariant_told_is_listed(me, operator, &told).await?;
    let roster = me.persist(|| operator.roster()).await?;
    for seen in operator.ask_each(&roster, wire::Inspect {}).await {
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
    let mut rounds = 1..;
    for until in [Step::Rebuilt, Step::Ending] {
        let done = |script: &mut Script, made| {
            script.told.entry(enrollment.client).or_default().push(made);
            script.step >= until
        };
        person::back_up_until(&me, &mut client, &mut rounds, done).await.context(name.clone())?;
        // Aimed: at once after the rebuild, when what was published since the ledger's backup
        // is not published again yet.
        let snapshots = client.snapshots().await.context("snapshot list")?;
        for snapshot in &snapshots {
            person::restore(&me, &mut client, snapshot, &format!("{}/{}", tree::TARGET, snapshot.id)).await?;
        }
        person::verify(&mut client, &snapshots, ReadData::All).await?;
    }
    client.close().await?;
    me.script().ended += 1;
    Ok(())
}

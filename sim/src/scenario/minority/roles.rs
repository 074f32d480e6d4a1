//! What the operator and the clients do.

use std::{net::Ipv4Addr, time::Duration};

use actors::{
    client::{Client, Profile, Stamina},
    net::{Endpoint, Pace, Peer},
    operator::Operator,
};
use anyhow::{Context, bail, ensure};
use protocol::{
    failure::{Code, Failure},
    ids::{AttemptId, ClientId, LeaseId, LineageId, RepositoryId, Sha256, SnapshotId},
    names::{ObjectName, Place},
    records::{Admin, Domain, Payload, Subject},
    sign::Signer,
    wire,
};

use super::{INSIDER, ISLANDER, NEWCOMER, OPERATOR, Script, Step};
use crate::{
    history::What,
    scenario::stage::{
        Player,
        founding::{act, agree, candidate, found, record_audit},
        person, tree,
    },
};

/// Between two things that a person does.
const BETWEEN: Duration = Duration::from_secs(20);
/// After this time what was done while nobody could decide has been entered.
const AUDITED: Duration = Duration::from_secs(5);
/// How long one that is alone may take to say so: as long as it looks for a majority.
const PATIENCE: Duration = Duration::from_secs(20);

/// The operator: founds, decides something while they are apart, and looks in the end.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    ensure!(me.info.node == OPERATOR, "the operator comes first");
    let founded = found(&me.env).await?;
    let token = founded.token(&me, "all", 4).await?;
    let rekeyed = {
        let mut script = me.script();
        script.token = Some(token);
        script.admin = Some((founded.admin_seed, founded.operator.trust()));
        script.rekeyed
    };
    me.until(|script| script.step == Step::Apart).await;
    founded.token(&me, "while apart", 1).await?;
    let nobody = ClientId([9; 16]);
    me.persist(|| founded.operator.revoke_client(nobody, "while apart")).await?;
    act(&me, Subject::ClientRevocation(nobody), 1);
    // One of the two: either would tell the commuter that the other one lags as well.
    if rekeyed {
        let (root, admin) = (Signer::from_seed(&founded.root_seed), Signer::from_seed(&[7; 32]).public());
        let admin = Admin { name: "another".into(), key: admin };
        me.persist(|| founded.operator.add_admin(admin.clone(), &root)).await.context("admin add")?;
    } else {
        let domain = Domain { name: "the same, renamed".into(), ..founded.domain.clone() };
        me.persist(|| founded.operator.submit(vec![Payload::Domain(domain.clone())])).await?;
        act(&me, Subject::Domain(domain.id), 2);
    }
    me.script().ruled = true;
    me.until(|script| script.step == Step::Healed).await;
    agree(&me, &founded.operator).await?;
    me.env.clock.sleep(AUDITED).await;
    record_audit(&me, &founded.operator).await?;
    let told = me.script().told.clone();
    for (client, snapshots) in told {
        let from_ms = me.info.recorder.now_ms();
        let decided = me.persist(|| founded.operator.snapshots(client)).await?;
        person::record_snapshots(&me, from_ms, client, &decided);
        let decided: Vec<SnapshotId> = decided.iter().map(|snapshot| snapshot.id).collect();
        // Work goes on: one more may be decided that its client has not heard of yet.
        let since = me.script().told.get(&client).map_or(0, Vec::len);
        let as_told = decided.starts_with(&snapshots) && decided.len() <= since + 1;
        ensure!(as_told, "I3: {client} was told of {snapshots:?}, and has {decided:?}");
    }
    founded.operator.close().await;
    me.script().step = Step::Checked;
    Ok(())
}

/// A client: joins, and backs up for as long as it can.
pub async fn work(me: Player<Script>, after: Step) -> anyhow::Result<()> {
    me.until(|script| script.step >= after).await;
    let token = me.told(|script| script.token.clone()).await;
    let (_, enrolled) = person::join(&me, &token, me.info.node.to_string().as_str()).await?;
    let mut client = person::open(&me).await?;
    me.script().told.insert(enrolled.client, Vec::new());
    let last = if me.info.node == ISLANDER { Step::Apart } else { Step::Healed };
    loop {
        let outcome = person::back_up(&me, &mut client, Stamina::default()).await;
        let outcome = outcome.with_context(|| format!("a backup of {}", me.info.node))?;
        me.script().told.entry(enrolled.client).or_default().push(outcome.snapshot);
        if me.info.node == NEWCOMER && !me.script().restored {
            let snapshots = client.snapshots().await.context("snapshot list")?;
            person::restore(&me, &mut client, snapshots.last().context("a snapshot")?, tree::TARGET).await?;
            me.script().restored = true;
        }
        if me.info.node == ISLANDER {
            // One is enough: from now on it asks the one that is alone, and no other.
            me.until(|script| script.step >= last).await;
            break;
        }
        me.env.clock.sleep(BETWEEN).await;
        if me.script().step >= last {
            break;
        }
    }
    if me.info.node == ISLANDER {
        let repository = alone_knows(&me, &client).await?;
        rule_alone(&me).await?;
        while me.script().step == Step::Apart {
            ask_alone(&me, repository, enrolled.client).await?;
            me.env.clock.sleep(BETWEEN).await;
        }
    }
    ensure!([INSIDER, ISLANDER, NEWCOMER].contains(&me.info.node), "somebody else plays a client");
    client.close().await?;
    Ok(())
}

/// An admin on the side of the minority: what is signed is taken, by whoever hears it.
async fn rule_alone(me: &Player<Script>) -> anyhow::Result<()> {
    let (admin_seed, trust) = me.script().admin.clone().context("there is an admin")?;
    let operator = Operator::new(&me.env, admin_seed, trust)?;
    let nobody = ClientId([8; 16]);
    me.persist(|| operator.revoke_client(nobody, "alone")).await.context("a record for a minority")?;
    act(me, Subject::ClientRevocation(nobody), 1);
    me.script().ruled_alone = true;
    operator.close().await;
    Ok(())
}

/// A client that hears what is new among the majority, and then reaches only the one that is
/// alone: that one has nothing for it but what is older.
pub async fn commute(me: Player<Script>) -> anyhow::Result<()> {
    let token = me.told(|script| script.token.clone()).await;
    person::join(&me, &token, "commuter").await?;
    let mut client = person::open(&me).await?;
    me.until(|script| script.ruled).await;
    while me.script().step <= Step::Apart {
        let commuted = me.script().commuted;
        let asked = client.refresh().await;
        if asked.is_ok() {
            goes_by(&me, &client);
        }
        {
            let mut script = me.script();
            script.heard += u32::from(asked.is_ok() && !commuted);
            script.asked_alone += u32::from(commuted);
        }
        me.env.clock.sleep(BETWEEN).await;
    }
    me.persist(|| client.link().call(wire::Configure {})).await.context("after all")?;
    client.close().await?;
    Ok(())
}

fn goes_by(me: &Player<Script>, client: &Client) {
    let keyset = (Subject::Keyset, client.link().trust().keyset_floor);
    let policies = client.works_by().iter().map(|(subject, version)| (*subject, *version));
    for (subject, version) in policies.chain([keyset]) {
        let (who, policy) = (person::name_of(me), format!("{subject:?}"));
        me.info.recorder.note(What::GoesBy { who, policy, version });
    }
}

async fn dial(me: &Player<Script>) -> anyhow::Result<Peer> {
    let alone = me.script().alone.context("somebody is alone")?;
    let (profile, ..) = Profile::enrolled(&*me.env.disk)?;
    let endpoint = Endpoint::bind(&me.env, &profile.identity(), (Ipv4Addr::UNSPECIFIED, 0).into(), false)?;
    let address = candidate(alone).address;
    Ok(me.persist(|| endpoint.dial(&address, None, Pace::Idle, PATIENCE)).await?)
}

/// The one that is alone serves policy.
async fn alone_knows(me: &Player<Script>, client: &Client) -> anyhow::Result<RepositoryId> {
    // By the client's own link: it finds the one that it can reach.
    person::repository(me, client).await
}

/// What one that is alone must do, and must not.
async fn ask_alone(me: &Player<Script>, repository: RepositoryId, client: ClientId) -> anyhow::Result<()> {
    let peer = dial(me).await?;
    let records = peer.call(wire::Configure {}, PATIENCE).await.context("policy of a minority")?;
    ensure!(records.len() == 3, "a minority serves {} records", records.len());
    let name = ObjectName { lease: LeaseId { incarnation: 1, index: 1 }, hash: Sha256([1; 32]) };
    let objects = vec![Place::Snapshot(client).object(name)];
    let rights = peer.call(wire::MintGets { repository, objects }, PATIENCE).await.context("rights of a minority")?;
    ensure!(rights.len() == 1, "a minority gives {} rights", rights.len());
    me.script().served += 1;
    let (lineage, attempt) = (LineageId([1; 16]), AttemptId(me.env.rng.array()));
    let answers = [
        peer.call(wire::Grant { repository, lineage, attempt, after: None }, PATIENCE).await.map(drop),
        peer.call(wire::ListSnapshots { client: None, after: None }, PATIENCE).await.map(drop),
        peer.call(wire::Survey { repository }, PATIENCE).await.map(drop),
    ];
    // The network may have healed meanwhile.
    if me.script().step == Step::Apart {
        answers.into_iter().try_for_each(refuse)?;
        me.script().refused += 1;
    }
    peer.close();
    Ok(())
}

/// A minority decides nothing, and does not guess what was decided.
fn refuse(answer: Result<(), Failure>) -> anyhow::Result<()> {
    match answer {
        Err(Failure { code: Code::Retry, .. }) => Ok(()),
        other => bail!("a minority answered {other:?}"),
    }
}

//! What each machine does.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use actors::{
    client::Client,
    identity::Identity,
    net::{Endpoint, Pace, Peer},
    operator::Operator,
};
use anyhow::{Context, ensure};
use protocol::{ids::NodeId, limits, wire};

use super::{Script, attack};
use crate::scenario::{
    sometimes,
    stage::{
        Player,
        founding::{self, PORT, agree, found},
        person,
    },
};

const PATIENCE: Duration = Duration::from_secs(3);
/// After how long an idle connection that the other side has closed is known to be closed.
const HEARSAY: Duration = Duration::from_secs(25);
/// How many strangers come: a few; on some seeds, more than one orchestrator lets in.
const STRANGERS_FEW: usize = 24;
const STRANGERS_MANY: usize = limits::STRANGERS_MAX + 20;

/// An orchestrator, until it is taken over.
pub async fn orchestrate(me: Player<Script>) -> anyhow::Result<()> {
    if !me.script().taken_over {
        return founding::orchestrate(me).await;
    }
    let identity = Identity::load_or_create(&*me.env.disk, &*me.env.rng)?;
    let own = SocketAddr::from((me.info.address, PORT));
    let endpoint = Endpoint::bind(&me.env, &identity, own, false)?;
    for other in 0..me.info.node.0 {
        let peer = dial(&me, &endpoint, other, Pace::Busy).await;
        attack::as_orchestrator(&me.env, &peer, own).await.with_context(|| format!("attacking o{other}"))?;
    }
    me.script().attacked = true;
    std::future::pending().await
}

/// The operator: makes a token before the attack and one after it.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    let founded = found(&me.env).await?;
    let token = founded.token(&me, "one", 1).await?;
    me.until(|script| script.flooded).await;
    me.script().token = Some(token);
    me.until(|script| script.attacked).await;
    founded.token(&me, "one", 1).await.context("after the attack")?;
    let operator = founded.operator;
    let clients = me.persist(|| operator.clients()).await.context("client list")?;
    ensure!(clients.len() == 1, "the client is gone");
    see_each_other(&me, &operator).await?;
    me.script().decided = true;
    me.until(|script| !script.taken_over).await;
    agree(&me, &operator).await?;
    operator.close().await;
    me.script().agreed = true;
    Ok(())
}

/// Waits until the two orchestrators that were attacked gossip again.
async fn see_each_other(me: &Player<Script>, operator: &Operator) -> anyhow::Result<()> {
    let give_up = me.env.clock.monotonic() + Duration::from_secs(30);
    loop {
        let status = operator.status().await?;
        let honest: Vec<NodeId> = status.iter().take(2).map(|(orchestrator, _)| orchestrator.id()).collect();
        let sees_all = |status: &wire::NodeStatus| {
            status.peers.iter().filter(|peer| honest.contains(&peer.node)).all(|peer| peer.alive)
        };
        if status.iter().take(2).all(|(_, status)| status.as_ref().is_ok_and(sees_all)) {
            return Ok(());
        }
        ensure!(me.env.clock.monotonic() < give_up, "gossip did not come back: {status:?}");
        me.pause().await;
    }
}

/// Strangers, each with a key of its own, who come to the first orchestrator and stay.
pub async fn flood(me: Player<Script>) -> anyhow::Result<()> {
    while !is_up(&me).await {
        me.pause().await;
    }
    let mut crowd: Vec<(Endpoint, Peer)> = Vec::new();
    let mut halves = Vec::new();
    let [dice] = me.env.rng.array();
    let strangers = if dice % 8 == 0 { STRANGERS_MANY } else { STRANGERS_FEW };
    for _ in 0..strangers {
        let endpoint = stranger(&me)?;
        let peer = dial(&me, &endpoint, 0, Pace::Idle).await;
        halves.extend(attack::as_stranger(&me.env, &peer).await.unwrap_or_default());
        crowd.push((endpoint, peer));
    }
    // Those that have to go may not have heard of it yet: the word may be lost on the way,
    // and a stranger that waits says something only now and then.
    me.env.clock.sleep(HEARSAY).await;
    let welcome = crowd.iter().filter(|(_, peer)| peer.is_open()).count();
    ensure!(welcome <= limits::STRANGERS_MAX, "{welcome} strangers are let in");
    ensure!(
        welcome >= strangers.min(limits::STRANGERS_MAX) - 5,
        "strangers are turned away though there is room: {welcome}"
    );
    if welcome < strangers {
        sometimes("hostile: strangers are turned away");
    }
    me.script().flooded = true;
    me.until(|script| script.joined).await;
    Ok(())
}

fn stranger(me: &Player<Script>) -> anyhow::Result<Endpoint> {
    let identity = Identity::of_client(me.env.rng.array(), me.env.rng.array());
    Ok(Endpoint::bind(&me.env, &identity, (Ipv4Addr::UNSPECIFIED, 0).into(), false)?)
}

/// Whether the first orchestrator belongs to a cluster.
async fn is_up(me: &Player<Script>) -> bool {
    let Ok(endpoint) = stranger(me) else { return false };
    let peer = dial(me, &endpoint, 0, Pace::Busy).await;
    let welcome = peer.call(wire::Hello { agent: "stranger".into() }, PATIENCE).await;
    endpoint.close().await;
    welcome.is_ok_and(|welcome| welcome.keyset.is_some())
}

/// A client that joins while the strangers stand at the door.
pub async fn join(me: Player<Script>) -> anyhow::Result<()> {
    let token = me.told(|script| script.token.clone()).await;
    person::join(&me, &token, "client").await?;
    let mut client = Client::open(&me.env, Pace::Busy)?;
    client.refresh().await.context("configure")?;
    client.close().await?;
    me.script().joined = true;
    Ok(())
}

/// Dials until it works.
async fn dial(me: &Player<Script>, endpoint: &Endpoint, number: u32, pace: Pace) -> Peer {
    loop {
        match endpoint.dial(&format!("o{number}:{PORT}"), None, pace, PATIENCE).await {
            Ok(peer) => return peer,
            Err(_) => me.pause().await,
        }
    }
}

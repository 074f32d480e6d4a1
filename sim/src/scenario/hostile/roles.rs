//! What each machine does.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use actors::{
    client::{Client, enroll},
    identity::Identity,
    net::{Endpoint, Pace, Peer},
    operator::{NewToken, Operator},
};
use anyhow::{Context, bail, ensure};
use env::Env;
use protocol::{
    failure::{Code, Failure},
    ids::NodeId,
    limits,
    token::Token,
    wire,
};

use super::{SharedScript, attack};
use crate::{
    kernel::lock,
    scenario::cluster::roles::{self, Founded, PORT, found},
    scenario::joins::agree,
    world::BootInfo,
};

const PAUSE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(3);
/// How many strangers come: a few; on some seeds, more than one orchestrator lets in.
const STRANGERS_FEW: usize = 24;
const STRANGERS_MANY: usize = limits::STRANGERS_MAX + 20;

/// An orchestrator, until it is taken over.
pub async fn orchestrate(env: Env, info: BootInfo, script: SharedScript) -> anyhow::Result<()> {
    if !lock(&script).taken_over {
        return roles::orchestrate(env, info).await;
    }
    let identity = Identity::load_or_create(&*env.disk, &*env.rng)?;
    let own = SocketAddr::from((info.address, PORT));
    let endpoint = Endpoint::bind(&env, &identity, own, false)?;
    for other in 0..info.node.0 {
        let peer = dial(&env, &endpoint, other, Pace::Busy).await;
        attack::as_orchestrator(&env, &peer, own).await.with_context(|| format!("attacking o{other}"))?;
    }
    lock(&script).attacked = true;
    std::future::pending().await
}

/// The operator: makes a token before the attack and one after it.
pub async fn operate(env: Env, script: SharedScript) -> anyhow::Result<()> {
    let Founded { operator, domain, secrets, .. } = found(&env).await?;
    let expires = env.clock.now().plus_secs(3600);
    let new = NewToken { name: "one".into(), uses: 1, expires, domain: domain.id, tags: vec![] };
    let token = operator.add_token(new.clone(), &secrets).await.context("token create")?;
    while !lock(&script).flooded {
        env.clock.sleep(PAUSE).await;
    }
    lock(&script).token = Some(token.to_text());
    while !lock(&script).attacked {
        env.clock.sleep(PAUSE).await;
    }
    operator.add_token(new, &secrets).await.context("token create after the attack")?;
    ensure!(operator.clients().await.context("client list")?.len() == 1, "the client is gone");
    see_each_other(&env, &operator).await?;
    lock(&script).decided = true;
    while lock(&script).taken_over {
        env.clock.sleep(PAUSE).await;
    }
    agree(&env, &operator).await?;
    operator.close().await;
    lock(&script).agreed = true;
    Ok(())
}

/// Waits until the two orchestrators that were attacked gossip again.
async fn see_each_other(env: &Env, operator: &Operator) -> anyhow::Result<()> {
    let give_up = env.clock.monotonic() + Duration::from_secs(30);
    loop {
        let status = operator.status().await?;
        let honest: Vec<NodeId> = status.iter().take(2).map(|(orchestrator, _)| orchestrator.id()).collect();
        let sees_all = |status: &wire::NodeStatus| {
            status.peers.iter().filter(|peer| honest.contains(&peer.node)).all(|peer| peer.alive)
        };
        if status.iter().take(2).all(|(_, status)| status.as_ref().is_ok_and(sees_all)) {
            return Ok(());
        }
        ensure!(env.clock.monotonic() < give_up, "gossip did not come back: {status:?}");
        env.clock.sleep(PAUSE).await;
    }
}

/// Strangers, each with a key of its own, who come to the first orchestrator and stay.
pub async fn flood(env: Env, script: SharedScript) -> anyhow::Result<()> {
    while !is_up(&env).await {
        env.clock.sleep(PAUSE).await;
    }
    let mut crowd: Vec<(Endpoint, Peer)> = Vec::new();
    let mut halves = Vec::new();
    let [dice] = env.rng.array();
    let strangers = if dice % 8 == 0 { STRANGERS_MANY } else { STRANGERS_FEW };
    for _ in 0..strangers {
        let identity = Identity::of_client(env.rng.array(), env.rng.array());
        let endpoint = Endpoint::bind(&env, &identity, (Ipv4Addr::UNSPECIFIED, 0).into(), false)?;
        let peer = dial(&env, &endpoint, 0, Pace::Idle).await;
        halves.extend(attack::as_stranger(&env, &peer).await.unwrap_or_default());
        crowd.push((endpoint, peer));
    }
    // The last of those that have to go may not have heard of it yet.
    env.clock.sleep(PATIENCE).await;
    let welcome = crowd.iter().filter(|(_, peer)| peer.is_open()).count();
    ensure!(welcome <= limits::STRANGERS_MAX, "{welcome} strangers are let in");
    ensure!(
        welcome >= strangers.min(limits::STRANGERS_MAX) - 5,
        "strangers are turned away though there is room: {welcome}"
    );
    lock(&script).flooded = true;
    while !lock(&script).joined {
        env.clock.sleep(PAUSE).await;
    }
    Ok(())
}

/// Whether the first orchestrator belongs to a cluster.
async fn is_up(env: &Env) -> bool {
    let identity = Identity::of_client(env.rng.array(), env.rng.array());
    let Ok(endpoint) = Endpoint::bind(env, &identity, (Ipv4Addr::UNSPECIFIED, 0).into(), false) else { return false };
    let peer = dial(env, &endpoint, 0, Pace::Busy).await;
    let welcome = peer.call(wire::Hello { agent: "stranger".into() }, PATIENCE).await;
    endpoint.close().await;
    welcome.is_ok_and(|welcome| welcome.keyset.is_some())
}

/// A client that joins while the strangers stand at the door.
pub async fn join(env: Env, script: SharedScript) -> anyhow::Result<()> {
    let token: Token = loop {
        if let Some(text) = &lock(&script).token {
            break text.parse()?;
        }
        env.clock.sleep(PAUSE).await;
    };
    loop {
        match enroll(&env, &token, "client").await {
            Ok(_) => break,
            Err(Failure { code: Code::Retry, .. }) => env.clock.sleep(PAUSE).await,
            Err(failure) => bail!("enroll: {failure}"),
        }
    }
    let mut client = Client::open(&env, Pace::Busy)?;
    client.refresh().await.context("configure")?;
    client.close().await?;
    lock(&script).joined = true;
    Ok(())
}

/// Dials until it works.
async fn dial(env: &Env, endpoint: &Endpoint, number: u32, pace: Pace) -> Peer {
    loop {
        match endpoint.dial(&format!("o{number}:{PORT}"), None, pace, PATIENCE).await {
            Ok(peer) => return peer,
            Err(_) => env.clock.sleep(PAUSE).await,
        }
    }
}

//! What each machine does.

use std::{net::Ipv4Addr, time::Duration};

use actors::{
    client::{Client, Profile, enroll},
    identity::Identity,
    net::{Endpoint, Pace, Peer},
    operator::Operator,
};
use anyhow::{Context, bail, ensure};
use protocol::{
    commands::Lease,
    failure::{Code, Failure},
    ids::{AttemptId, ClientId, LineageId, Sha256},
    names::{ObjectName, Place},
    records::{Admin, Payload, Revocation},
    sign::Signer,
    token::Token,
    wire,
};

use super::{CUT, RESTARTS, Script, USES};
use crate::{
    history::{Outcome, What},
    scenario::{
        sometimes,
        stage::{
            ORCHESTRATORS, Player,
            founding::{self, PORT, agree, found},
            person,
        },
    },
};

/// What failed if a system could not be started a second time.
pub const AGAIN: &str = "starting again in the same process";
/// How long a system that was stopped may keep its socket: as long as QUIC waits for
/// someone who began a handshake and fell silent.
const GOODBYE: Duration = Duration::from_secs(40);
/// How long one orchestrator may take to answer one call.
const PATIENCE: Duration = Duration::from_secs(3);
/// After this time a revocation has reached everyone.
const GRACE: Duration = Duration::from_millis(2_500);

/// An orchestrator. Once it is calm, the first stops as a service does and starts
/// again in the same process: what it had open must be closed by then.
pub async fn orchestrate(me: Player<Script>) -> anyhow::Result<()> {
    let mut system = founding::start(&me).await?;
    if me.info.node == RESTARTS {
        tokio::select! {
            () = system.ended() => return Ok(()),
            () = me.until(|script| script.calm) => {}
        }
        system.stop().await;
        // Goodbyes to peers that do not answer keep the socket open for a moment longer.
        let give_up = me.env.clock.monotonic() + GOODBYE;
        system = loop {
            match founding::start(&me).await {
                Err(_) if me.env.clock.monotonic() < give_up => me.pause().await,
                started => break started.context(AGAIN)?,
            }
        };
        me.script().restarted = true;
    }
    system.ended().await;
    Ok(())
}

/// The operator: makes the token, revokes a client in the end, and compares what the
/// orchestrators say.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    let founded = found(&me.env).await?;
    let token = loop {
        match founded.token(&me, "race", USES).await {
            // The disk of who was asked is full. There will be room, and its seat opens again.
            Err(error) if format!("{error:#}").contains("the database vault") => me.pause().await,
            made => break made?,
        }
    };
    me.script().token = Some(token);
    let (operator, root) = (founded.operator, Signer::from_seed(&founded.root_seed));

    me.until(|script| script.restarted && script.connected.len() >= USES as usize).await;
    let clients: Vec<ClientId> = operator.clients().await?.iter().map(|status| status.enrollment.client).collect();
    let joined = me.script().joined.clone();
    ensure!(clients.len() <= USES as usize, "I4: {} clients are enrolled by {USES} uses", clients.len());
    let lost = joined.keys().find(|client| !clients.contains(client));
    ensure!(lost.is_none(), "I3: the enrollment of {lost:?} was acknowledged and is gone");

    let (&id, _) = joined.first_key_value().context("someone has joined")?;
    let revocation = Payload::ClientRevocation(Revocation { id, reason: "lost".into() });
    operator.submit(vec![revocation]).await.context("client revoke")?;
    me.info.recorder.note(What::Revoke { client: id.to_string(), outcome: Outcome::Done });
    me.script().revoked = Some(id);
    agree(&me, &operator).await?;
    let clients = operator.clients().await?;
    let revoked = clients.iter().filter(|status| status.revoked).map(|status| status.enrollment.client);
    let revoked: Vec<ClientId> = revoked.collect();
    ensure!(revoked == [id], "{revoked:?} are revoked, and {id} should be");
    remove_admin(&me, &operator, &root).await?;
    operator.close().await;
    me.script().agreed = true;
    Ok(())
}

/// A client: joins or is refused, whatever it takes; who joined uses what it got.
pub async fn join(me: Player<Script>) -> anyhow::Result<()> {
    let token: Token = me.told(|script| script.token.clone()).await.parse()?;
    // Some come at once, and some when orchestrators are being lost.
    let late: [u8; 1] = me.env.rng.array();
    if late[0].is_multiple_of(2) {
        me.env.clock.sleep(Duration::from_millis(30 * u64::from(late[0]))).await;
    }
    if !me.script().redeeming.insert(me.info.node) {
        sometimes("joins: a client loses its power in the middle of a redemption");
    }
    let name = format!("client {}", me.info.node);
    let asked = me.persist(|| enroll(&me.env, &token, &name));
    let enrolled = person::recorded_join(&me, &person::name_of(&me), &token, asked).await;
    me.script().redeeming.remove(&me.info.node);
    let enrollment = match enrolled {
        Ok(enrollment) => enrollment,
        Err(Failure { code: Code::Denied, .. }) => {
            let mut script = me.script();
            if script.revoked.is_some_and(|id| script.joined.get(&id) == Some(&me.info.node)) {
                // Revoked in a life before this one.
                return Ok(());
            }
            script.refused.insert(me.info.node);
            script.done.insert(me.info.node);
            return Ok(());
        }
        Err(failure) => bail!("enroll: {failure}"),
    };
    me.script().joined.insert(enrollment.client, me.info.node);
    let client = person::open(&me).await?;
    use_lease(&me, &client).await?;
    client.close().await?;
    me.script().done.insert(me.info.node);

    me.until(|script| script.restarted).await;
    stay(&me, enrollment.client).await
}

/// I3: a lease that was acknowledged is still there after all power was lost.
async fn use_lease(me: &Player<Script>, client: &Client) -> anyhow::Result<()> {
    let repository = person::repository(me, client).await?;
    let attempt = AttemptId(me.env.rng.array());
    let grant = wire::Grant { repository, lineage: LineageId([7; 16]), attempt, after: None };
    let lease: Lease = me.persist(|| client.link().call(grant.clone())).await.context("grant")?;
    let is_first = me.script().leased.is_none();
    if is_first {
        me.script().leased = Some(lease.clone());
        me.until(|script| script.blackout_over).await;
    }
    let key = Place::Pack(lease.domain).object(ObjectName { lease: lease.id, hash: Sha256([1; 32]) });
    let objects = vec![wire::PutRequest { key, len: 1 }];
    let mint = wire::MintPuts { lease: lease.id, repository, objects };
    me.persist(|| client.link().call(mint.clone())).await.context("I3: using the lease")?;
    let close = wire::Close { lease: lease.id };
    me.persist(|| client.link().call(close.clone())).await.context("close")?;
    Ok(())
}

/// Keeps a connection to every orchestrator until somebody is revoked; who is, then tries
/// to come back.
async fn stay(me: &Player<Script>, id: ClientId) -> anyhow::Result<()> {
    let (profile, ..) = Profile::enrolled(&*me.env.disk)?;
    let endpoint = Endpoint::bind(&me.env, &profile.identity(), (Ipv4Addr::UNSPECIFIED, 0).into(), false)?;
    let mut peers = Vec::new();
    for number in 0..ORCHESTRATORS {
        peers.push(me.persist(|| knock(&endpoint, number)).await.context("connect")?);
    }
    me.script().connected.insert(id);
    if me.told(|script| script.revoked).await != id {
        ensure!(peers.iter().all(Peer::is_open), "a client that was not revoked was cut off");
        return Ok(());
    }
    while let Some(peer) = peers.iter().find(|peer| peer.is_open()) {
        used(me, id, peer.call(wire::Configure {}, PATIENCE)).await.ok();
        me.pause().await;
    }
    me.script().cut = true;
    // Perhaps somebody lets it in again later than at once.
    me.env.clock.sleep(GRACE).await;
    for number in 0..ORCHESTRATORS {
        used(me, id, knock(&endpoint, number)).await.ok();
    }
    for number in 0..ORCHESTRATORS {
        match me.persist(|| knock(&endpoint, number)).await {
            Err(Failure { code: Code::Denied, .. }) => {}
            other => bail!("a revoked client came back: {other:?}"),
        }
    }
    me.script().stays_out = true;
    Ok(())
}

/// An admin that is removed loses the connections that it has, and gets no others.
async fn remove_admin(me: &Player<Script>, operator: &Operator, root: &Signer) -> anyhow::Result<()> {
    let identity = Identity::of_operator(me.env.rng.array());
    let admin = Admin { name: "second".into(), key: identity.key() };
    me.persist(|| operator.add_admin(admin.clone(), root)).await.context("admin add")?;
    let endpoint = Endpoint::bind(&me.env, &identity, (Ipv4Addr::UNSPECIFIED, 0).into(), false)?;
    let mut peers = Vec::new();
    for number in 0..ORCHESTRATORS {
        // One may not have heard of the new admin yet.
        peers.push(loop {
            match administer(&endpoint, number).await {
                Ok(peer) => break peer,
                Err(_) => me.pause().await,
            }
        });
    }
    me.persist(|| operator.remove_admin(&admin, root)).await.context("admin remove")?;
    let removed_at = me.env.clock.monotonic();
    for peer in &peers {
        peer.connection().closed().await;
    }
    let took = me.env.clock.monotonic() - removed_at;
    ensure!(took < CUT, "an admin that was removed was connected for {took:?}");
    for number in 0..ORCHESTRATORS {
        match me.persist(|| administer(&endpoint, number)).await {
            Err(Failure { code: Code::Denied, .. }) => {}
            other => bail!("an admin that was removed came back: {other:?}"),
        }
    }
    endpoint.close().await;
    Ok(())
}

/// Records that a client uses what only clients may.
async fn used<T>(
    me: &Player<Script>,
    client: ClientId,
    asked: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let what = |outcome| What::Use { client: client.to_string(), outcome };
    let asking = me.info.recorder.ask(what(Outcome::Unclear));
    let answer = asked.await;
    asking.came_of(what(person::outcome(&answer)));
    answer
}

/// Connects to one orchestrator and asks it for something that admins may have.
async fn administer(endpoint: &Endpoint, number: u32) -> Result<Peer, Failure> {
    let peer = endpoint.dial(&format!("o{number}:{PORT}"), None, Pace::Busy, PATIENCE).await?;
    peer.call(wire::Status {}, PATIENCE).await?;
    Ok(peer)
}

/// Connects to one orchestrator and asks it for something that clients may have.
async fn knock(endpoint: &Endpoint, number: u32) -> Result<Peer, Failure> {
    let peer = endpoint.dial(&format!("o{number}:{PORT}"), None, Pace::Busy, PATIENCE).await?;
    peer.call(wire::Configure {}, PATIENCE).await?;
    Ok(peer)
}

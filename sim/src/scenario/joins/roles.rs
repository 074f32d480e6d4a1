//! What each machine does.

use std::{net::Ipv4Addr, time::Duration};

use actors::{
    client::{Client, Profile, enroll},
    net::{Endpoint, Pace, Peer},
    operator::{NewToken, Operator},
    system::{self, System},
};
use anyhow::{Context, bail, ensure};
use env::Env;
use protocol::{
    commands::Lease,
    failure::{Code, Failure},
    ids::{AttemptId, ClientId, Hash, LineageId, Sha256},
    names::{ObjectName, Place},
    records::{Payload, Revocation},
    token::Token,
    wire,
};

use super::{ORCHESTRATORS, RESTARTS, SharedScript, USES};
use crate::{
    kernel::lock,
    scenario::cluster::roles::{Founded, PORT, found},
    world::BootInfo,
};

/// Between two looks at something that others must do first.
const PAUSE: Duration = Duration::from_millis(100);
/// What failed if a system could not be started a second time.
pub const AGAIN: &str = "starting again in the same process";
/// How long a system that was stopped may keep its socket: as long as QUIC waits for
/// someone who began a handshake and fell silent.
const GOODBYE: Duration = Duration::from_secs(40);
/// How long one orchestrator may take to answer one call.
const PATIENCE: Duration = Duration::from_secs(3);

/// An orchestrator. Once it is calm, the first stops as a service does and starts
/// again in the same process: what it had open must be closed by then.
pub async fn orchestrate(env: Env, info: BootInfo, script: SharedScript) -> anyhow::Result<()> {
    let mut system = start(&env, &info).await?;
    if info.node == RESTARTS {
        loop {
            tokio::select! {
                () = system.ended() => return Ok(()),
                () = env.clock.sleep(PAUSE) => if lock(&script).calm { break },
            }
        }
        system.stop().await;
        // Goodbyes to peers that do not answer keep the socket open for a moment longer.
        let give_up = env.clock.monotonic() + GOODBYE;
        system = loop {
            match start(&env, &info).await {
                Err(_) if env.clock.monotonic() < give_up => env.clock.sleep(PAUSE).await,
                started => break started.context(AGAIN)?,
            }
        };
        lock(&script).restarted = true;
    }
    system.ended().await;
    Ok(())
}

async fn start(env: &Env, info: &BootInfo) -> anyhow::Result<System> {
    let seat = system::orchestrator(env, (info.address, PORT).into())?;
    Ok(System::start(env, vec![seat.role]).await?)
}

/// The operator: makes the token, revokes a client in the end, and compares what the
/// orchestrators say.
pub async fn operate(env: Env, script: SharedScript) -> anyhow::Result<()> {
    let Founded { operator, domain, secrets, .. } = found(&env).await?;
    let expires = env.clock.now().plus_secs(3600);
    let new = NewToken { name: "race".into(), uses: USES, expires, domain: domain.id, tags: vec![] };
    let token = operator.add_token(new, &secrets).await.context("token create")?;
    lock(&script).token = Some(token.to_text());

    while !lock(&script).restarted || lock(&script).connected.len() < USES as usize {
        env.clock.sleep(PAUSE).await;
    }
    let clients: Vec<ClientId> = operator.clients().await?.iter().map(|status| status.enrollment.client).collect();
    let joined = lock(&script).joined.clone();
    ensure!(clients.len() <= USES as usize, "I4: {} clients are enrolled by {USES} uses", clients.len());
    let lost = joined.iter().find(|client| !clients.contains(client));
    ensure!(lost.is_none(), "I3: the enrollment of {lost:?} was acknowledged and is gone");

    let id = *joined.first().context("someone has joined")?;
    let revocation = Payload::ClientRevocation(Revocation { id, reason: "lost".into() });
    operator.submit(vec![revocation]).await.context("client revoke")?;
    lock(&script).revoked = Some(id);
    agree(&env, &operator).await?;
    let revoked: Vec<ClientId> = operator
        .clients()
        .await?
        .iter()
        .filter(|status| status.revoked)
        .map(|status| status.enrollment.client)
        .collect();
    ensure!(revoked == [id], "{revoked:?} are revoked, and {id} should be");
    operator.close().await;
    lock(&script).agreed = true;
    Ok(())
}

/// I2: waits until all orchestrators hold the same records and have applied the same log.
pub async fn agree(env: &Env, operator: &Operator) -> anyhow::Result<()> {
    let give_up = env.clock.monotonic() + Duration::from_secs(20);
    loop {
        let status = operator.status().await?;
        let answers = status.iter().filter_map(|(_, status)| status.as_ref().ok());
        let seen: Vec<(Hash, u64, u64)> =
            answers.map(|status| (status.records, status.records_count, status.applied)).collect();
        if seen.len() == ORCHESTRATORS as usize && seen.windows(2).all(|pair| pair[0] == pair[1]) {
            return Ok(());
        }
        ensure!(env.clock.monotonic() < give_up, "I2: the records do not converge: {status:?}");
        env.clock.sleep(PAUSE).await;
    }
}

/// A client: joins or is refused, whatever it takes; who joined uses what it got.
pub async fn join(env: Env, info: BootInfo, script: SharedScript) -> anyhow::Result<()> {
    let token: Token = loop {
        if let Some(text) = &lock(&script).token {
            break text.parse()?;
        }
        env.clock.sleep(PAUSE).await;
    };
    let enrollment = loop {
        match enroll(&env, &token, &format!("client {}", info.node)).await {
            Ok(enrollment) => break enrollment,
            Err(Failure { code: Code::Denied, .. }) => {
                let mut script = lock(&script);
                script.refused.insert(info.node);
                script.done.insert(info.node);
                return Ok(());
            }
            Err(Failure { code: Code::Retry, .. }) => env.clock.sleep(PAUSE).await,
            Err(failure) => bail!("enroll: {failure}"),
        }
    };
    let me = enrollment.client;
    lock(&script).joined.insert(me);
    let mut client = Client::open(&env, Pace::Busy)?;
    while let Err(failure) = client.refresh().await {
        ensure!(failure.code == Code::Retry, "configure: {failure}");
        env.clock.sleep(PAUSE).await;
    }
    use_lease(&env, &client, &script).await?;
    client.close().await?;
    lock(&script).done.insert(info.node);

    while !lock(&script).restarted {
        env.clock.sleep(PAUSE).await;
    }
    stay(&env, me, &script).await
}

/// I3: a lease that was acknowledged is still there after all power was lost.
async fn use_lease(env: &Env, client: &Client, script: &SharedScript) -> anyhow::Result<()> {
    let repository = repository(env, client).await?;
    let grant =
        wire::Grant { repository, lineage: LineageId([7; 16]), attempt: AttemptId(env.rng.array()), after: None };
    let lease: Lease = persist(env, || client.link().call(grant.clone())).await.context("grant")?;
    let is_first = {
        let mut script = lock(script);
        let is_first = script.leased.is_none();
        script.leased.get_or_insert_with(|| lease.clone());
        is_first
    };
    if is_first {
        while !lock(script).blackout_over {
            env.clock.sleep(PAUSE).await;
        }
    }
    let key = Place::Pack(lease.domain).object(ObjectName { lease: lease.id, hash: Sha256([1; 32]) });
    let objects = vec![wire::PutRequest { key, len: 1 }];
    let mint = wire::MintPuts { lease: lease.id, repository, objects };
    persist(env, || client.link().call(mint.clone())).await.context("I3: using the lease")?;
    let close = wire::Close { lease: lease.id };
    persist(env, || client.link().call(close.clone())).await.context("close")?;
    Ok(())
}

/// The repository of the client's domain, as the orchestrators tell.
async fn repository(env: &Env, client: &Client) -> anyhow::Result<protocol::ids::RepositoryId> {
    let signed = persist(env, || client.link().call(wire::Configure {})).await?;
    let cluster = protocol::ids::ClusterId::of_root(&client.link().trust().root);
    for record in signed {
        if let Payload::Domain(domain) = protocol::records::Record::open(record, &cluster)?.payload() {
            return Ok(domain.repository);
        }
    }
    bail!("no domain among the records")
}

/// Repeats what may be repeated until it is clear what came of it.
async fn persist<T, A>(env: &Env, mut attempt: impl FnMut() -> A) -> Result<T, Failure>
where
    A: Future<Output = Result<T, Failure>>,
{
    loop {
        match attempt().await {
            Err(failure) if failure.code == Code::Retry => env.clock.sleep(PAUSE).await,
            done => return done,
        }
    }
}

/// Keeps a connection to every orchestrator until it is revoked, if it ever is, and
/// then tries to come back.
async fn stay(env: &Env, me: ClientId, script: &SharedScript) -> anyhow::Result<()> {
    let (profile, ..) = Profile::enrolled(&*env.disk)?;
    let endpoint = Endpoint::bind(env, &profile.identity(), (Ipv4Addr::UNSPECIFIED, 0).into(), false)?;
    let mut peers = Vec::new();
    for number in 0..ORCHESTRATORS {
        peers.push(persist(env, || knock(&endpoint, number)).await.context("connect")?);
    }
    lock(script).connected.insert(me);
    loop {
        let revoked = lock(script).revoked;
        match revoked {
            Some(revoked) if revoked == me => break,
            Some(_) => {
                ensure!(peers.iter().all(Peer::is_open), "a client that was not revoked was cut off");
                return Ok(());
            }
            None => env.clock.sleep(PAUSE).await,
        }
    }
    for peer in &peers {
        peer.connection().closed().await;
    }
    lock(script).cut = true;
    for number in 0..ORCHESTRATORS {
        match persist(env, || knock(&endpoint, number)).await {
            Err(Failure { code: Code::Denied, .. }) => {}
            other => bail!("a revoked client came back: {other:?}"),
        }
    }
    lock(script).stays_out = true;
    Ok(())
}

/// Connects to one orchestrator and asks it for something that clients may have.
async fn knock(endpoint: &Endpoint, number: u32) -> Result<Peer, Failure> {
    let peer = endpoint.dial(&format!("o{number}:{PORT}"), None, Pace::Busy, PATIENCE).await?;
    peer.call(wire::Configure {}, PATIENCE).await?;
    Ok(peer)
}

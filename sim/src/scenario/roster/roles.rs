//! What the operator and the clients do.

use std::{net::Ipv4Addr, time::Duration};

use actors::{
    client::{Client, Profile, enroll},
    net::{Endpoint, Pace},
    operator::{Candidate, NewToken, Operator},
};
use anyhow::{Context, bail, ensure};
use env::Env;
use protocol::{
    failure::{Code, Failure},
    ids::{ClusterId, Hash, LeaseId, Sha256},
    names::{ObjectName, Place},
    records::{Payload, Record},
    sign::Signer,
    token::Token,
    wire,
};

use super::{Kept, LOST, MACHINES, REPLACED, SharedScript, Stage};
use crate::{
    kernel::{fault::Node, lock},
    scenario::cluster::roles::{Founded, PORT, found},
    world::BootInfo,
};

/// Between two looks at something that others must do first.
const PAUSE: Duration = Duration::from_millis(200);
/// Uses of the token: one client before the changes, one after.
const USES: u32 = 2;
/// How long one orchestrator may take to answer one call.
const PATIENCE: Duration = Duration::from_secs(3);

/// The operator, from wherever an earlier life of its machine stopped.
pub async fn operate(env: Env, script: SharedScript) -> anyhow::Result<()> {
    if lock(&script).kept.is_none() {
        let Founded { operator, domain, secrets, root_seed, admin_seed } = found(&env).await?;
        let expires = env.clock.now().plus_secs(7200);
        let new = NewToken { name: "early".into(), uses: USES, expires, domain: domain.id, tags: vec![] };
        let token = operator.add_token(new, &secrets).await.context("token create")?;
        let mut script = lock(&script);
        script.kept = Some(Kept { root_seed, admin_seed, trust: operator.trust() });
        script.token = Some(token.to_text());
        script.stage = Stage::Adding;
    }
    let kept = lock(&script).kept.clone().context("founded")?;
    let (root, operator) = (Signer::from_seed(&kept.root_seed), Operator::new(&env, kept.admin_seed, kept.trust)?);
    loop {
        let stage = lock(&script).stage;
        let next = match stage {
            Stage::Founding => bail!("founded and not founded"),
            // Somebody has to be enrolled before the roster changes.
            Stage::Adding if lock(&script).joined.is_empty() => stage,
            Stage::Adding => {
                add(&env, &operator, Node(MACHINES - 1), None, &root).await.context("orchestrator add")?;
                Stage::Removing
            }
            Stage::Removing => {
                remove(&env, &operator, &root).await.context("orchestrator remove")?;
                Stage::Replacing
            }
            Stage::Replacing => {
                add(&env, &operator, LOST, Some(REPLACED), &root).await.context("orchestrator add --replace")?;
                Stage::Joining
            }
            Stage::Joining if lock(&script).joined.len() < USES as usize => stage,
            Stage::Joining => {
                check(&env, &operator, &script).await?;
                operator.close().await;
                Stage::Checked
            }
            Stage::Checked => return Ok(()),
        };
        lock(&script).stage = next;
        env.clock.sleep(PAUSE).await;
    }
}

fn named(node: Node) -> Candidate {
    Candidate { name: format!("o{}", node.0), address: format!("o{}:{PORT}", node.0), key: None }
}

async fn add(
    env: &Env,
    operator: &Operator,
    newcomer: Node,
    replaces: Option<Node>,
    root: &Signer,
) -> Result<(), Failure> {
    let (candidate, replaces) = (named(newcomer), replaces.map(|node| named(node).name));
    persist(env, || operator.add_orchestrator(&candidate, replaces.as_deref(), root)).await?;
    persist(env, || operator.settled()).await.map(drop)
}

/// Takes the lost one out. Where an earlier life has done that, there is nothing to find.
async fn remove(env: &Env, operator: &Operator, root: &Signer) -> Result<(), Failure> {
    let name = named(LOST).name;
    match persist(env, || operator.remove_orchestrator(&name, root)).await {
        Err(Failure { code: Code::NotFound, .. }) | Ok(_) => {}
        Err(failure) => return Err(failure),
    }
    persist(env, || operator.settled()).await.map(drop)
}

/// Repeats what may be repeated until it is clear what came of it. A change that those
/// who answer now could not decide is tried again as well: in here they all come back.
async fn persist<T, A>(env: &Env, mut attempt: impl FnMut() -> A) -> Result<T, Failure>
where
    A: Future<Output = Result<T, Failure>>,
{
    loop {
        match attempt().await {
            Err(failure) if failure.code == Code::Retry || failure.message.contains("no majority") => {
                env.clock.sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

/// I2 and I3, and that the roster is what it was made.
async fn check(env: &Env, operator: &Operator, script: &SharedScript) -> anyhow::Result<()> {
    let give_up = env.clock.monotonic() + Duration::from_secs(60);
    loop {
        let roster = persist(env, || operator.settled()).await?;
        let mut names: Vec<&str> = roster.keyset.orchestrators.iter().map(|node| node.name.as_str()).collect();
        names.sort_unstable();
        ensure!(names == ["o0", "o2", "o3"], "the roster is {names:?}");
        let seen: Vec<(Hash, u64, u64)> =
            roster.statuses().map(|(_, status)| (status.records, status.records_count, status.applied)).collect();
        if seen.len() == names.len() && seen.windows(2).all(|pair| pair[0] == pair[1]) {
            break;
        }
        ensure!(env.clock.monotonic() < give_up, "I2: the orchestrators do not come to agree: {seen:?}");
        env.clock.sleep(PAUSE).await;
    }
    let clients = persist(env, || operator.clients()).await?;
    for joined in &lock(script).joined {
        let known = clients.iter().any(|client| client.enrollment.client == *joined);
        ensure!(known, "I3: the enrollment of {joined} was acknowledged and is gone");
    }
    Ok(())
}

/// Gets a right to read from every orchestrator that runs: each has the credential.
async fn use_each(env: &Env, client: &Client) -> anyhow::Result<()> {
    let (profile, enrollment, _) = Profile::enrolled(&*env.disk)?;
    let endpoint = Endpoint::bind(env, &profile.identity(), (Ipv4Addr::UNSPECIFIED, 0).into(), false)?;
    let signed = persist(env, || client.link().call(wire::Configure {})).await?;
    let cluster = ClusterId::of_root(&client.link().trust().root);
    let records: Vec<Record> =
        signed.into_iter().map(|signed| Record::open(signed, &cluster)).collect::<Result<_, _>>()?;
    let repository = records.iter().find_map(|record| match record.payload() {
        Payload::Domain(domain) => Some(domain.repository),
        _ => None,
    });
    let repository = repository.context("no domain among the records")?;
    let name = ObjectName { lease: LeaseId { incarnation: 1, index: 1 }, hash: Sha256([1; 32]) };
    let objects = vec![Place::Pack(enrollment.domain).object(name)];
    for node in [LOST, Node(MACHINES - 1)] {
        let address = named(node).address;
        let get = || async {
            let peer = endpoint.dial(&address, None, Pace::Busy, PATIENCE).await?;
            let minted = peer.call(wire::MintGets { repository, objects: objects.clone() }, PATIENCE).await;
            peer.close();
            minted
        };
        let tickets = persist(env, get).await.with_context(|| format!("a ticket of {node}"))?;
        ensure!(tickets.len() == 1, "{node} gave {} tickets", tickets.len());
    }
    endpoint.close().await;
    Ok(())
}

/// A client: joins once the operator has come past a stage, and asks for what needs the
/// storage's credential.
pub async fn join(env: Env, _: BootInfo, after: Stage, script: SharedScript) -> anyhow::Result<()> {
    let token: Token = loop {
        {
            let script = lock(&script);
            if let Some(text) = script.token.as_ref().filter(|_| script.stage > after) {
                break text.parse()?;
            }
        }
        env.clock.sleep(PAUSE).await;
    };
    let enrollment = persist(&env, || enroll(&env, &token, "client")).await.context("enroll")?;
    let mut client = Client::open(&env, Pace::Busy)?;
    while let Err(failure) = client.refresh().await {
        ensure!(failure.code == Code::Retry, "configure: {failure}");
        env.clock.sleep(PAUSE).await;
    }
    if after > Stage::Founding {
        use_each(&env, &client).await?;
    }
    client.close().await?;
    let mut script = lock(&script);
    if !script.joined.contains(&enrollment.client) {
        script.joined.push(enrollment.client);
    }
    Ok(())
}

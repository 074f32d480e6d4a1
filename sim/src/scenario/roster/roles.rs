//! What the operator and the clients do.

use std::{net::Ipv4Addr, time::Duration};

use actors::{
    client::{Client, Profile},
    net::{Endpoint, Pace},
    operator::{Changed, Operator},
};
use anyhow::{Context, bail, ensure};
use protocol::{
    failure::{Code, Failure},
    ids::{Hash, LeaseId, Sha256},
    names::{ObjectName, Place},
    sign::Signer,
    wire,
};

use super::{CLIENTS, LOST, MACHINES, REPLACED, Script, Step};
use crate::{
    history::{Outcome, What},
    kernel::fault::Node,
    scenario::{
        sometimes,
        stage::{
            Player,
            founding::{candidate, found},
            person,
        },
    },
};

/// How long one orchestrator may take to answer one call.
const PATIENCE: Duration = Duration::from_secs(3);

/// The operator, from wherever an earlier life of its machine stopped.
pub async fn operate(me: Player<Script>) -> anyhow::Result<()> {
    if me.script().home.is_none() {
        let founded = found(&me.env).await?;
        let token = founded.token(&me, "early", CLIENTS).await?;
        let mut script = me.script();
        script.home = Some(founded.home());
        script.token = Some(token);
        script.step = Step::Adding;
    } else if me.script().step < Step::Joining {
        sometimes("roster: the operator is interrupted in the middle of a change");
    }
    let home = me.script().home.clone().context("founded")?;
    let (root, operator) = (home.root(), home.operator(&me.env)?);
    loop {
        let step = me.script().step;
        let next = match step {
            Step::Founding => bail!("founded and not founded"),
            Step::Adding => {
                // Somebody has to be enrolled before the roster changes.
                me.until(|script| !script.joined.is_empty()).await;
                add(&me, &operator, Node(MACHINES - 1), None, &root).await.context("orchestrator add")?;
                Step::Removing
            }
            Step::Removing => {
                remove(&me, &operator, &root).await.context("orchestrator remove")?;
                Step::Replacing
            }
            Step::Replacing => {
                add(&me, &operator, LOST, Some(REPLACED), &root).await.context("orchestrator add --replace")?;
                Step::Joining
            }
            Step::Joining => {
                me.until(|script| script.joined.len() >= CLIENTS as usize).await;
                check(&me, &operator).await?;
                operator.close().await;
                Step::Checked
            }
            Step::Checked => return Ok(()),
        };
        me.script().step = next;
        me.pause().await;
    }
}

async fn add(
    me: &Player<Script>,
    operator: &Operator,
    newcomer: Node,
    replaces: Option<Node>,
    root: &Signer,
) -> Result<(), Failure> {
    let (newcomer, replaces) = (candidate(newcomer.0), replaces.map(|node| candidate(node.0).name));
    let members: &[&str] = if replaces.is_some() { &["o0", "o2", "o3"] } else { &["o0", "o1", "o2", "o3"] };
    let changed = persist(me, || operator.add_orchestrator(&newcomer, replaces.as_deref(), root));
    recorded(me, members, changed).await?;
    persist(me, || operator.settled()).await.map(drop)
}

/// Takes the lost one out. Where an earlier life has done that, there is nothing to find.
async fn remove(me: &Player<Script>, operator: &Operator, root: &Signer) -> Result<(), Failure> {
    let name = candidate(LOST.0).name;
    let changed = persist(me, || operator.remove_orchestrator(&name, root));
    match recorded(me, &["o1", "o2", "o3"], changed).await {
        Err(Failure { code: Code::NotFound, .. }) | Ok(_) => {}
        Err(failure) => return Err(failure),
    }
    persist(me, || operator.settled()).await.map(drop)
}

/// Records that the roster is changed to these.
async fn recorded(
    me: &Player<Script>,
    members: &[&str],
    changed: impl Future<Output = Result<Changed, Failure>>,
) -> Result<Changed, Failure> {
    let members: Vec<String> = members.iter().map(|name| (*name).to_owned()).collect();
    let what = |number, outcome| What::Roster { number, members: members.clone(), outcome };
    let asking = me.info.recorder.ask(what(0, Outcome::Unclear));
    let answer = changed.await;
    asking.came_of(match &answer {
        Ok(changed) => what(changed.keyset, Outcome::Done),
        Err(_) => what(0, Outcome::Unclear),
    });
    answer
}

/// Repeats what may be repeated until it is clear what came of it. A change that those
/// who answer now could not decide is tried again as well: in here they all come back.
async fn persist<T, A>(me: &Player<Script>, mut attempt: impl FnMut() -> A) -> Result<T, Failure>
where
    A: Future<Output = Result<T, Failure>>,
{
    loop {
        match me.persist(&mut attempt).await {
            Err(failure) if failure.message.contains("no majority") => {
                sometimes("roster: a change finds no majority, and is tried again");
                me.pause().await;
            }
            done => return done,
        }
    }
}

/// I2 and I3, and that the roster is what it was made.
async fn check(me: &Player<Script>, operator: &Operator) -> anyhow::Result<()> {
    let give_up = me.env.clock.monotonic() + Duration::from_secs(60);
    loop {
        let from_ms = me.info.recorder.now_ms();
        let roster = persist(me, || operator.settled()).await?;
        let mut names: Vec<&str> = roster.keyset.orchestrators.iter().map(|node| node.name.as_str()).collect();
        names.sort_unstable();
        let members = names.iter().map(|name| (*name).to_owned()).collect();
        me.info.recorder.note_since(from_ms, What::RosterSeen { number: roster.record.version(), members });
        ensure!(names == ["o0", "o2", "o3"], "the roster is {names:?}");
        let seen: Vec<(Hash, u64, u64)> =
            roster.statuses().map(|(_, status)| (status.records, status.records_count, status.applied)).collect();
        if seen.len() == names.len() && seen.windows(2).all(|pair| pair[0] == pair[1]) {
            break;
        }
        ensure!(me.env.clock.monotonic() < give_up, "I2: the orchestrators do not come to agree: {seen:?}");
        me.pause().await;
    }
    let clients = persist(me, || operator.clients()).await?;
    for joined in &me.script().joined {
        let known = clients.iter().any(|client| client.enrollment.client == *joined);
        ensure!(known, "I3: the enrollment of {joined} was acknowledged and is gone");
    }
    Ok(())
}

/// Gets a right to read from every orchestrator that runs: each has the credential.
async fn use_each(me: &Player<Script>, client: &Client) -> anyhow::Result<()> {
    let (profile, enrollment, _) = Profile::enrolled(&*me.env.disk)?;
    let endpoint = Endpoint::bind(&me.env, &profile.identity(), (Ipv4Addr::UNSPECIFIED, 0).into(), false)?;
    let repository = person::repository(me, client).await?;
    let name = ObjectName { lease: LeaseId { incarnation: 1, index: 1 }, hash: Sha256([1; 32]) };
    let objects = vec![Place::Pack(enrollment.domain).object(name)];
    for node in [LOST, Node(MACHINES - 1)] {
        let address = candidate(node.0).address;
        let get = || async {
            let peer = endpoint.dial(&address, None, Pace::Busy, PATIENCE).await?;
            let minted = peer.call(wire::MintGets { repository, objects: objects.clone() }, PATIENCE).await;
            peer.close();
            minted
        };
        let tickets = me.persist(get).await.with_context(|| format!("a ticket of {node}"))?;
        ensure!(tickets.len() == 1, "{node} gave {} tickets", tickets.len());
    }
    endpoint.close().await;
    Ok(())
}

/// A client: joins once the operator has come past a step, and asks for what needs the
/// storage's credential.
pub async fn join(me: Player<Script>, after: Step) -> anyhow::Result<()> {
    let token = me.told(|script| script.token.clone().filter(|_| script.step > after)).await;
    let (_, enrollment) = person::join(&me, &token, "client").await?;
    let client = person::open(&me).await?;
    if after > Step::Founding {
        use_each(&me, &client).await?;
    }
    client.close().await?;
    let mut script = me.script();
    if !script.joined.contains(&enrollment.client) {
        script.joined.push(enrollment.client);
    }
    Ok(())
}

//! Adding, removing and listing orchestrators.

use actors::operator::{Changed, Roster};
use protocol::{
    failure::{Code, Failure},
    records::Orchestrator,
    sign::Signer,
    wire::NodeStatus,
};
use serde_json::{Value, json};

use super::{
    args::{HomeArgs, OrchestratorAdd, OrchestratorRemove},
    choose, human, input,
    output::Output,
    session::OperatorSession,
    text,
    trouble::Trouble,
};

/// `orchestrator add`.
pub async fn add(args: OrchestratorAdd, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&args.home.path()?).await?;
    let done = add_in(&session, &args, output).await;
    session.close(done).await
}

async fn add_in(session: &OperatorSession, args: &OrchestratorAdd, output: Output) -> Result<(), Trouble> {
    let _guard = session.home.lock()?;
    let candidate = &args.candidate;
    if let Some(name) = &args.replace {
        let roster = session.operator.roster().await?;
        // An attempt that was interrupted may have replaced it already.
        let joined = roster.keyset.orchestrators.iter().any(|node| Some(node.key) == candidate.key);
        if !joined {
            let leaving = find(&roster, name)?;
            roster.check_leave(leaving, true)?;
            let would = [
                format!("take {} ({}) out of the cluster", text::safe(&leaving.name), leaving.address),
                format!("make {} ({}) an orchestrator in its place", text::safe(&candidate.name), candidate.address),
            ];
            let object = json!({ "name": candidate.name, "address": candidate.address, "replaced": leaving.name });
            if !choose::decided(output, args.yes, &would, object) {
                return Ok(());
            }
        }
    }
    let root = root_key(session, args.root.passphrase_file.as_deref())?;
    let changed = session.operator.add_orchestrator(candidate, args.replace.as_deref(), &root).await;
    let changed = changed.map_err(again)?;
    output.note(&format!(
        "Keyset {} is signed. Waiting until {} has caught up and votes ...",
        changed.keyset,
        text::safe(&changed.node.name)
    ));
    let roster = session.operator.settled().await.map_err(again)?;
    let replaced = changed.replaced.as_ref().map(|node| node.name.clone());
    let mut object = changed_json(&changed, &roster);
    object["key"] = changed.node.key.to_string().into();
    object["replaced"] = replaced.clone().into();
    output.result(object, || {
        let place = replaced.map(|name| format!(" in the place of {}", text::safe(&name))).unwrap_or_default();
        format!(
            "{} is an orchestrator{place}: {} vote.",
            text::safe(&changed.node.name),
            human::counted(roster.voters().len() as u64, "orchestrator")
        )
    });
    match roster.voters().len() {
        2 => output.note("Note: of two, the loss of either stops backups. Add a third."),
        even if even.is_multiple_of(2) => {
            let (fewer, lost) = (even - 1, even / 2 - 1);
            output.note(&format!(
                "Note: {even} orchestrators survive the loss of {lost}, as {fewer} do; {} survive {}.",
                even + 1,
                lost + 1
            ));
        }
        _ => {}
    }
    if let Some(left) = &changed.replaced {
        output.note(&credential_advice(left));
    }
    Ok(())
}

/// `orchestrator remove`.
pub async fn remove(args: OrchestratorRemove, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&args.home.path()?).await?;
    let done = remove_in(&session, &args, output).await;
    session.close(done).await
}

async fn remove_in(session: &OperatorSession, args: &OrchestratorRemove, output: Output) -> Result<(), Trouble> {
    let _guard = session.home.lock()?;
    let roster = session.operator.roster().await?;
    let leaving = find(&roster, &args.name)?.clone();
    roster.check_leave(&leaving, false)?;
    let stay: Vec<&str> = roster
        .keyset
        .orchestrators
        .iter()
        .filter(|node| node.key != leaving.key)
        .map(|node| node.name.as_str())
        .collect();
    let would = [
        format!("take {} ({}) out of the cluster: it stops to serve", text::safe(&leaving.name), leaving.address),
        format!("leave {}: {}", human::counted(stay.len() as u64, "orchestrator"), text::safe(&stay.join(", "))),
    ];
    let object = json!({ "name": leaving.name, "address": leaving.address, "node": leaving.id().to_string() });
    if !choose::decided(output, args.yes, &would, object) {
        return Ok(());
    }
    let root = root_key(session, args.root.passphrase_file.as_deref())?;
    let changed = session.operator.remove_orchestrator(&leaving.name, &root).await.map_err(again)?;
    let roster = session.operator.settled().await.map_err(again)?;
    let mut object = changed_json(&changed, &roster);
    object["acted"] = true.into();
    output.result(object, || {
        let left = human::counted(roster.voters().len() as u64, "orchestrator");
        format!("{} is no orchestrator any more: {left} vote.", text::safe(&leaving.name))
    });
    output.note(&credential_advice(&leaving));
    if roster.voters().len() < 3 {
        output.note("Note: with fewer than three orchestrators, the loss of one stops backups until it is back.");
    }
    Ok(())
}

/// Whoever left had what it had.
fn credential_advice(left: &Orchestrator) -> String {
    format!(
        "If {} may be in other hands: it knows the storages' credentials. Make new ones at the storage, and give them with `nuthatch storage add --adopt`.",
        text::safe(&left.name)
    )
}

/// `orchestrator list`.
pub async fn list(home: &HomeArgs, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&home.path()?).await?;
    let roster = session.operator.roster().await.map_err(Trouble::from);
    let roster = session.close(roster).await?;
    let voters = roster.voters();
    let nodes: Vec<Value> = roster
        .nodes
        .iter()
        .map(|(node, status)| {
            let mut object = json!({
                "name": node.name,
                "address": node.address,
                "node": node.id().to_string(),
                "key": node.key.to_string(),
                "reachable": status.is_ok(),
                "voter": voters.contains(&node.id()),
            });
            match status {
                Ok(status) => {
                    object["leader"] = (status.leader == Some(node.voter)).into();
                    object["applied"] = status.applied.into();
                }
                Err(failure) => object["error"] = failure.message.clone().into(),
            }
            object
        })
        .collect();
    output.result(json!({ "keyset": roster.record.version(), "orchestrators": nodes }), || {
        let mut rows = vec![["NAME", "ADDRESS", "STATE", "KEY"].map(String::from).to_vec()];
        rows.extend(roster.nodes.iter().map(|(node, status)| {
            vec![
                text::safe(&node.name).into_owned(),
                node.address.clone(),
                state(node, status, voters.contains(&node.id())).into(),
                node.key.to_string(),
            ]
        }));
        human::columns(&rows, &[])
    });
    Ok(())
}

/// How an orchestrator is, in a word.
pub fn state(node: &Orchestrator, status: &Result<NodeStatus, Failure>, votes: bool) -> &'static str {
    match status {
        Err(_) => "unreachable",
        Ok(_) if !votes => "catching up",
        Ok(status) if status.leader == Some(node.voter) => "leader",
        Ok(_) => "follower",
    }
}

fn changed_json(changed: &Changed, roster: &Roster) -> Value {
    json!({
        "name": changed.node.name,
        "address": changed.node.address,
        "node": changed.node.id().to_string(),
        "keyset": changed.keyset,
        "voters": roster.voters().len(),
    })
}

fn find<'a>(roster: &'a Roster, name: &str) -> Result<&'a Orchestrator, Trouble> {
    roster.find(name).ok_or_else(|| {
        Trouble::not_found(format!("there is no orchestrator {name:?}"))
            .hint("`nuthatch orchestrator list` shows those that there are.")
    })
}

/// The root key, opened with a passphrase.
pub fn root_key(session: &OperatorSession, file: Option<&std::path::Path>) -> Result<Signer, Trouble> {
    let passphrase = input::passphrase(file)?;
    Ok(Signer::from_seed(&*session.home.open_root_key(&passphrase)?))
}

/// What to do after an attempt that came to no end.
pub fn again(failure: Failure) -> Trouble {
    let retry = failure.code == Code::Retry;
    let trouble = Trouble::from(failure);
    if retry { trouble.hint("Run the same command again: it goes on where this one stopped.") } else { trouble }
}

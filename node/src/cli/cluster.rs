//! Making a cluster, and looking at it.

use std::{path::Path, time::Duration};

use actors::{
    client::Trust,
    operator::{self, Candidate, Roster},
};
use protocol::{
    failure::Failure,
    ids::{ClusterId, PublicKey},
    records::{Keyset, Orchestrator, Payload},
    sign::Signer,
    wire::{self, Examination, Inspection, NodeStatus, Speech},
};
use serde_json::{Value, json};

use super::{
    args::{ClusterInit, HomeArgs},
    health::{self, Answers, Findings},
    human, input, orchestrators,
    output::Output,
    session::{OperatorSession, operator_env},
    text,
    trouble::{Exit, Trouble},
};
use crate::home::Home;

/// How often `cluster status` looks until something that may pass has passed, and
/// how long it waits in between: an election fits.
const LOOKS: u32 = 6;
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// A cluster that is to be made.
pub struct NewCluster<'a> {
    /// For people.
    pub name: &'a str,
    /// Who is to be an orchestrator.
    pub candidates: &'a [Candidate],
    /// Whose the admin key is.
    pub admin: &'a str,
    /// Seals the root key.
    pub passphrase: &'a str,
}

impl NewCluster<'_> {
    /// Makes its keys in `home`, and has the nodes adopted. After an interruption it
    /// goes on with the same keys.
    pub async fn make(&self, home: &Path) -> Result<(PublicKey, Keyset), Trouble> {
        let real = operator_env(home).await?;
        let made = self.make_in(&real, home).await;
        real.close().await;
        made
    }

    async fn make_in(&self, real: &crate::env::RealEnv, path: &Path) -> Result<(PublicKey, Keyset), Trouble> {
        let env = real.env();
        let home = Home::of(env);
        let _guard = home.lock()?;
        home.check_vacant()?;
        home.protect(path)?;
        let root = Signer::from_seed(&*home.root_key(self.passphrase, &*env.rng)?);
        let admin = home.create_admin_key(self.admin, &*env.rng)?;
        let record = operator::init(env, self.name, self.candidates, &root, *admin, self.admin).await?;
        let Payload::Keyset(keyset) = record.payload().clone() else {
            return Err(Failure::internal("the cluster began with something that is not a keyset").into());
        };
        let addresses = keyset.orchestrators.iter().map(|orchestrator| orchestrator.address.clone()).collect();
        let trust = Trust { root: root.public(), keyset_floor: record.version(), addresses };
        home.save_cluster(self.name, &trust)?;
        Ok((root.public(), keyset))
    }
}

/// `cluster init`.
pub async fn init(args: ClusterInit, output: Output) -> Result<(), Trouble> {
    let path = args.home.path()?;
    for (place, candidate) in args.orchestrators.iter().enumerate() {
        if args.orchestrators[..place]
            .iter()
            .any(|other| other.address == candidate.address || other.name == candidate.name)
        {
            return Err(Trouble::usage(format!("the orchestrator {} is named twice", candidate.name)));
        }
    }
    // Before anyone is asked for a passphrase.
    if path.is_dir() {
        let real = operator_env(&path).await?;
        let vacant = Home::of(real.env()).check_vacant();
        real.close().await;
        vacant?;
    }
    let passphrase = input::new_passphrase(args.passphrase_file.as_deref())?;
    let user = || std::env::var("USER").ok().filter(|user| !user.is_empty()).unwrap_or_else(|| "admin".into());
    let admin = args.admin.unwrap_or_else(user);
    let new = NewCluster { name: &args.name, candidates: &args.orchestrators, admin: &admin, passphrase: &passphrase };
    let (root, keyset) = new.make(&path).await?;
    let orchestrators = keyset.orchestrators.iter().map(|orchestrator| {
        json!({ "name": orchestrator.name, "address": orchestrator.address, "key": orchestrator.key.to_string() })
    });
    let object = json!({
        "name": args.name,
        "cluster": ClusterId::of_root(&root).to_string(),
        "root": root.to_string(),
        "admin": keyset.admins.first().map(|admin| admin.key.to_string()),
        "home": path,
        "orchestrators": orchestrators.collect::<Vec<_>>(),
    });
    output.result(object, || {
        let count = human::counted(keyset.orchestrators.len() as u64, "orchestrator");
        format!(
            "Made the cluster {:?} of {count}.\nIts keys are in {}: keep a copy of that directory, and the passphrase.\nNext: nuthatch storage add",
            args.name,
            path.display()
        )
    });
    if keyset.orchestrators.len() < 3 {
        output.note("Fewer than three orchestrators: the loss of one stops backups until it is back.");
    }
    Ok(())
}

/// `cluster status`. Failed if nothing can be decided now.
pub async fn status(home: &HomeArgs, output: Output) -> Result<Exit, Trouble> {
    let session = OperatorSession::open(&home.path()?).await?;
    let asked = look_twice(&session).await;
    let (name, trust) = (session.cluster.clone(), session.operator.trust());
    let Look { roster, answers, findings } = session.close(asked).await?;
    let Answers { inspections, speeches, examinations } = &answers;
    let (keyset, voters) = (roster.record.version(), roster.voters());
    let works = findings.problems.is_empty();
    let mut object = json!({
        "ok": works,
        "name": name,
        "cluster": ClusterId::of_root(&trust.root).to_string(),
        "keyset": keyset,
        "level": health::level(speeches),
        "problems": findings.problems,
        "warnings": findings.warnings,
        "backup": health::backup(inspections).map(|backup| json!({
            "at_ms": backup.at.map(|at| at.0),
            "applied": backup.applied,
            "clients": backup.clients,
            "snapshots": backup.snapshots,
            "trouble": backup.trouble,
        })),
        "orchestrators": roster.nodes.iter().zip(inspections).zip(speeches).zip(examinations).map(
            |((((node, status), seen), speech), examined)| {
                node_json(node, status, seen.as_ref().ok(), speech.as_ref().ok(), examined.as_ref().ok())
            }
        ).collect::<Vec<_>>(),
    });
    if !works {
        object["code"] = "retry".into();
        object["message"] = findings.problems.join(" ").into();
    }
    output.result(object, || {
        let mut rows = vec![["NAME", "ADDRESS", "STATE", "APPLIED", "RECORDS", "CLIENTS"].map(String::from).to_vec()];
        rows.extend(roster.nodes.iter().map(|(node, status)| node_row(node, status, voters.contains(&node.id()))));
        let table = human::columns(&rows, &[3, 4, 5]);
        let verdict = match (works, findings.warnings.is_empty()) {
            (true, true) => "All is well.",
            (true, false) => "Backups and restores work.",
            (false, _) => "Nothing can be decided now.",
        };
        let backed_up =
            health::backup(inspections).and_then(|backup| Some((backup.at?, backup.clients, backup.snapshots)));
        let backed_up = backed_up.map(|(at, clients, snapshots)| {
            let (clients, snapshots) = (human::counted(clients, "client"), human::counted(snapshots, "snapshot"));
            format!("The ledger was last backed up at {}, with {clients} and {snapshots}.\n", human::time(at))
        });
        format!("Cluster {name:?}, keyset {keyset}. {verdict}\n{}\n{table}", backed_up.unwrap_or_default())
    });
    for problem in &findings.problems {
        output.note(&format!("Problem: {problem}"));
    }
    for warning in &findings.warnings {
        output.note(&format!("Note: {warning}"));
    }
    Ok(if works { Exit::Well } else { Exit::Failed })
}

/// What was seen of a cluster, and what is wrong with it.
struct Look {
    roster: Roster,
    answers: Answers,
    findings: Findings,
}

/// Looks, and again if what was found may be over in a moment.
async fn look_twice(session: &OperatorSession) -> Result<Look, Trouble> {
    let mut looks = 1;
    loop {
        let roster = session.operator.roster().await?;
        let (inspections, speeches, examinations) = tokio::join!(
            session.operator.ask_each(&roster, wire::Inspect {}),
            session.operator.ask_each(&roster, wire::Speak {}),
            session.operator.ask_each(&roster, wire::Examine {}),
        );
        let answers = Answers { inspections, speeches, examinations };
        let findings = health::look(&roster, &answers);
        if !findings.passing || looks >= LOOKS {
            return Ok(Look { roster, answers, findings });
        }
        looks += 1;
        session.env().clock.sleep(BETWEEN_LOOKS).await;
    }
}

fn node_json(
    node: &Orchestrator,
    status: &Result<NodeStatus, Failure>,
    seen: Option<&Inspection>,
    speech: Option<&Speech>,
    examined: Option<&Examination>,
) -> Value {
    let mut object = json!({ "name": node.name, "address": node.address, "node": node.id().to_string() });
    if let Some(seen) = seen {
        object["agent"] = seen.agent.clone().into();
        object["seat"] = health::seat(seen.seat).into();
        object["incarnation"] = seen.incarnation.into();
    }
    if let Some(speech) = speech {
        object["levels"] = json!([speech.levels.first, speech.levels.last]);
    }
    if let Some(examined) = examined {
        object["disk"] =
            examined.disk.as_ref().map_or(Value::Null, |disk| json!({ "free": disk.free, "total": disk.total }));
        let unreachable = examined.unreachable.iter().map(|one| (one.storage.clone(), one.why.clone().into()));
        object["storages_unreachable"] = Value::Object(unreachable.collect());
    }
    let more = match status {
        Err(failure) => json!({ "reachable": false, "error": failure.message }),
        Ok(status) => json!({
            "reachable": true,
            "leader": status.leader == Some(node.voter),
            "voter": status.peers.iter().any(|peer| peer.node == node.id() && peer.voter),
            "keyset": status.keyset,
            "term": status.term,
            "applied": status.applied,
            "records_digest": status.records.to_string(),
            "records": status.records_count,
            "clients_connected": status.clients_connected,
            "client_bytes_received": status.client_bytes_received,
            "clock_ms": status.clock.0,
            "segments_waiting": status.segments_waiting,
            "objects_condemned": status.objects_condemned,
        }),
    };
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

fn node_row(node: &Orchestrator, status: &Result<NodeStatus, Failure>, votes: bool) -> Vec<String> {
    let name = text::safe(&node.name).into_owned();
    let mut row = vec![name, node.address.clone(), orchestrators::state(node, status, votes).into()];
    if let Ok(status) = status {
        row.extend([status.applied, status.records_count, status.clients_connected].map(human::count));
    }
    row
}

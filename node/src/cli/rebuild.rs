//! Beginning a lost cluster again.

use actors::operator::{self, Remains};
use protocol::sign::Signer;
use serde_json::{Value, json};

use super::{
    args::ClusterRebuild, choose, human, input, output::Output, session::operator_env, storage::read_place, text,
    trouble::Trouble,
};
use crate::{env::RealEnv, home::Home};

/// `cluster rebuild`.
pub async fn rebuild(args: ClusterRebuild, output: Output) -> Result<(), Trouble> {
    let path = args.home.path()?;
    let real = operator_env(&path).await?;
    let done = rebuild_in(&real, &args, output).await;
    real.close().await;
    done
}

async fn rebuild_in(real: &RealEnv, args: &ClusterRebuild, output: Output) -> Result<(), Trouble> {
    let (env, home) = (real.env(), Home::of(real.env()));
    let _guard = home.lock()?;
    let (admin_seed, cluster) = home.admin()?;
    let trust = cluster.trust()?;
    let (storage, credential) = read_place(&args.place, "the storage")?;
    let passphrase = input::passphrase(args.root.passphrase_file.as_deref())?;
    let root = Signer::from_seed(&*home.open_root_key(&passphrase)?);
    if let Some(address) = operator::survivor(env, *admin_seed, &trust).await? {
        return Err(Trouble::invalid(format!("the orchestrator at {address} is at work: this cluster is not lost"))
            .hint("Replace those that are lost: nuthatch orchestrator add NAME=HOST:PORT#KEY --replace NAME. If what is left can decide nothing and never will, stop it first."));
    }
    let remains = Remains::read(env, &storage, &credential, &root).await?;
    let would = would(&remains, args);
    if !choose::decided(output, args.yes, &would, told(&remains)) {
        advise(&remains, output);
        return Ok(());
    }
    let keys = (*admin_seed, home.admin_name()?);
    let rebuilt =
        remains.rebuild(env, &args.orchestrators, &root, (keys.0, &keys.1), trust.keyset_floor).await.map_err(
            |failure| Trouble::from(failure).hint("Run the same command again: it goes on where this one stopped."),
        )?;
    home.save_cluster(&remains.keyset.1.name, &rebuilt.trust)?;
    let mut object = told(&remains);
    let voters = rebuilt.roster.voters().len();
    object["acted"] = true.into();
    object["keyset"] = rebuilt.roster.record.version().into();
    object["voters"] = voters.into();
    output.result(object, || {
        format!(
            "The cluster {:?} is at work again, as of {}: {}, {}, {}.",
            remains.keyset.1.name,
            human::time(remains.at),
            human::counted(voters as u64, "orchestrator"),
            human::counted(remains.clients() as u64, "client"),
            human::counted(remains.snapshots() as u64, "snapshot"),
        )
    });
    advise(&remains, output);
    Ok(())
}

fn would(remains: &Remains, args: &ClusterRebuild) -> Vec<String> {
    let names: Vec<&str> = args.orchestrators.iter().map(|candidate| candidate.name.as_str()).collect();
    let mut would = vec![
        format!(
            "begin the cluster again as of {}, with {} and {}, in incarnation {}",
            human::time(remains.at),
            human::counted(remains.clients() as u64, "client"),
            human::counted(remains.snapshots() as u64, "snapshot"),
            remains.incarnation
        ),
        format!("make these its orchestrators, and no others: {}", text::safe(&names.join(", "))),
        "void all tokens that were not used".into(),
    ];
    if remains.later > 0 {
        would.push(format!(
            "take over {} that came after the backup, as the storage has them",
            human::counted(remains.later as u64, "snapshot")
        ));
    }
    would
}

/// What a person should know, and do.
fn advise(remains: &Remains, output: Output) {
    for skipped in &remains.skipped {
        output.note(&format!("Note: a newer backup cannot be used: {}", text::safe(skipped)));
    }
    if !remains.unknown.is_empty() {
        output.note(&format!(
            "Note: {} joined after the backup, and must join again with an empty data directory: {}",
            human::counted(remains.unknown.len() as u64, "client"),
            remains.unknown.join(", ")
        ));
    }
    if !remains.damaged.is_empty() {
        output.note(&format!(
            "Note: the storage has damaged what may have been {} that came after the backup: {}",
            human::counted(remains.damaged.len() as u64, "snapshot"),
            remains.damaged.iter().map(|path| text::safe(path).to_string()).collect::<Vec<_>>().join(", ")
        ));
    }
    if remains.same_credential {
        output.note("Note: the lost orchestrators had this credential too. Make a new one at the storage, give it with `nuthatch storage add --adopt`, and disable the old.");
    }
}

fn told(remains: &Remains) -> Value {
    json!({
        "backup_ms": remains.at.0,
        "incarnation": remains.incarnation,
        "clients": remains.clients(),
        "snapshots": remains.snapshots(),
        "later": remains.later,
        "unknown": remains.unknown,
        "damaged": remains.damaged,
        "skipped": remains.skipped,
    })
}

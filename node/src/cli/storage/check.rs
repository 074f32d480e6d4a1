//! Checking what storages really enforce.

use env::Env;
use protocol::records::{Storage, StorageCredential};
use serde_json::{Value, json};

use super::{
    super::{
        args::StorageCheck,
        choose::choose,
        human,
        output::Output,
        session::OperatorSession,
        trouble::{Exit, Trouble},
    },
    read_credential, storages,
};
use crate::store::{Finding, S3Storages, Verdict};

/// Characters of a line of what follows: beside the columns before it, it fits a common terminal.
const WIDTH: usize = 76;

/// Tries a storage with a credential.
pub async fn probe(env: &Env, storage: &Storage, credential: &StorageCredential) -> Result<Vec<Finding>, Trouble> {
    let s3 = S3Storages::new(env.clock.clone(), env.blocking.clone());
    let found = s3.probe(storage, credential, env.rng.array()).await;
    found.map_err(|error| {
        let trouble = Trouble::from(error);
        let place = format!("{} bucket {}", storage.endpoint, storage.bucket);
        Trouble { message: format!("{place}: {}", trouble.message), ..trouble }
    })
}

/// `storage check`.
pub async fn check(args: StorageCheck, output: Output) -> Result<Exit, Trouble> {
    let credential = read_credential(&args.credential)?;
    let session = OperatorSession::open(&args.home.path()?).await?;
    let checked = async {
        let storage = chosen(&storages(&session).await?, args.name.as_deref())?;
        let findings = probe(session.env(), &storage, &credential).await?;
        Ok((storage, findings))
    };
    let checked = checked.await;
    let (storage, findings) = session.close(checked).await?;
    let usable = findings.iter().all(|finding| finding.verdict < Verdict::Bad);
    let object = json!({
        "name": storage.name,
        "repository": storage.repository.to_string(),
        "usable": usable,
        "checks": json(&findings),
    });
    output.result(object, || table(&findings));
    Ok(if usable { Exit::Well } else { Exit::Failed })
}

/// The storage that is meant.
fn chosen(known: &[Storage], name: Option<&str>) -> Result<Storage, Trouble> {
    const LIST: &str = "nuthatch storage list";
    match (name, known) {
        (Some(name), _) => {
            let id = |storage: &Storage| storage.repository.to_string();
            choose(known, name, "storage", LIST, |storage| &storage.name, id).cloned()
        }
        (None, [one]) => Ok(one.clone()),
        (None, []) => Err(Trouble::not_found("there is no storage yet").hint("Add one: nuthatch storage add")),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|storage| storage.name.as_str()).collect();
            Err(Trouble::usage("there are several storages").hint(format!("Say which: {}.", names.join(", "))))
        }
    }
}

/// What follows from findings that are a danger.
pub fn dangers(findings: &[Finding]) -> impl Iterator<Item = String> {
    let danger = |finding: &&Finding| finding.verdict >= Verdict::Warning;
    findings.iter().filter(danger).map(|finding| format!("{} {}", finding.found, finding.follows))
}

/// For scripts.
pub fn json(findings: &[Finding]) -> Vec<Value> {
    let object = |finding: &Finding| {
        json!({
            "check": finding.check,
            "verdict": finding.verdict.to_string(),
            "found": finding.found,
            "follows": finding.follows,
        })
    };
    findings.iter().map(object).collect()
}

/// For people: what was found, and below it what follows.
fn table(findings: &[Finding]) -> String {
    let mut rows = vec![["", "CHECK", "FOUND"].map(String::from).to_vec()];
    for finding in findings {
        let check = finding.check.replace('_', " ");
        rows.push(vec![finding.verdict.to_string(), check, finding.found.clone()]);
        rows.extend(wrapped(finding.follows).into_iter().map(|line| vec![String::new(), String::new(), line]));
    }
    human::columns(&rows, &[])
}

/// A text in lines of at most `WIDTH` characters, as far as its words allow.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}

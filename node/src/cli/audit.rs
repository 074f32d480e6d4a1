//! Who did what to the cluster, and when.

use std::collections::BTreeMap;

use protocol::{
    audit::{Act, AuditEntry},
    ids::{ClusterId, NodeId},
    records::{Payload, Record, Subject},
};
use serde_json::{Value, json};

use super::{args::HomeArgs, human, output::Output, session::OperatorSession, text, trouble::Trouble};

/// `audit`.
pub async fn audit(home: &HomeArgs, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&home.path()?).await?;
    let cluster = ClusterId::of_root(&session.operator.trust().root);
    let read = async {
        let (_, keyset) = session.operator.keyset().await?;
        Ok::<_, Trouble>((keyset, session.operator.audit().await?))
    };
    let read = read.await;
    let (keyset, entries) = session.close(read).await?;
    let names: BTreeMap<NodeId, String> =
        keyset.orchestrators.iter().map(|node| (node.id(), node.name.clone())).collect();
    let told: Vec<Told<'_>> = entries.iter().map(|entry| Told::of(entry, &cluster, &names)).collect();
    let object = json!({ "entries": told.iter().map(Told::json).collect::<Vec<_>>() });
    output.result(object, || {
        if told.is_empty() {
            return "Nothing was done yet.".into();
        }
        let mut rows = vec![["WHEN", "WHO", "WHAT", "ABOUT"].map(String::from).to_vec()];
        rows.extend(told.iter().map(Told::row));
        human::columns(&rows, &[])
    });
    Ok(())
}

/// One entry, as people read it.
struct Told<'a> {
    entry: &'a AuditEntry,
    who: String,
    act: &'static str,
    about: String,
    /// Whether the signature of the record was checked here. None if it is not kept.
    verified: Option<bool>,
}

impl<'a> Told<'a> {
    fn of(entry: &'a AuditEntry, cluster: &ClusterId, names: &BTreeMap<NodeId, String>) -> Self {
        match &entry.act {
            Act::Signed { name, subject, record, .. } => {
                // What the orchestrators say of a record counts for nothing beside its bytes.
                let opened = record.clone().map(|signed| Record::open(signed, cluster));
                let verified = opened.as_ref().map(Result::is_ok);
                let (act, about) = match opened {
                    Some(Ok(record)) => described(&record),
                    _ => subject_only(subject),
                };
                Self { entry, who: name.clone(), act, about, verified }
            }
            Act::Voters(voters) => {
                let name = |node: &NodeId| names.get(node).cloned().unwrap_or_else(|| node.short());
                let about = voters.iter().map(name).collect::<Vec<_>>().join(", ");
                Self { entry, who: "the log".into(), act: "voters are", about, verified: None }
            }
            Act::Level(level) => {
                let about = format!("level {level}");
                Self { entry, who: "the log".into(), act: "raised to", about, verified: None }
            }
            Act::Rebuilt(incarnation) => {
                let about = format!("incarnation {incarnation}");
                Self { entry, who: "root".into(), act: "cluster rebuilt", about, verified: None }
            }
        }
    }

    fn json(&self) -> Value {
        let mut object = json!({
            "number": self.entry.number,
            "at_ms": self.entry.at.0,
            "who": self.who,
            "act": self.act,
            "about": self.about,
        });
        if let Act::Signed { author, version, hash, .. } = &self.entry.act {
            object["key"] = author.to_string().into();
            object["version"] = (*version).into();
            object["hash"] = hash.to_string().into();
            object["verified"] = self.verified.into();
        }
        object
    }

    fn row(&self) -> Vec<String> {
        let doubt = if self.verified == Some(false) { " (the signature is false)" } else { "" };
        vec![
            human::time(self.entry.at),
            text::safe(&self.who).into_owned(),
            self.act.to_owned(),
            format!("{}{doubt}", text::safe(&self.about)),
        ]
    }
}

fn described(record: &Record) -> (&'static str, String) {
    let first = record.version() == 1;
    let because = |reason: &str| if reason.is_empty() { String::new() } else { format!(": {reason}") };
    match record.payload() {
        Payload::Keyset(keyset) => {
            let admins: Vec<&str> = keyset.admins.iter().map(|admin| admin.name.as_str()).collect();
            let nodes: Vec<&str> = keyset.orchestrators.iter().map(|node| node.name.as_str()).collect();
            let about = format!(
                "keyset {}: admins {}; orchestrators {}",
                record.version(),
                admins.join(", "),
                nodes.join(", ")
            );
            ("keyset signed", about)
        }
        Payload::Domain(domain) => (if first { "domain made" } else { "domain changed" }, domain.name.clone()),
        Payload::Storage(storage) => (
            if first { "storage added" } else { "storage changed" },
            format!("{} ({})", storage.name, storage.endpoint),
        ),
        Payload::Secret(_) => subject_only(&record.subject()),
        Payload::Token(terms) => {
            let what = format!(
                "{} ({}), for {}",
                terms.name,
                terms.token.short(),
                human::counted(terms.uses.into(), "client")
            );
            (if first { "token made" } else { "token changed" }, what)
        }
        Payload::TokenRevocation(ended) => ("token revoked", format!("{}{}", ended.id.short(), because(&ended.reason))),
        Payload::ClientRevocation(ended) => {
            ("client revoked", format!("{}{}", ended.id.short(), because(&ended.reason)))
        }
    }
}

/// What can be said of a record that is not kept, or whose content is sealed.
fn subject_only(subject: &Subject) -> (&'static str, String) {
    match subject {
        Subject::Keyset => ("keyset signed", String::new()),
        Subject::Domain(id) => ("domain signed", id.short()),
        Subject::Storage(id) => ("storage signed", id.short()),
        Subject::Secret(protocol::records::SecretId::StorageMinting(id)) => ("credential given", id.short()),
        Subject::Secret(protocol::records::SecretId::DomainIndex(id)) => ("index key given", id.short()),
        Subject::Token(id) => ("token signed", id.short()),
        Subject::TokenRevocation(id) => ("token revoked", id.short()),
        Subject::ClientRevocation(id) => ("client revoked", id.short()),
    }
}

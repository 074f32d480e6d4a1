//! Storages: adding, checking and listing them.

mod add;
mod check;
mod credential;

use protocol::records::{Payload, Record, Storage};
use serde_json::{Value, json};

pub use self::{
    add::{NewStorage, add},
    check::check,
    credential::{read_authorities, read_credential, read_place},
};
use super::{args::HomeArgs, human, output::Output, session::OperatorSession, trouble::Trouble};

/// The storages of the cluster.
pub async fn storages(session: &OperatorSession) -> Result<Vec<Storage>, Trouble> {
    let records = session.operator.records(Vec::new()).await?;
    let storage = |record: &Record| match record.payload() {
        Payload::Storage(storage) => Some(storage.clone()),
        _ => None,
    };
    Ok(records.iter().filter_map(storage).collect())
}

/// `storage list`.
pub async fn list(home: &HomeArgs, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&home.path()?).await?;
    let found = storages(&session).await;
    let found = session.close(found).await?;
    output.result(json!({ "storages": found.iter().map(object).collect::<Vec<_>>() }), || {
        if found.is_empty() {
            return "No storage yet: nuthatch storage add".into();
        }
        let mut rows = vec![["NAME", "ENDPOINT", "BUCKET", "PREFIX", "REPOSITORY"].map(String::from).to_vec()];
        rows.extend(found.iter().map(row));
        human::columns(&rows, &[])
    });
    Ok(())
}

fn object(storage: &Storage) -> Value {
    json!({
        "name": storage.name,
        "repository": storage.repository.to_string(),
        "endpoint": storage.endpoint,
        "region": storage.region,
        "bucket": storage.bucket,
        "prefix": storage.prefix,
        "virtual_host": storage.virtual_host,
        "authorities": storage.authorities.len(),
    })
}

fn row(storage: &Storage) -> Vec<String> {
    vec![
        storage.name.clone(),
        storage.endpoint.clone(),
        storage.bucket.clone(),
        storage.prefix.clone(),
        storage.repository.short(),
    ]
}

//! Adding storages.

use std::path::Path;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use env::{Steward, store::StoreError};
use protocol::{
    ids::RepositoryId,
    records::{Payload, Record, Storage, StorageCredential},
};
use serde_json::json;

use super::{
    args::{HomeArgs, StorageAdd},
    human, input,
    output::Output,
    session::OperatorSession,
    trouble::Trouble,
};

/// A storage that is to be added.
pub struct NewStorage {
    /// Where it is. Its repository id is set here.
    pub storage: Storage,
    /// What opens it.
    pub credential: StorageCredential,
    /// Whether a repository that is there already is used.
    pub adopt: bool,
}

/// What a credential was found to be able to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Powers {
    /// Whether the storage refuses to overwrite when it is told to.
    pub overwrite_refused: bool,
    /// Whether the credential may delete.
    pub may_delete: bool,
}

impl Powers {
    /// What a person should know, with its consequence.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if !self.overwrite_refused {
            warnings.push("The storage ignores If-None-Match: an object can be written twice. Names commit to their bytes, so no backup is at risk.");
        }
        if self.may_delete {
            warnings.push("The credential may delete: whoever steals it from an orchestrator could destroy this repository. Give one that may only put, get and list, if the storage can.");
        }
        warnings
    }
}

impl NewStorage {
    /// Tries the credential, and adds the storage.
    pub async fn add(mut self, session: &OperatorSession) -> Result<(Storage, Powers), Trouble> {
        let _guard = session.home.lock()?;
        let known = storages(session).await?;
        let env = session.env();
        self.storage.repository = RepositoryId(env.rng.array());
        let steward = env.storages.steward(&self.storage, &self.credential)?;
        let powers = probe(&*steward, env.rng.array()).await.map_err(|trouble| refused(trouble, &self.storage))?;
        let wanted = self.storage.repository;
        if let Some(same) = known.iter().find(|known| known.name == self.storage.name) {
            // The same again, to renew its credential, is fine.
            let here = (&same.endpoint, &same.bucket, &same.prefix)
                == (&self.storage.endpoint, &self.storage.bucket, &self.storage.prefix);
            if !(here && self.adopt) {
                return Err(Trouble::invalid(format!("there is a storage {:?} already", same.name))
                    .hint("Choose another name; or, to renew its credential, give the same address and --adopt."));
            }
        }
        let added = session.operator.add_storage(self.storage, &self.credential, self.adopt).await?;
        tracing::debug!(adopted = added.repository != wanted, "added a storage");
        Ok((added, powers))
    }
}

fn refused(trouble: Trouble, storage: &Storage) -> Trouble {
    let place = format!("{} bucket {}", storage.endpoint, storage.bucket);
    Trouble { message: format!("{place}: {}", trouble.message), ..trouble }
        .hint("Check that the endpoint, bucket and region are right, and that the credential may put, get and list there. Nothing was added.")
}

/// Writes, looks at, reads, lists and deletes a small object.
async fn probe(steward: &dyn Steward, random: [u8; 16]) -> Result<Powers, Trouble> {
    let name = HEXLOWER.encode(&random);
    let path = format!("cluster/probe/{name}");
    let body = Bytes::from(format!("nuthatch tries whether it can write here: {name}\n"));
    steward.put_new(&path, body.clone()).await?;
    let wrong = |what: &str| Trouble::new("denied", format!("the storage does not keep what it is given: {what}"));
    if steward.head(&path).await? != body.len() as u64 {
        return Err(wrong("an object has another length than was written"));
    }
    if steward.get(&path, body.len()).await? != body {
        return Err(wrong("an object has other bytes than were written"));
    }
    if !steward.list("cluster/probe").await?.iter().any(|(listed, _)| *listed == path) {
        return Err(wrong("an object that was written is not listed"));
    }
    let overwrite_refused = matches!(steward.put_new(&path, body).await, Err(StoreError::Exists { .. }));
    let may_delete = match steward.delete(&path).await {
        Ok(()) => matches!(steward.head(&path).await, Err(StoreError::NotFound { .. })),
        Err(StoreError::Refused { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(Powers { overwrite_refused, may_delete })
}

/// The storages of the cluster.
pub async fn storages(session: &OperatorSession) -> Result<Vec<Storage>, Trouble> {
    let records = session.operator.records(Vec::new()).await?;
    let storage = |record: &Record| match record.payload() {
        Payload::Storage(storage) => Some(storage.clone()),
        _ => None,
    };
    Ok(records.iter().filter_map(storage).collect())
}

/// `storage add`.
pub async fn add(args: StorageAdd, output: Output) -> Result<(), Trouble> {
    let new = NewStorage {
        credential: credential(&args)?,
        adopt: args.adopt,
        storage: Storage {
            repository: RepositoryId([0; 16]),
            name: args.name,
            endpoint: args.endpoint,
            region: args.region,
            bucket: args.bucket,
            prefix: args.prefix.trim_matches('/').into(),
            virtual_host: args.virtual_host,
        },
    };
    let session = OperatorSession::open(&args.home.path()?).await?;
    let added = new.add(&session).await;
    let (storage, powers) = session.close(added).await?;
    let warnings = powers.warnings();
    let object = json!({
        "name": storage.name,
        "repository": storage.repository.to_string(),
        "overwrite_refused": powers.overwrite_refused,
        "may_delete": powers.may_delete,
        "warnings": warnings,
    });
    output.result(object, || {
        format!(
            "Added the storage {:?}: repository {}.\nNext: nuthatch domain create NAME --storage {}",
            storage.name, storage.repository, storage.name
        )
    });
    for warning in warnings {
        output.note(&format!("Note: {warning}"));
    }
    Ok(())
}

fn credential(args: &StorageAdd) -> Result<StorageCredential, Trouble> {
    if let Some(path) = &args.credentials_file {
        return both(path);
    }
    let (Some(access), Some(secret)) = (&args.access_key_file, &args.secret_key_file) else {
        return Err(Trouble::usage(
            "the credential is missing: give --access-key-file and --secret-key-file, or --credentials-file",
        ));
    };
    Ok(StorageCredential {
        access_key: input::read_secret(access)?.to_string(),
        secret_key: input::read_secret(secret)?.to_string(),
    })
}

/// Reads the file of the AWS tools: the first profile that has both.
fn both(path: &Path) -> Result<StorageCredential, Trouble> {
    let text = input::read_file(path)?;
    let value = |key: &str| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    };
    match (value("aws_access_key_id"), value("aws_secret_access_key")) {
        (Some(access_key), Some(secret_key)) => Ok(StorageCredential { access_key, secret_key }),
        _ => Err(Trouble::invalid(format!(
            "{} does not hold a credential: expected lines aws_access_key_id = ... and aws_secret_access_key = ...",
            path.display()
        ))),
    }
}

/// `storage list`.
pub async fn list(home: &HomeArgs, output: Output) -> Result<(), Trouble> {
    let session = OperatorSession::open(&home.path()?).await?;
    let found = storages(&session).await;
    let found = session.close(found).await?;
    let object = |storage: &Storage| {
        json!({
            "name": storage.name,
            "repository": storage.repository.to_string(),
            "endpoint": storage.endpoint,
            "region": storage.region,
            "bucket": storage.bucket,
            "prefix": storage.prefix,
            "virtual_host": storage.virtual_host,
        })
    };
    output.result(json!({ "storages": found.iter().map(object).collect::<Vec<_>>() }), || {
        if found.is_empty() {
            return "No storage yet: nuthatch storage add".into();
        }
        let mut rows = vec![["NAME", "ENDPOINT", "BUCKET", "PREFIX", "REPOSITORY"].map(String::from).to_vec()];
        rows.extend(found.iter().map(|storage| {
            vec![
                storage.name.clone(),
                storage.endpoint.clone(),
                storage.bucket.clone(),
                storage.prefix.clone(),
                storage.repository.short(),
            ]
        }));
        human::columns(&rows, &[])
    });
    Ok(())
}

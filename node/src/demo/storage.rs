//! The demo's storage: its own, or one that a person named.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use env::{Rng, Storages as _, store::StoreError};
use protocol::{
    ids::RepositoryId,
    records::{Storage, StorageCredential},
};

use crate::{
    cli::{DemoStorage, Trouble, read_authorities, read_credential},
    env::{OsRandom, SystemClock, ThreadPool},
    store::S3Storages,
};

/// Where the demo's storage is, and what opens it.
#[derive(Clone)]
pub struct StorageAccess {
    /// Where.
    pub storage: Storage,
    /// Its credential.
    pub credential: StorageCredential,
}

impl StorageAccess {
    /// The S3 that a person named, if they did: a part of it that nobody has used.
    pub fn named(args: &DemoStorage) -> Result<Option<Self>, Trouble> {
        let (Some(endpoint), Some(bucket)) = (&args.s3, &args.bucket) else { return Ok(None) };
        let storage = Storage {
            region: args.region.clone(),
            virtual_host: args.virtual_host,
            authorities: args.ca_file.as_deref().map(read_authorities).transpose()?.unwrap_or_default(),
            ..storage(endpoint.clone(), bucket, format!("nuthatch-demo-{}", random(16)))
        };
        Ok(Some(Self { storage, credential: read_credential(&args.credential)? }))
    }

    /// Deletes what the demo stored, as far as the credential may. The error says what stays.
    pub async fn clear(&self) -> Result<(), Trouble> {
        let pool =
            ThreadPool::new().map_err(|error| Trouble::new("internal", format!("cannot start threads: {error}")))?;
        let storages = S3Storages::new(Arc::new(SystemClock::new()), Arc::new(pool));
        let clear = async {
            let steward = storages.steward(&self.storage, &self.credential)?;
            for (path, _) in steward.list("").await? {
                steward.delete(&path).await?;
            }
            Ok(())
        };
        clear.await.map_err(|error: StoreError| {
            let Storage { bucket, prefix, .. } = &self.storage;
            let stays = format!("what the demo stored stays, below {prefix}/ in the bucket {bucket}");
            Trouble::new("denied", format!("{stays}: {error}")).hint("Delete it with a key that may.")
        })
    }
}

/// A storage of the demo.
pub fn storage(endpoint: String, bucket: &str, prefix: String) -> Storage {
    Storage {
        repository: RepositoryId([0; 16]),
        name: "demo".into(),
        endpoint,
        region: "us-east-1".into(),
        bucket: bucket.into(),
        prefix,
        virtual_host: false,
        authorities: Vec::new(),
    }
}

/// Up to 64 digits that nobody guesses.
pub fn random(len: usize) -> String {
    HEXLOWER.encode(&(&OsRandom as &dyn Rng).array::<32>())[..len].to_owned()
}

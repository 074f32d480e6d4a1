//! The orchestrator's half of one storage: holds the credential, mints tickets,
//! lists, looks and deletes.

use std::{sync::Arc, time::Duration};

use ::env::{Blocking, Carrier as _, Clock, Steward, run_blocking, store::StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use protocol::{
    ids::Sha256,
    limits::STORE_STALL_SECS_MAX,
    records::StorageCredential,
    time::UnixMillis,
    wire::{PutTicket, ReadTicket},
};
use s3::AsyncTlsRootStore;
use sha2::Digest as _;

use super::{
    answer::failure_of,
    carrier::S3Carrier,
    minter::Minter,
    place::{Place, invalid},
};

/// Objects asked for on one page of a listing: what every S3 grants.
const PAGE_KEYS: u32 = 1000;

/// The orchestrator's half of one storage.
pub struct S3Steward {
    place: Arc<Place>,
    minter: Minter,
    carrier: S3Carrier,
    s3: s3::Client,
    clock: Arc<dyn Clock>,
    blocking: Arc<dyn Blocking>,
}

impl S3Steward {
    /// Connects when there is something to ask.
    pub fn new(
        place: Arc<Place>,
        credential: &StorageCredential,
        clock: Arc<dyn Clock>,
        blocking: Arc<dyn Blocking>,
    ) -> Result<Self, StoreError> {
        let s3 = match place.tls {
            true => client(&place, credential, AsyncTlsRootStore::System)
                .or_else(|_| client(&place, credential, AsyncTlsRootStore::WebPki)),
            false => client(&place, credential, AsyncTlsRootStore::WebPki),
        };
        let s3 = s3?;
        let carrier = S3Carrier::new(place.clone(), clock.clone())?;
        let minter = Minter::new(place.clone(), credential);
        Ok(Self { place, minter, carrier, s3, clock, blocking })
    }
}

fn client(place: &Place, credential: &StorageCredential, roots: AsyncTlsRootStore) -> Result<s3::Client, StoreError> {
    let fail = |error: s3::Error| failure_of(&place.endpoint, &error);
    let style = if place.virtual_host { s3::AddressingStyle::VirtualHosted } else { s3::AddressingStyle::Path };
    let key = s3::Credentials::new(&*credential.access_key, &*credential.secret_key).map_err(fail)?;
    s3::Client::builder(&place.endpoint)
        .map_err(fail)?
        .region(&*place.region)
        .auth(s3::Auth::Static(key))
        .addressing_style(style)
        .user_agent("nuthatch")
        .timeout(Duration::from_secs(STORE_STALL_SECS_MAX))
        // Retries are the caller's business: it knows what else it could do.
        .max_attempts(1)
        .tls_root_store(roots)
        .build()
        .map_err(fail)
}

#[async_trait]
impl Steward for S3Steward {
    fn mint_put(&self, path: &str, len: u64, hash: &Sha256, now: UnixMillis) -> Result<PutTicket, StoreError> {
        self.minter.put(path, len, hash, now)
    }

    fn mint_get(&self, path: &str, now: UnixMillis) -> Result<ReadTicket, StoreError> {
        self.minter.get(path, now)
    }

    async fn head(&self, path: &str) -> Result<u64, StoreError> {
        let key = self.place.key(path)?;
        let head = self.s3.objects().head(&*self.place.bucket, key).send().await;
        let head = head.map_err(|error| failure_of(path, &error))?;
        head.content_length
            .ok_or_else(|| StoreError::Unclear { what: path.to_string(), reason: "the answer names no length".into() })
    }

    async fn get(&self, path: &str, len_max: usize) -> Result<Bytes, StoreError> {
        self.carrier.read(&self.minter.get(path, self.clock.now())?, None, len_max).await
    }

    async fn put_new(&self, path: &str, body: Bytes) -> Result<(), StoreError> {
        // By a ticket of its own: the s3 crate's put cannot say that nothing may exist there.
        let hashed = body.clone();
        let hash = run_blocking(&*self.blocking, move || Sha256(sha2::Sha256::digest(&hashed).into())).await;
        let ticket = self.minter.put(path, body.len() as u64, &hash, self.clock.now())?;
        self.carrier.put(&ticket, body).await
    }

    async fn list(&self, path: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let prefix = match path.trim_end_matches('/') {
            "" => self.place.key_prefix.clone(),
            path => format!("{}/", self.place.key(path)?),
        };
        let what = format!("the listing of {prefix:?}");
        let mut pages = self.s3.objects().list_v2(&*self.place.bucket).prefix(&*prefix).max_keys(PAGE_KEYS).pager();
        let mut found: Vec<(String, u64)> = Vec::new();
        while let Some(page) = pages.next_page().await.map_err(|error| failure_of(&what, &error))? {
            let more = page.is_truncated;
            let before = found.len();
            for object in page.contents {
                let Some(name) =
                    object.key.strip_prefix(&self.place.key_prefix).filter(|_| object.key.starts_with(&prefix))
                else {
                    return invalid(format!("asked for objects below {prefix:?}, the storage lists {:?}", object.key));
                };
                // Each page goes on where the last one ended, so this loop ends.
                if found.last().is_some_and(|(last, _)| last.as_str() >= name) {
                    return unordered(what);
                }
                found.push((name.to_string(), object.size));
            }
            if more && found.len() == before {
                return unordered(what);
            }
        }
        Ok(found)
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let key = self.place.key(path)?;
        match self.s3.objects().delete(&*self.place.bucket, key).send().await.map_err(|error| failure_of(path, &error))
        {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn unordered<T>(what: String) -> Result<T, StoreError> {
    Err(StoreError::Unclear { what, reason: "its pages do not go on in order".into() })
}

//! The orchestrator's half of one storage: holds the credential, mints tickets,
//! lists, looks and deletes.
//!
//! Requests of its own are pre-signed by the `s3` crate and sent like everything
//! else, since that crate's own sender knows no storage's own authorities.

use std::{ops::Range, sync::Arc, time::Duration};

use ::env::{Blocking, Carrier as _, Clock, Steward, run_blocking, store::StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use hyper::Method;
use protocol::{
    ids::Sha256,
    limits::{OBJECT_BYTES_MAX, PUT_TICKET_SECS, STORE_LIST_BYTES_MAX},
    records::StorageCredential,
    time::UnixMillis,
    wire::{PutTicket, ReadTicket},
};
use reqx::ResponseStream;
use sha2::Digest as _;

use super::{
    answer::{failure_in, failure_of},
    body::{body_of, error_of},
    carrier::S3Carrier,
    line::Line,
    listing::{Page, page},
    minter::Minter,
    place::{Place, invalid},
};

/// Objects asked for on one page of a listing: what every S3 grants.
const PAGE_KEYS: u32 = 1000;
/// How long a request of one's own is good for: as far as clocks may be apart.
const OWN_REQUEST: Duration = Duration::from_secs(PUT_TICKET_SECS);

/// The orchestrator's half of one storage.
pub struct S3Steward {
    pub(super) line: Arc<Line>,
    pub(super) minter: Minter,
    pub(super) carrier: S3Carrier,
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
        let s3 = signer(&place, credential)?;
        let line = Arc::new(Line::new(place.clone(), clock.clone())?);
        let minter = Minter::new(place, credential)?;
        Ok(Self { carrier: S3Carrier(line.clone()), line, minter, s3, clock, blocking })
    }

    /// Makes one request of a key, or with an empty one of the bucket itself. The
    /// answer has at most `len` bytes.
    pub(super) async fn ask(
        &self,
        what: &str,
        method: Method,
        key: &str,
        query: &[(&str, &str)],
        len: u64,
    ) -> Result<ResponseStream, StoreError> {
        let url = self.presigned(what, &method, key, query)?;
        self.line.send(what, self.line.http.request(method, url), len).await
    }

    /// Writes over an object, if the credential may; whether it may.
    pub(super) async fn overwrite(&self, path: &str, body: Bytes) -> bool {
        let send = async {
            let url = self.presigned(path, &Method::PUT, &self.line.place.key(path)?, &[])?;
            self.line.send(path, self.line.http.put(url).body(body), 0).await
        };
        send.await.is_ok_and(|answer| answer.status().is_success())
    }

    fn presigned(&self, what: &str, method: &Method, key: &str, query: &[(&str, &str)]) -> Result<String, StoreError> {
        let request = self.s3.objects().presign(method.clone(), &*self.line.place.bucket, key).expires_in(OWN_REQUEST);
        let request = query.iter().fold(request, |request, (name, value)| request.query_param(*name, *value));
        Ok(request.build().map_err(|error| failure_of(what, &error))?.url.to_string())
    }

    /// The answer, if it is a success.
    async fn well(&self, what: &str, response: ResponseStream) -> Result<ResponseStream, StoreError> {
        match response.status() {
            status if status.is_success() => Ok(response),
            status => Err(failure_in(what, status.as_u16(), &error_of(&self.line, what, response).await)),
        }
    }

    async fn page(&self, what: &str, prefix: &str, token: Option<&str>) -> Result<Page, StoreError> {
        let max_keys = PAGE_KEYS.to_string();
        let mut query = vec![("list-type", "2"), ("max-keys", &max_keys), ("prefix", prefix)];
        query.extend(token.map(|token| ("continuation-token", token)));
        let response = self.ask(what, Method::GET, "", &query, STORE_LIST_BYTES_MAX as u64).await?;
        let body = body_of(&self.line, what, self.well(what, response).await?, STORE_LIST_BYTES_MAX).await?;
        page(&body).map_err(|reason| StoreError::Unclear {
            what: what.into(),
            reason: format!("its page cannot be read: {reason}"),
        })
    }
}

/// What signs requests for this storage.
fn signer(place: &Place, credential: &StorageCredential) -> Result<s3::Client, StoreError> {
    let unusable = |error: s3::Error| failure_of(&place.endpoint, &error);
    let style = if place.virtual_host { s3::AddressingStyle::VirtualHosted } else { s3::AddressingStyle::Path };
    let mut key = s3::Credentials::new(&*credential.access_key, &*credential.secret_key).map_err(unusable)?;
    if let Some(token) = &credential.session_token {
        key = key.with_session_token(token).map_err(unusable)?;
    }
    s3::Client::builder(&place.endpoint)
        .map_err(unusable)?
        .region(&*place.region)
        .auth(s3::Auth::Static(key))
        .addressing_style(style)
        .build()
        .map_err(unusable)
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
        let response = self.ask(path, Method::HEAD, &self.line.place.key(path)?, &[], 0).await?;
        let response = self.well(path, response).await?;
        let len = response.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
        len.ok_or_else(|| StoreError::Unclear { what: path.into(), reason: "the answer names no length".into() })
    }

    async fn get(&self, path: &str, len_max: usize) -> Result<Bytes, StoreError> {
        self.carrier.read(&self.minter.get(path, self.clock.now())?, None, len_max).await
    }

    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.carrier.read(&self.minter.get(path, self.clock.now())?, Some(range), OBJECT_BYTES_MAX).await
    }

    async fn put_new(&self, path: &str, body: Bytes) -> Result<(), StoreError> {
        // By a ticket of its own: the s3 crate's put cannot say that nothing may exist there.
        let hashed = body.clone();
        let hash = run_blocking(&*self.blocking, move || Sha256(sha2::Sha256::digest(&hashed).into())).await;
        let ticket = self.minter.put(path, body.len() as u64, &hash, self.clock.now())?;
        self.carrier.put(&ticket, body).await
    }

    async fn list(&self, path: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let place = &self.line.place;
        let prefix = match path.trim_end_matches('/') {
            "" => place.key_prefix.clone(),
            path => format!("{}/", place.key(path)?),
        };
        let what = format!("the listing of {prefix:?}");
        let mut found: Vec<(String, u64)> = Vec::new();
        let mut token = None;
        loop {
            let page = self.page(&what, &prefix, token.as_deref()).await?;
            let before = found.len();
            for object in page.contents {
                let Some(name) = object.key.strip_prefix(&place.key_prefix).filter(|_| object.key.starts_with(&prefix))
                else {
                    return invalid(format!("asked for objects below {prefix:?}, the storage lists {:?}", object.key));
                };
                // Each page goes on where the last one ended, so this loop ends.
                if found.last().is_some_and(|(last, _)| last.as_str() >= name) {
                    return unordered(what);
                }
                found.push((name.to_string(), object.size));
            }
            match (page.is_truncated, page.next_continuation_token) {
                (false, _) => return Ok(found),
                (true, Some(next)) if found.len() > before => token = Some(next),
                (true, _) => return unordered(what),
            }
        }
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        let response = self.ask(path, Method::DELETE, &self.line.place.key(path)?, &[], 0).await?;
        match self.well(path, response).await {
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn unordered<T>(what: String) -> Result<T, StoreError> {
    Err(StoreError::Unclear { what, reason: "its pages do not go on in order".into() })
}

//! One storage as this process reaches it: one HTTP client for whatever is asked.
//!
//! Invariant: one request is one attempt, answered or given up within a time that
//! follows from its length; redirects are not followed; and over TLS only the
//! storage's own authorities are believed, if it has any.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use ::env::{Clock, store::StoreError};
use futures_util::future::{Either, select};
use protocol::limits::{STORE_BYTES_PER_SEC_MIN, STORE_STALL_SECS_MAX};
use reqx::{
    RequestBuilder, ResponseStream, TlsRootStore,
    prelude::{Client, RedirectPolicy, RetryPolicy, StatusPolicy},
};

use super::{
    answer::unclear,
    distrust,
    place::{Place, invalid},
};

/// How long an unused connection is kept: shorter than servers keep theirs, so
/// that a request seldom meets one that is being closed.
const IDLE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for a byte.
const STALL: Duration = Duration::from_secs(STORE_STALL_SECS_MAX);

/// The way to one storage.
pub struct Line {
    /// Where it is.
    pub place: Arc<Place>,
    /// What requests are made of.
    pub http: Client,
    clock: Arc<dyn Clock>,
}

impl Line {
    /// Connects when there is something to send.
    pub fn new(place: Arc<Place>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let http = match place.tls && place.authorities.is_empty() {
            // The machine's own roots know a company's CA. A machine without any
            // gets those of Mozilla.
            true => client(&place, TlsRootStore::System).or_else(|_| client(&place, TlsRootStore::WebPki)),
            false if place.tls => client(&place, TlsRootStore::Specific),
            false => client(&place, TlsRootStore::WebPki),
        };
        match http {
            Ok(http) => Ok(Self { place, http, clock }),
            Err(error) => invalid(format!("no connection to {} can be prepared: {error}", place.endpoint)),
        }
    }

    /// Sends a request that has no body worth watching and whose answer has at most `len` bytes.
    pub async fn send(&self, what: &str, request: RequestBuilder<'_>, len: u64) -> Result<ResponseStream, StoreError> {
        let request = request.timeout(time_for(len)).total_timeout(time_for(len));
        self.soon(what, request.send_response_stream()).await?.map_err(|error| self.broken(what, &error))
    }

    /// What comes of waiting for a byte, unless that takes too long.
    pub async fn soon<T>(&self, what: &str, wait: impl Future<Output = T>) -> Result<T, StoreError> {
        match select(pin!(wait), self.clock.sleep(STALL)).await {
            Either::Left((done, _)) => Ok(done),
            Either::Right(_) => Err(silent(what)),
        }
    }

    /// What it means that a request got no answer.
    pub fn broken(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> StoreError {
        match distrust::reason(&self.place, error) {
            Some(reason) => StoreError::Invalid { reason },
            None => unclear(what, error),
        }
    }

    /// Returns when `progress` has not moved for `STALL`.
    pub async fn stalled(&self, progress: &AtomicUsize) {
        let mut seen = progress.load(Relaxed);
        loop {
            self.clock.sleep(STALL).await;
            let now = progress.load(Relaxed);
            if now == seen {
                return;
            }
            seen = now;
        }
    }
}

/// Nothing came for too long.
pub fn silent(what: &str) -> StoreError {
    let reason = format!("nothing moved for {STORE_STALL_SECS_MAX} seconds");
    StoreError::Unclear { what: what.to_string(), reason }
}

fn client(place: &Place, roots: TlsRootStore) -> reqx::Result<Client> {
    let builder = Client::builder(&place.origin)
        .client_name("nuthatch")
        // After a broken PUT the caller looks before it tries again.
        .retry_policy(RetryPolicy::disabled())
        .redirect_policy(RedirectPolicy::none())
        .default_status_policy(StatusPolicy::Response)
        .auto_accept_encoding(false)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tls_root_store(roots);
    place.authorities.iter().fold(builder, |builder, authority| builder.tls_root_ca_der(authority.clone())).build()
}

/// How long a transfer of this many bytes may take in all.
pub fn time_for(len: u64) -> Duration {
    STALL + Duration::from_secs(len / STORE_BYTES_PER_SEC_MIN)
}

//! Carries objects to and from a storage, by ticket.
//!
//! Invariant: nothing is sent that the ticket did not sign, and nothing goes
//! anywhere but to the repository that this carrier is for. One call is one
//! attempt; it ends when no byte has moved for a while.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use ::env::{Carrier, Clock, store::StoreError};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{
    future::{Either, select},
    stream,
};
use protocol::{
    limits::{OBJECT_BYTES_MAX, STORE_BYTES_PER_SEC_MIN, STORE_ERROR_BYTES_MAX, STORE_STALL_SECS_MAX},
    wire::{PutTicket, ReadTicket},
};
use reqx::{
    ResponseStream, TlsRootStore,
    prelude::{Client, RedirectPolicy, RetryPolicy, StatusPolicy},
};
use tokio::io::AsyncReadExt as _;

use super::{
    answer::{failure_in, unclear},
    place::{Place, invalid},
};

/// How much of a body is handed to the connection at once: what a stall is told by.
const SLICE_BYTES: usize = 256 << 10;
/// How long an unused connection is kept: shorter than servers keep theirs, so
/// that a request seldom meets one that is being closed.
const IDLE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(STORE_STALL_SECS_MAX);

/// The client's half of one storage.
pub struct S3Carrier {
    place: Arc<Place>,
    http: Client,
    clock: Arc<dyn Clock>,
}

impl S3Carrier {
    /// Connects when there is something to carry.
    pub fn new(place: Arc<Place>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let http = match place.tls {
            // The machine's own roots know a company's CA. A machine without any
            // gets those of Mozilla.
            true => client(&place, TlsRootStore::System).or_else(|_| client(&place, TlsRootStore::WebPki)),
            false => client(&place, TlsRootStore::WebPki),
        };
        match http {
            Ok(http) => Ok(Self { place, http, clock }),
            Err(error) => invalid(format!("no connection to {} can be prepared: {error}", place.endpoint)),
        }
    }

    /// Reads an object, or a range of it; refuses more than `len_max` bytes.
    pub async fn read(
        &self,
        ticket: &ReadTicket,
        range: Option<Range<u64>>,
        len_max: usize,
    ) -> Result<Bytes, StoreError> {
        let what = self.check_read(ticket)?;
        let wanted = range.as_ref().map_or(len_max as u64, |range| range.end.saturating_sub(range.start));
        let mut request = self
            .http
            .get(ticket.url.clone())
            // Of each wait for a byte.
            .timeout(STALL)
            .total_timeout(time_for(wanted));
        if let Some(range) = &range {
            if range.start >= range.end {
                return Ok(Bytes::new());
            }
            let value = format!("bytes={}-{}", range.start, range.end - 1);
            request = request.try_header("range", &value).map_err(|error| unclear(what, &error))?;
        }
        let response = request.send_response_stream().await.map_err(|error| unclear(what, &error))?;
        match (response.status().as_u16(), range) {
            (200, None) => body_of(what, response, len_max).await,
            // A server may ignore the range and send all.
            (200, Some(range)) => Ok(cut(body_of(what, response, OBJECT_BYTES_MAX).await?, &range)),
            (206, Some(range)) => part_of(what, response, &range, len_max).await,
            (416, Some(_)) => Ok(Bytes::new()),
            (status, _) => Err(failure_in(what, status, &error_of(response).await)),
        }
    }

    /// The path that a ticket is for, if it may be used here.
    fn check_put<'a>(&self, ticket: &'a PutTicket, body: &Bytes) -> Result<&'a str, StoreError> {
        let Some(what) = self.place.path_of(&ticket.path) else {
            return invalid(format!("the ticket for {:?} is not for this repository", ticket.path));
        };
        let header =
            |name: &str| ticket.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let signed: Vec<&str> = header("authorization")
            .and_then(|value| value.split_once("SignedHeaders="))
            .and_then(|(_, rest)| rest.split(',').next())
            .map(|names| names.split(';').collect())
            .unwrap_or_default();
        if let Some((name, _)) =
            ticket.headers.iter().find(|(name, _)| name != "authorization" && !signed.contains(&name.as_str()))
        {
            return invalid(format!("the ticket for {what} does not sign its header {name}"));
        }
        if body.is_empty() || body.len() as u64 != ticket.len {
            return invalid(format!("{what} has {} bytes, but its ticket is for {}", body.len(), ticket.len));
        }
        let required = [
            ("host", self.place.host.clone()),
            ("content-length", ticket.len.to_string()),
            ("x-amz-content-sha256", ticket.hash.to_string()),
            ("if-none-match", "*".into()),
        ];
        match required.iter().find(|(name, value)| header(name) != Some(value)) {
            Some((name, _)) => invalid(format!("the ticket for {what} has no fitting header {name}")),
            None => Ok(what),
        }
    }

    fn check_read<'a>(&self, ticket: &'a ReadTicket) -> Result<&'a str, StoreError> {
        let path = ticket.url.strip_prefix(&self.place.origin).and_then(|rest| rest.split('?').next());
        match path.and_then(|path| self.place.path_of(path)) {
            Some(what) => Ok(what),
            // The query is a signature: it does not belong into a message.
            None => invalid(format!(
                "the ticket for {} is not for this repository",
                ticket.url.split('?').next().unwrap_or("")
            )),
        }
    }

    /// Returns when `progress` has not moved for `STALL`.
    async fn stalled(&self, progress: &AtomicUsize) {
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

#[async_trait]
impl Carrier for S3Carrier {
    async fn put(&self, ticket: &PutTicket, body: Bytes) -> Result<(), StoreError> {
        let what = self.check_put(ticket, &body)?;
        let time = time_for(ticket.len);
        let mut request = self
            .http
            .put(ticket.path.clone())
            .timeout(time)
            .total_timeout(time)
            .max_response_body_bytes(STORE_ERROR_BYTES_MAX);
        for (name, value) in &ticket.headers {
            request = request.try_header(name, value).map_err(|error| StoreError::Invalid {
                reason: format!("the ticket for {what} is damaged: {error}"),
            })?;
        }
        let sent = Arc::new(AtomicUsize::new(0));
        let send = request.body_stream(slices(body, sent.clone())).send_response();
        let response = match select(Box::pin(send), Box::pin(self.stalled(&sent))).await {
            Either::Left((response, _)) => response.map_err(|error| unclear(what, &error))?,
            Either::Right(_) => {
                let reason = format!("nothing moved for {STORE_STALL_SECS_MAX} seconds");
                return Err(StoreError::Unclear { what: what.to_string(), reason });
            }
        };
        match response.status() {
            status if status.is_success() => Ok(()),
            status => Err(failure_in(what, status.as_u16(), response.body())),
        }
    }

    async fn get(&self, ticket: &ReadTicket, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        self.read(ticket, range, OBJECT_BYTES_MAX).await
    }
}

fn client(place: &Place, roots: TlsRootStore) -> reqx::Result<Client> {
    Client::builder(&place.origin)
        .client_name("nuthatch")
        // After a broken PUT the caller looks before it tries again.
        .retry_policy(RetryPolicy::disabled())
        .redirect_policy(RedirectPolicy::none())
        .default_status_policy(StatusPolicy::Response)
        .auto_accept_encoding(false)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tls_root_store(roots)
        .build()
}

/// How long a transfer of this many bytes may take in all.
fn time_for(len: u64) -> Duration {
    STALL + Duration::from_secs(len / STORE_BYTES_PER_SEC_MIN)
}

/// The body in slices that share its memory, counting what was taken.
fn slices(body: Bytes, taken: Arc<AtomicUsize>) -> impl stream::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    stream::unfold(body, move |mut rest| {
        let slice = rest.split_to(rest.len().min(SLICE_BYTES));
        taken.fetch_add(slice.len(), Relaxed);
        std::future::ready((!slice.is_empty()).then_some((Ok(slice), rest)))
    })
}

/// Reads a body of at most `len_max` bytes; one that was announced is read whole or not at all.
async fn body_of(what: &str, mut response: ResponseStream, len_max: usize) -> Result<Bytes, StoreError> {
    let header = response.headers().get("content-length").and_then(|value| value.to_str().ok());
    let announced: Option<usize> = header.and_then(|text| text.parse().ok());
    let too_long = || invalid(format!("{what} is longer than {len_max} bytes"));
    if announced.is_some_and(|len| len > len_max) {
        return too_long();
    }
    // A reader must be offered room beyond the end to see the end.
    let mut body = BytesMut::with_capacity(announced.unwrap_or(SLICE_BYTES) + 1);
    loop {
        if body.capacity() == body.len() {
            body.reserve(SLICE_BYTES);
        }
        let read = response.read_buf(&mut body).await.map_err(|error| unclear(what, &error))?;
        if body.len() > len_max {
            return too_long();
        }
        if read == 0 {
            break;
        }
    }
    match announced {
        Some(len) if len != body.len() => {
            let reason = format!("the answer broke off after {} of {len} bytes", body.len());
            Err(StoreError::Unclear { what: what.to_string(), reason })
        }
        _ => Ok(body.freeze()),
    }
}

/// Reads the answer to a range, which must be all of the range that exists.
async fn part_of(
    what: &str,
    response: ResponseStream,
    range: &Range<u64>,
    len_max: usize,
) -> Result<Bytes, StoreError> {
    let header = response.headers().get("content-range").and_then(|value| value.to_str().ok());
    let (start, last, total) = match header.and_then(content_range) {
        Some((start, last, total)) if start == range.start && (last + 1 == range.end.min(total)) => {
            (start, last, total)
        }
        _ => {
            let reason = format!(
                "asked for bytes {} to {}, it sent {}",
                range.start,
                range.end,
                header.unwrap_or("something else")
            );
            return Err(StoreError::Unclear { what: what.to_string(), reason });
        }
    };
    let body = body_of(what, response, len_max).await?;
    if body.len() as u64 == last + 1 - start {
        Ok(body)
    } else {
        let reason = format!("of bytes {start} to {last} of {total} it sent {}", body.len());
        Err(StoreError::Unclear { what: what.to_string(), reason })
    }
}

/// First, last and total of `bytes 0-9/20`.
fn content_range(header: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, total) = (first.parse().ok()?, last.parse().ok()?, total.parse().ok()?);
    (first <= last && last < total).then_some((first, last, total))
}

/// The part of a whole object that a range names, as far as it exists.
fn cut(whole: Bytes, range: &Range<u64>) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
    whole.slice(at(range.start)..at(range.end))
}

/// An error answer's body, or nothing if it does not come: the status says enough.
async fn error_of(response: ResponseStream) -> Bytes {
    response.into_bytes_limited(STORE_ERROR_BYTES_MAX).await.unwrap_or_default()
}

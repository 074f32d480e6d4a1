//! Carries objects to and from a storage, by ticket.
//!
//! Invariant: nothing is sent that the ticket did not sign, and nothing goes
//! anywhere but to the repository that this carrier is for. One call is one
//! attempt; it ends when no byte has moved for a while.

use std::{
    ops::Range,
    sync::{Arc, atomic::AtomicUsize},
};

use ::env::{Carrier, store::StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{Either, select};
use protocol::{
    limits::{OBJECT_BYTES_MAX, STORE_ERROR_BYTES_MAX},
    wire::{PutTicket, ReadTicket},
};

use super::{
    answer::{failure_in, unclear},
    body::{body_of, cut, error_of, part_of, slices},
    line::{Line, silent, time_for},
    place::invalid,
};

/// The client's half of one storage.
pub struct S3Carrier(pub Arc<Line>);

impl S3Carrier {
    /// Reads an object, or a range of it; refuses more than `len_max` bytes.
    pub async fn read(
        &self,
        ticket: &ReadTicket,
        range: Option<Range<u64>>,
        len_max: usize,
    ) -> Result<Bytes, StoreError> {
        let what = self.check_read(ticket)?;
        let wanted = range.as_ref().map_or(len_max as u64, |range| range.end.saturating_sub(range.start));
        let mut request = self.0.http.get(ticket.url.clone());
        if let Some(range) = &range {
            if range.start >= range.end {
                return Ok(Bytes::new());
            }
            let value = format!("bytes={}-{}", range.start, range.end - 1);
            request = request.try_header("range", &value).map_err(|error| unclear(what, &error))?;
        }
        let response = self.0.send(what, request, wanted).await?;
        match (response.status().as_u16(), range) {
            (200, None) => body_of(&self.0, what, response, len_max).await,
            // A server may ignore the range and send all.
            (200, Some(range)) => Ok(cut(body_of(&self.0, what, response, OBJECT_BYTES_MAX).await?, &range)),
            (206, Some(range)) => part_of(&self.0, what, response, &range, len_max).await,
            (416, Some(_)) => Ok(Bytes::new()),
            (status, _) => Err(failure_in(what, status, &error_of(&self.0, what, response).await)),
        }
    }

    /// The path that a ticket is for, if it may be used here.
    fn check_put<'a>(&self, ticket: &'a PutTicket, body: &Bytes) -> Result<&'a str, StoreError> {
        let Some(what) = self.0.place.path_of(&ticket.path) else {
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
            ("host", self.0.place.host.clone()),
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
        let path = ticket.url.strip_prefix(&self.0.place.origin).and_then(|rest| rest.split('?').next());
        match path.and_then(|path| self.0.place.path_of(path)) {
            Some(what) => Ok(what),
            // The query is a signature: it does not belong into a message.
            None => invalid(format!(
                "the ticket for {} is not for this repository",
                ticket.url.split('?').next().unwrap_or("")
            )),
        }
    }
}

#[async_trait]
impl Carrier for S3Carrier {
    async fn put(&self, ticket: &PutTicket, body: Bytes) -> Result<(), StoreError> {
        let what = self.check_put(ticket, &body)?;
        let time = time_for(ticket.len);
        let mut request = self
            .0
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
        let response = match select(Box::pin(send), Box::pin(self.0.stalled(&sent))).await {
            Either::Left((response, _)) => response.map_err(|error| self.0.broken(what, &error))?,
            Either::Right(_) => return Err(silent(what)),
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

//! Bodies on their way: sent in slices, received whole or not at all.

use std::{
    convert::Infallible,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use ::env::store::StoreError;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use protocol::limits::STORE_ERROR_BYTES_MAX;
use reqx::ResponseStream;
use tokio::io::AsyncReadExt as _;

use super::{answer::unclear, line::Line, place::invalid};

/// How much of a body is handed to the connection at once: what a stall is told by.
const SLICE_BYTES: usize = 256 << 10;

/// The body in slices that share its memory, counting what was taken.
pub fn slices(body: Bytes, taken: Arc<AtomicUsize>) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(body, move |mut rest| {
        let slice = rest.split_to(rest.len().min(SLICE_BYTES));
        taken.fetch_add(slice.len(), Relaxed);
        std::future::ready((!slice.is_empty()).then_some((Ok(slice), rest)))
    })
}

/// Reads a body of at most `len_max` bytes; one that was announced is read whole or not at all.
pub async fn body_of(
    line: &Line,
    what: &str,
    mut response: ResponseStream,
    len_max: usize,
) -> Result<Bytes, StoreError> {
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
        let read = line.soon(what, response.read_buf(&mut body)).await?.map_err(|error| unclear(what, &error))?;
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
pub async fn part_of(
    line: &Line,
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
    let body = body_of(line, what, response, len_max).await?;
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
pub fn cut(whole: Bytes, range: &Range<u64>) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
    whole.slice(at(range.start)..at(range.end))
}

/// An error answer's body, or nothing if it does not come: the status says enough.
pub async fn error_of(line: &Line, what: &str, response: ResponseStream) -> Bytes {
    body_of(line, what, response, STORE_ERROR_BYTES_MAX).await.unwrap_or_default()
}

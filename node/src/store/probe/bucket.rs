//! What a bucket is set to, and who reads it.

use std::time::Duration;

use ::env::store::StoreError;
use hyper::Method;
use protocol::limits::{PUT_TICKET_SECS, STORE_ERROR_BYTES_MAX};

use super::{Finding, Probe};
use crate::store::{
    answer::element,
    body::{body_of, error_of},
};

/// Clocks that are further apart make people wonder.
const APART_NOTED: Duration = Duration::from_secs(60);

/// What a bucket says of itself.
pub struct Settings {
    /// How far its clock is from ours.
    pub clock: Finding,
    /// Whether it keeps what is overwritten or deleted.
    pub versioning: Finding,
    /// Whether it keeps everything for a while.
    pub lock: Finding,
    /// The same as `versioning`.
    pub keeps_versions: bool,
}

/// Asks for them.
pub async fn settings(probe: &Probe<'_>) -> Result<Settings, StoreError> {
    let before = probe.clock.now();
    let (status, date, versioning) = setting(probe, "versioning").await?;
    let clock = clock(date.as_deref(), before.0, probe.clock.now().0);
    let enabled = element(&versioning, "Status").as_deref() == Some("Enabled");
    let versioning = match (status, enabled) {
        (200, true) => Finding::note(
            "versioning",
            "On: what is deleted or overwritten stays as an old version.",
            "It costs until a rule of the bucket's lifecycle removes it: keep old versions for as long as you want to be able to undo a theft. Some servers ignore If-None-Match here.",
        ),
        (200, false) => Finding::note(
            "versioning",
            "Off: what is deleted or overwritten is gone.",
            "Switch it on, with a rule that removes old versions after some weeks, if a stolen credential may delete or overwrite.",
        ),
        (403, _) => unknown("versioning", "The credential may not ask whether versioning is on."),
        (status, _) => Finding::note(
            "versioning",
            format!("The storage has no versioning (HTTP status {status})."),
            "What is deleted or overwritten is gone.",
        ),
    };
    let (status, _, lock) = setting(probe, "object-lock").await?;
    let lock = match (status, element(&lock, "Mode")) {
        (200, Some(mode)) => {
            let period = ["Days", "Years"].map(|unit| element(&lock, unit).map(|count| format!("{count} {unit}")));
            let period = period.into_iter().flatten().next().unwrap_or_else(|| "a time".into()).to_lowercase();
            Finding::note(
                "object_lock",
                format!("Every object is locked for {period} ({}).", mode.to_lowercase()),
                "Nobody destroys what is younger, and nothing younger is swept either.",
            )
        }
        (200, None) => Finding::note(
            "object_lock",
            "It could lock objects, but does not by itself.",
            "A default retention would keep a thief from destroying what is young.",
        ),
        (403, _) => unknown("object_lock", "The credential may not ask whether objects are locked."),
        _ => Finding::note(
            "object_lock",
            "Objects are not locked.",
            "The rights of the credentials are what protects them.",
        ),
    };
    Ok(Settings { clock, versioning, lock, keeps_versions: enabled })
}

fn unknown(check: &'static str, found: &str) -> Finding {
    Finding::note(check, found, "Look for yourself with the credential of the bucket's owner.")
}

/// The status, date and document of one of a bucket's settings.
async fn setting(probe: &Probe<'_>, name: &str) -> Result<(u16, Option<String>, String), StoreError> {
    let (steward, what) = (probe.steward, format!("the bucket's {name}"));
    let response = steward.ask(&what, Method::GET, "", &[(name, "")], STORE_ERROR_BYTES_MAX as u64).await?;
    let status = response.status().as_u16();
    let date = response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
    let document = match status {
        200 => body_of(&steward.line, &what, response, STORE_ERROR_BYTES_MAX).await?,
        _ => error_of(&steward.line, &what, response).await,
    };
    Ok((status, date, String::from_utf8_lossy(&document).into_owned()))
}

/// What the difference of two clocks means. `before` and `after` the question, in
/// milliseconds since 1970, by ours.
fn clock(date: Option<&str>, before: u64, after: u64) -> Finding {
    const CHECK: &str = "clock";
    let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return unknown(CHECK, "The storage does not tell its time.");
    };
    let millis = date.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
    let theirs = u64::try_from(millis).unwrap_or(u64::MAX);
    // A date is whole seconds, cut off.
    let apart =
        Duration::from_millis(before.saturating_sub(theirs.saturating_add(999)).max(theirs.saturating_sub(after)));
    let found = format!("The storage's clock and this machine's are {} seconds apart.", apart.as_secs());
    if apart >= Duration::from_secs(PUT_TICKET_SECS) {
        Finding::bad(CHECK, found, "Tickets do not work: set the clock that is wrong.")
    } else if apart > APART_NOTED {
        Finding::warning(CHECK, found, "From 15 minutes on tickets do not work: set the clock that is wrong.")
    } else {
        Finding::good(CHECK, "The storage's clock and this machine's agree.")
    }
}

/// That only who has a ticket reads.
pub async fn private(probe: &Probe<'_>) -> Result<Finding, StoreError> {
    let (path, _) = probe.write("private").await?;
    Ok(match anyone_reads(probe, &path).await? {
        false => Finding::good("private", "Nothing can be read without a ticket."),
        true => Finding::warning(
            "private",
            "Anyone can read the bucket without a ticket.",
            "Everything in it is sealed, but who reads it learns sizes and times, and can collect it: take the bucket's public access away.",
        ),
    })
}

/// Whether an object can be read by someone who has nothing.
pub async fn anyone_reads(probe: &Probe<'_>, path: &str) -> Result<bool, StoreError> {
    let line = &probe.steward.line;
    let path = line.place.request_path(&line.place.key(path)?);
    let response = line.send("a try", line.http.get(path), STORE_ERROR_BYTES_MAX as u64).await?;
    Ok(response.status().is_success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::probe::Verdict;

    #[test]
    fn clocks_are_compared_both_ways() {
        // 2026-01-01T00:00:00Z
        let (date, noon) = (Some("Thu, 01 Jan 2026 00:00:00 GMT"), 1_767_225_600_000_u64);
        for (ours, verdict) in [
            (noon, Verdict::Good),
            (noon + 999, Verdict::Good),
            (noon + 60_999, Verdict::Good),
            (noon + 61_000, Verdict::Warning),
            (noon - 61_000, Verdict::Warning),
            (noon - 900_000, Verdict::Bad),
            (noon + 3_600_000, Verdict::Bad),
        ] {
            let found = clock(date, ours, ours);
            assert_eq!(found.verdict, verdict, "{found:?}");
        }
        assert_eq!(clock(None, noon, noon).verdict, Verdict::Note);
        assert_eq!(clock(Some("yesterday"), noon, noon).verdict, Verdict::Note);
    }
}

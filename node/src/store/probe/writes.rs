//! What a storage makes of writes that are as they should be, and of others.

use ::env::{Carrier as _, Steward as _, store::StoreError};
use protocol::{limits::PUT_TICKET_SECS, time::UnixMillis, wire::PutTicket};

use super::{Finding, Probe, sha256};

/// That what was written is there at once, whole, and listed.
pub async fn kept(probe: &Probe<'_>) -> Result<[Finding; 2], StoreError> {
    const CHECK: &str = "read_after_write";
    let (path, body) = probe.write("reading").await?;
    let steward = probe.steward;
    let whole = steward.head(&path).await? == body.len() as u64 && steward.get(&path, body.len()).await? == body;
    let kept = match whole && steward.get_range(&path, 3..9).await? == body.slice(3..9) {
        true => Finding::good(CHECK, "What is written is there at once, whole and in parts."),
        false => Finding::bad(
            CHECK,
            "What was written comes back changed.",
            "This storage keeps nothing reliably: do not use it.",
        ),
    };
    let listed = steward.list(&probe.below).await?.iter().any(|(listed, _)| *listed == path);
    let listed = match listed {
        true => Finding::good("listing", "What is written is listed at once."),
        false => Finding::warning(
            "listing",
            "What was written is not listed yet.",
            "No backup relies on listings, but rebuilding a lost ledger would miss the newest snapshots.",
        ),
    };
    Ok([kept, listed])
}

/// That a second ticket does not overwrite.
pub async fn written_once(probe: &Probe<'_>) -> Result<Finding, StoreError> {
    const CHECK: &str = "conditional_writes";
    let (path, first) = probe.write("first").await?;
    let second = probe.body("second");
    let answer = probe.steward.carrier.put(&probe.ticket(&path, &second)?, second).await;
    let kept = probe.found(&path, first.len()).await?.is_some_and(|found| found == first);
    Ok(match (answer, kept) {
        (Err(StoreError::Exists { .. }), true) => {
            Finding::good(CHECK, "If-None-Match is honoured: what exists is not written again.")
        }
        (Ok(()), true) => Finding::note(
            CHECK,
            "If-None-Match is ignored, but what was there stays.",
            "Names commit to their bytes, so no backup is at risk.",
        ),
        (Ok(()), false) => Finding::note(
            CHECK,
            "If-None-Match is ignored: an object can be written twice.",
            "Names commit to their bytes, so clients can only repeat what they wrote, and no backup is at risk.",
        ),
        (Err(error), _) => Finding::warning(
            CHECK,
            format!("A second write ended otherwise than it should: {error}"),
            "Uploads that are repeated after a broken connection may fail.",
        ),
    })
}

/// That a ticket stores no other body than its own.
pub async fn hash(probe: &Probe<'_>) -> Result<Finding, StoreError> {
    let (path, signed, other) = (probe.path(), probe.body("signed"), probe.body("other"));
    let ticket = probe.ticket(&path, &signed)?;
    let accepted = probe.accepted(&ticket, other.clone()).await;
    Ok(match (accepted, probe.found(&path, other.len()).await?) {
        (false, None) => Finding::good("body_hash", "A body with another SHA-256 than was signed is refused."),
        (true, None) => Finding::good("body_hash", "A body with another SHA-256 than was signed is not stored."),
        (_, Some(_)) => Finding::warning(
            "body_hash",
            "A body with another SHA-256 than was signed is stored.",
            "A client can store under a name of its own what does not belong there; whoever reads it notices. Give domains of strangers a stricter storage.",
        ),
    })
}

/// That a signed header cannot be changed.
pub async fn signed_headers(probe: &Probe<'_>) -> Result<Finding, StoreError> {
    const CHECK: &str = "signed_headers";
    let mut obeyed = Vec::new();
    for (name, value) in [("x-amz-acl", Some("public-read")), ("if-none-match", None)] {
        let (path, body) = (probe.path(), probe.body("changed"));
        let mut ticket = probe.ticket(&path, &body)?;
        ticket.headers.retain(|(given, _)| given != name);
        ticket.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        if probe.accepted(&ticket, body.clone()).await || probe.found(&path, body.len()).await?.is_some() {
            obeyed.push(name);
        }
    }
    Ok(match obeyed.is_empty() {
        true => Finding::good(CHECK, "A ticket whose signed headers were changed is refused."),
        false => Finding::bad(
            CHECK,
            format!("Signed headers can be changed or left out: {}.", obeyed.join(", ")),
            "The storage does not check signatures: whoever has a ticket can do more than it says. Do not use it with clients that you do not trust.",
        ),
    })
}

/// That a header which was not signed changes nothing.
pub async fn unsigned_headers(probe: &Probe<'_>) -> Result<Finding, StoreError> {
    const CHECK: &str = "unsigned_headers";
    let (source, _) = probe.write("source").await?;
    let source = probe.ticket(&source, b"x")?.path;
    let mut refused = true;
    for (name, value) in [
        ("x-amz-copy-source", source.as_str()),
        ("x-amz-grant-read", "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\""),
    ] {
        let (path, body) = (probe.path(), probe.body("unsigned"));
        let mut ticket = probe.ticket(&path, &body)?;
        ticket.headers.push((name.to_owned(), value.to_owned()));
        refused &= !probe.accepted(&ticket, body.clone()).await;
        let obeyed = match probe.found(&path, body.len()).await? {
            Some(found) if name == "x-amz-copy-source" => found != body,
            Some(_) => super::bucket::anyone_reads(probe, &path).await?,
            None => false,
        };
        if obeyed {
            return Ok(Finding::bad(
                CHECK,
                format!("The header {name} is obeyed although nobody signed it."),
                "A client could copy or publish (sealed) objects of others. Do not use this storage with clients that you do not trust.",
            ));
        }
    }
    let found = if refused { "refused" } else { "left alone" };
    Ok(Finding::good(CHECK, format!("Headers that nobody signed are {found}.")))
}

/// That a ticket ends.
pub async fn expired(probe: &Probe<'_>) -> Result<Finding, StoreError> {
    let (path, body) = (probe.path(), probe.body("late"));
    let now = probe.clock.now();
    let late = UnixMillis(now.0.saturating_sub(4 * PUT_TICKET_SECS * 1000));
    let ticket: PutTicket = probe.steward.minter.put(&path, body.len() as u64, &sha256(&body), late)?;
    let accepted = probe.accepted(&ticket, body.clone()).await;
    Ok(match accepted || probe.found(&path, body.len()).await?.is_some() {
        false => Finding::good("expired_tickets", "A ticket of an hour ago is refused."),
        true => Finding::note(
            "expired_tickets",
            "A ticket of an hour ago is still good.",
            "A ticket that leaks can be used for longer, but only to store the bytes that it names.",
        ),
    })
}

/// Whether the credential itself may overwrite, if it does not say If-None-Match.
pub async fn overwriting(probe: &Probe<'_>, keeps_versions: bool) -> Result<Finding, StoreError> {
    const CHECK: &str = "overwrite";
    let (path, first) = probe.write("mine").await?;
    let overwritten = probe.steward.overwrite(&path, probe.body("thine")).await;
    let kept = probe.found(&path, first.len()).await?.is_some_and(|found| found == first);
    Ok(match (kept, keeps_versions) {
        (true, _) if overwritten => Finding::good(CHECK, "Overwriting succeeds, but changes nothing."),
        (true, _) => Finding::good(CHECK, "The credential may not overwrite."),
        (false, true) => Finding::note(
            CHECK,
            "The credential may overwrite, and the storage keeps what was there.",
            "After a theft of the credential, the versions before it have everything, if it may not delete those too.",
        ),
        (false, false) => Finding::warning(
            CHECK,
            "The credential may overwrite.",
            "One stolen orchestrator could destroy this repository: switch the bucket's versioning on and keep old versions for a while, or use a storage whose policies can refuse it.",
        ),
    })
}

//! What a storage's answers mean for the caller.

use ::env::store::StoreError;

/// Characters kept of what a storage says about a failure.
const TEXT_CHARS_MAX: usize = 300;

/// What one answer means that is not a success. `code` and `message` are those of
/// S3's error document, as far as there is one.
pub fn failure(what: &str, status: u16, code: Option<&str>, message: Option<&str>) -> StoreError {
    let what = what.to_string();
    let answer = text(status, code, message);
    match (status, code.unwrap_or_default()) {
        // A quota is full for longer than a retry lasts.
        (507, _) | (_, "QuotaExceeded" | "InsufficientStorage") => StoreError::Full { what, answer },
        // Nothing the caller asks for is in a bucket that is not there.
        (_, "NoSuchBucket") => StoreError::Refused { what, answer },
        (404, _) => StoreError::NotFound { what },
        (412, _) => StoreError::Exists { what },
        // The storage waited in vain, was too busy, or met a race.
        (408 | 409 | 425 | 429, _) | (400, "RequestTimeout" | "SlowDown") => {
            StoreError::Unclear { what, reason: answer }
        }
        // A redirect names another region or server, 501 what the storage cannot do:
        // asking again changes nothing.
        (300..=399 | 400..=499 | 501, _) => StoreError::Refused { what, answer },
        _ => StoreError::Unclear { what, reason: answer },
    }
}

/// What an error document that stands in an answer's body means.
pub fn failure_in(what: &str, status: u16, body: &[u8]) -> StoreError {
    let body = String::from_utf8_lossy(body);
    let (code, message) = (element(&body, "Code"), element(&body, "Message"));
    failure(what, status, code.as_deref(), message.as_deref())
}

/// What a failure of the `s3` crate means.
pub fn failure_of(what: &str, error: &s3::Error) -> StoreError {
    match error {
        s3::Error::Api { status, code, message, .. } | s3::Error::RateLimited { status, code, message, .. } => {
            failure(what, status.as_u16(), code.as_deref(), message.as_deref())
        }
        s3::Error::InvalidConfig { message } | s3::Error::Signing { message } => {
            StoreError::Invalid { reason: format!("{what} cannot be asked for: {message}") }
        }
        other => unclear(what, other),
    }
}

/// The answer did not come, or not whole.
pub fn unclear(what: &str, error: &dyn std::error::Error) -> StoreError {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !reason.contains(&cause_text) {
            reason = format!("{reason}: {cause_text}");
        }
        source = cause.source();
    }
    StoreError::Unclear { what: what.to_string(), reason: clean(&without_paths(&reason)) }
}

/// Addresses down to the host: the path stands in the error already, and the query of a
/// read ticket is a signature.
fn without_paths(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => {
            let host = rest.split(['/', '?']).next().unwrap_or(rest);
            let colon = if word.ends_with(':') && !host.ends_with(':') { ":" } else { "" };
            format!("{scheme}://{host}{colon}")
        }
        _ => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// What the storage said, and what to do about it.
fn text(status: u16, code: Option<&str>, message: Option<&str>) -> String {
    let said: Vec<&str> = [code, message].into_iter().flatten().filter(|part| !part.trim().is_empty()).collect();
    let said = match said.is_empty() {
        true => format!("HTTP status {status}"),
        false => clean(&format!("{} (HTTP status {status})", said.join(": "))),
    };
    match advice(status, code.unwrap_or_default()) {
        Some(advice) => format!("{said}. {advice}"),
        None => said,
    }
}

/// What to do about an answer, where that is known.
fn advice(status: u16, code: &str) -> Option<&'static str> {
    Some(match (status, code) {
        (_, "InvalidAccessKeyId" | "NotSignedUp") => {
            "It does not know this access key: give it one that it does, with `nuthatch storage add` and --adopt"
        }
        (_, "SignatureDoesNotMatch") => {
            "The secret key is not the access key's, or the region is another: give the right ones, with `nuthatch storage add` and --adopt"
        }
        (_, "ExpiredToken" | "TokenRefreshRequired" | "InvalidToken") => {
            "The session token is over: give a new one with its keys, with `nuthatch storage add` and --adopt, or keys that last"
        }
        (_, "NoSuchBucket" | "InvalidBucketName") => {
            "Make that bucket, or name the right one; --virtual-host says whether it stands in the host name"
        }
        (_, "RequestTimeTooSkewed") => {
            "The clocks of the storage and of who asked, or who minted the ticket, are more than 15 minutes apart: set them"
        }
        (301 | 307, _) | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
            "The bucket is in another region, or at another address: give the right --region and --endpoint"
        }
        (_, "AccessDenied" | "AllAccessDisabled") | (401 | 403, "") => {
            "The key may not do this, or the ticket has expired: it must be allowed to put, get and list there, and clocks must be right"
        }
        (405 | 501, _) => "It cannot do what is needed here: is there an S3 at this address?",
        (400, "") => "Is there an S3 at this address, and does it speak https?",
        (_, "QuotaExceeded" | "InsufficientStorage") | (507, _) => "Make room there, or raise its quota",
        _ => return None,
    })
}

/// A server's words, fit for a terminal and a log.
fn clean(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect()
}

/// The text of the first element of this name. Error documents are flat, so this
/// needs no parser that could be led astray.
pub fn element(document: &str, name: &str) -> Option<String> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    let mut text = rest.split_once("</")?.0.to_string();
    // The ampersand comes last, or "&amp;lt;" would become "<".
    for (escaped, plain) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")] {
        text = text.replace(escaped, plain);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(code: &str) -> String {
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>it&apos;s so\u{1b}[31m</Message></Error>")
    }

    #[test]
    fn each_status_says_what_to_do() {
        let of = |status, code: &str| failure_in("a", status, body(code).as_bytes());
        assert!(matches!(of(404, "NoSuchKey"), StoreError::NotFound { .. }));
        assert!(matches!(of(404, "NoSuchBucket"), StoreError::Refused { .. }));
        assert!(matches!(of(412, "PreconditionFailed"), StoreError::Exists { .. }));
        for status in [400, 401, 403] {
            assert!(matches!(of(status, "SignatureDoesNotMatch"), StoreError::Refused { .. }));
        }
        assert!(matches!(of(403, "QuotaExceeded"), StoreError::Full { .. }));
        assert!(matches!(of(507, ""), StoreError::Full { .. }));
        for (status, code) in
            [(500, "InternalError"), (503, "SlowDown"), (409, "ConditionalRequestConflict"), (400, "RequestTimeout")]
        {
            assert!(matches!(of(status, code), StoreError::Unclear { .. }), "{status} {code}");
        }
    }

    #[test]
    fn addresses_are_told_without_paths_and_signatures() {
        let of = without_paths;
        assert_eq!(of("for GET https://s3.example/b/k?X-Amz-Signature=1: no"), "for GET https://s3.example: no");
        assert_eq!(of("for PUT http://[::1]:80/b no"), "for PUT http://[::1]:80 no");
        assert_eq!(of("http://host: no: a/b?c"), "http://host: no: a/b?c");
    }

    #[test]
    fn what_can_be_done_is_said() {
        for (status, code, words) in [
            (403, "InvalidAccessKeyId", "access key"),
            (403, "SignatureDoesNotMatch", "secret key"),
            (400, "ExpiredToken", "session token"),
            (404, "NoSuchBucket", "Make that bucket"),
            (403, "RequestTimeTooSkewed", "clocks"),
            (301, "PermanentRedirect", "--region"),
            (400, "AuthorizationHeaderMalformed", "--region"),
            (403, "AccessDenied", "put, get and list"),
            (403, "", "put, get and list"),
            (400, "", "https"),
            (501, "NotImplemented", "an S3"),
            (403, "QuotaExceeded", "room"),
            (507, "", "room"),
        ] {
            let error =
                failure_in("a", status, if code.is_empty() { Vec::new() } else { body(code).into() }.as_slice());
            assert!(error.to_string().contains(words), "{status} {code}: {error}");
        }
        // Nothing is advised where only waiting helps.
        for (status, code) in [(500, "InternalError"), (503, "SlowDown")] {
            assert!(
                failure_in("a", status, body(code).as_bytes())
                    .to_string()
                    .ends_with(&format!("(HTTP status {status})"))
            );
        }
    }

    #[test]
    fn the_storages_words_arrive_without_control_characters() {
        let error = failure_in("a", 403, body("AccessDenied").as_bytes()).to_string();
        assert!(error.starts_with("the storage refused a: AccessDenied: it's so [31m (HTTP status 403). The key may"));
        assert_eq!(
            failure("a", 502, None, None).to_string(),
            "no clear answer from the storage about a: HTTP status 502"
        );
    }
}

//! Refuses requests by their headers alone, before anything else looks at them.
//!
//! Invariant: what passes is signed with Signature Version 4 for S3, every
//! `x-amz-*` header in it is signed and known, and an upload commits to its
//! bytes. Servers that ignored an unsigned or unknown header were the holes
//! through which tickets could be bent.

use hyper::{HeaderMap, Method, http::request::Parts};
use protocol::limits::OBJECT_BYTES_MAX;
use s3s::{S3Error, S3Result, s3_error};

/// The headers of S3 that this storage acts upon, or may leave alone without
/// promising anything.
const KNOWN: &[&str] = &["x-amz-date", "x-amz-content-sha256", "x-amz-acl", "x-amz-checksum-mode"];

/// Checks a request's head.
pub fn check(parts: &Parts) -> S3Result<()> {
    let signed = signed_headers(parts)?;
    for name in parts.headers.keys().map(hyper::header::HeaderName::as_str) {
        if !name.starts_with("x-amz-") {
            continue;
        }
        if !signed.split(';').any(|signed| signed == name) {
            return Err(s3_error!(AccessDenied, "the header {name} is not signed"));
        }
        if !KNOWN.contains(&name) {
            return Err(s3_error!(NotImplemented, "this storage does not know the header {name}"));
        }
    }
    if !matches!(only(&parts.headers, "x-amz-acl")?, None | Some("private")) {
        return Err(s3_error!(NotImplemented, "all objects here are private"));
    }
    match &parts.method {
        &Method::GET | &Method::HEAD | &Method::DELETE => Ok(()),
        &Method::PUT if names_object(parts.uri.path()) => check_upload(&parts.headers),
        &Method::PUT => Ok(()),
        method => Err(s3_error!(MethodNotAllowed, "{method} is not used here")),
    }
}

/// What the signature of a request covers, separated by `;`.
fn signed_headers(parts: &Parts) -> S3Result<&str> {
    let denied = |reason: &'static str| Err(S3Error::with_message(s3s::S3ErrorCode::AccessDenied, reason));
    let query = parts.uri.query().unwrap_or("");
    let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    match (only(&parts.headers, "authorization")?, parameter("X-Amz-SignedHeaders")) {
        (Some(authorization), None) => {
            let signed = authorization.split_once("SignedHeaders=").and_then(|(_, rest)| rest.split(',').next());
            match signed {
                Some(signed)
                    if authorization.starts_with("AWS4-HMAC-SHA256 ") && authorization.contains("/s3/aws4_request") =>
                {
                    Ok(signed.trim())
                }
                _ => denied("requests are signed with AWS4-HMAC-SHA256 for the service s3"),
            }
        }
        (None, Some("host")) if parts.method != Method::PUT => Ok("host"),
        (None, Some(_)) => denied("a pre-signed URL signs the host alone, and uploads are signed in their headers"),
        (Some(_), Some(_)) => denied("a request has one signature"),
        (None, None) => denied("the request is not signed"),
    }
}

fn check_upload(headers: &HeaderMap) -> S3Result<()> {
    let hash = only(headers, "x-amz-content-sha256")?;
    if !hash.is_some_and(|hash| hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(s3_error!(AccessDenied, "an upload signs the SHA-256 of its body"));
    }
    if headers.contains_key("transfer-encoding") || headers.contains_key("content-encoding") {
        return Err(s3_error!(NotImplemented, "bodies are stored as they are sent, in one piece"));
    }
    match only(headers, "content-length")?.and_then(|len| len.parse::<u64>().ok()) {
        None => Err(s3_error!(MissingContentLength, "an upload says its length")),
        Some(0) => Err(s3_error!(InvalidRequest, "this storage holds no empty objects")),
        Some(len) if len > OBJECT_BYTES_MAX as u64 => {
            Err(s3_error!(EntityTooLarge, "an object has at most {OBJECT_BYTES_MAX} bytes"))
        }
        Some(_) if only(headers, "if-none-match")? != Some("*") => {
            Err(s3_error!(NotImplemented, "this storage never overwrites: send If-None-Match: *"))
        }
        Some(_) => Ok(()),
    }
}

/// The value of a header that may stand in a request once.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> S3Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            Ok(Some(value.to_str().map_err(|_| s3_error!(InvalidRequest, "the header {name} is not text"))?))
        }
        (Some(_), Some(_)) => Err(s3_error!(InvalidRequest, "the header {name} stands there twice")),
    }
}

/// Whether a path goes on behind the bucket.
fn names_object(path: &str) -> bool {
    path.trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=k/20260101/r/s3/aws4_request, SignedHeaders=host;if-none-match;x-amz-acl;x-amz-content-sha256;x-amz-date, Signature=0";

    fn upload(change: impl FnOnce(&mut HeaderMap)) -> S3Result<()> {
        let mut parts = Request::put("/bucket/key").body(()).unwrap().into_parts().0;
        let hash = "0".repeat(64);
        for (name, value) in [
            ("authorization", SIGNED),
            ("content-length", "5"),
            ("if-none-match", "*"),
            ("x-amz-acl", "private"),
            ("x-amz-content-sha256", &hash),
            ("x-amz-date", "20260101T000000Z"),
        ] {
            parts.headers.insert(name, value.parse().unwrap());
        }
        change(&mut parts.headers);
        check(&parts)
    }

    fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
        headers.insert(name, value.parse().unwrap());
    }

    #[test]
    fn a_ticket_passes() {
        upload(|_| {}).unwrap();
    }

    #[test]
    fn unsigned_or_unknown_headers_of_s3_do_not() {
        let error = upload(|headers| set(headers, "x-amz-copy-source", "/bucket/other")).unwrap_err();
        assert_eq!(error.code().as_str(), "AccessDenied");
        let more = SIGNED.replace("x-amz-acl", "x-amz-acl;x-amz-tagging");
        let error = upload(|headers| {
            set(headers, "authorization", &more);
            set(headers, "x-amz-tagging", "a=b");
        })
        .unwrap_err();
        assert_eq!(error.code().as_str(), "NotImplemented");
    }

    #[test]
    fn an_upload_commits_to_its_bytes() {
        for change in [
            |headers: &mut HeaderMap| set(headers, "x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            |headers: &mut HeaderMap| set(headers, "x-amz-acl", "public-read"),
            |headers: &mut HeaderMap| set(headers, "content-length", "0"),
            |headers: &mut HeaderMap| set(headers, "content-length", "999999999999"),
            |headers: &mut HeaderMap| set(headers, "if-none-match", "\"a\""),
            |headers: &mut HeaderMap| set(headers, "transfer-encoding", "chunked"),
            |headers: &mut HeaderMap| set(headers, "authorization", "AWS k:s"),
            |headers: &mut HeaderMap| drop(headers.remove("authorization")),
            |headers: &mut HeaderMap| drop(headers.remove("content-length")),
            |headers: &mut HeaderMap| assert!(headers.append("x-amz-content-sha256", "0".parse().unwrap())),
        ] {
            upload(change).unwrap_err();
        }
    }

    #[test]
    fn a_presigned_url_reads_and_never_writes() {
        let url = "/bucket/key?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-SignedHeaders=host&X-Amz-Signature=0";
        let head = |method: Method| Request::builder().method(method).uri(url).body(()).unwrap().into_parts().0;
        check(&head(Method::GET)).unwrap();
        check(&head(Method::PUT)).unwrap_err();
        let mut parts = head(Method::GET);
        parts.headers.insert("x-amz-date", "20260101T000000Z".parse().unwrap());
        check(&parts).unwrap_err();
        check(&head(Method::POST)).unwrap_err();
    }
}

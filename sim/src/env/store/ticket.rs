//! The signatures of the simulated storage: SigV4 in shape, a keyed hash in substance.
//!
//! Invariant: a signature covers the method, the host, the path and every header
//! or parameter of a request, so a request that was changed in any way is refused.

use protocol::{
    ids::Sha256,
    records::{Storage, StorageCredential},
    time::UnixMillis,
    wire::{PutTicket, ReadTicket},
};

use super::object::{Request, address};
use crate::kernel::fault::Method;

/// How far the date of a request may be from the storage's clock: S3's 15 minutes.
pub const WINDOW_MS: u64 = 15 * 60 * 1000;
/// The header that carries the signature.
const AUTHORIZATION: &str = "authorization";

/// Why a request was refused.
pub type Refusal = &'static str;

fn signature(secret: &str, method: Method, target: &str, parts: &[(String, String)]) -> String {
    let key = blake3::derive_key("nuthatch simulated storage signature", secret.as_bytes());
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(format!("{method:?}\n{target}\n").as_bytes());
    for (name, value) in parts {
        hasher.update(format!("{name}:{value}\n").as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Signed headers of one request. `body` is its length and hash.
pub fn sign(
    credential: &StorageCredential,
    method: Method,
    target: &str,
    body: (u64, &Sha256),
    now: UnixMillis,
) -> Vec<(String, String)> {
    let mut headers = vec![
        ("host".to_owned(), target.split('/').next().unwrap_or_default().to_owned()),
        ("x-amz-date".to_owned(), now.0.to_string()),
        ("content-length".to_owned(), body.0.to_string()),
        ("x-amz-content-sha256".to_owned(), body.1.to_string()),
    ];
    if method == Method::Put {
        headers.push(("if-none-match".to_owned(), "*".to_owned()));
        headers.push(("x-amz-acl".to_owned(), "private".to_owned()));
    }
    let signature = signature(&credential.secret_key, method, target, &headers);
    headers.push((AUTHORIZATION.to_owned(), format!("SIM {} {signature}", credential.access_key)));
    headers
}

/// Mints the right to one PUT.
pub fn mint_put(
    storage: &Storage,
    credential: &StorageCredential,
    path: &str,
    len: u64,
    hash: &Sha256,
    now: UnixMillis,
) -> PutTicket {
    let target = address(storage, path);
    let headers = sign(credential, Method::Put, &target, (len, hash), now);
    let path = target.find('/').map_or(String::new(), |slash| target[slash..].to_owned());
    PutTicket { path, len, hash: *hash, headers, expires: UnixMillis(now.0.saturating_add(WINDOW_MS)) }
}

/// Mints the right to read one object for a while.
pub fn mint_get(storage: &Storage, credential: &StorageCredential, path: &str, now: UnixMillis) -> ReadTicket {
    let target = address(storage, path);
    let query = [
        ("access".to_owned(), credential.access_key.clone()),
        ("date".to_owned(), now.0.to_string()),
        ("expires".to_owned(), WINDOW_MS.to_string()),
    ];
    let signature = signature(&credential.secret_key, Method::Get, &target, &query);
    let [(_, access), (_, date), (_, expires)] = query;
    let scheme = storage.endpoint.split_once("://").map_or("http", |(scheme, _)| scheme);
    ReadTicket {
        url: format!("{scheme}://{target}?access={access}&date={date}&expires={expires}&signature={signature}"),
        expires: UnixMillis(now.0.saturating_add(WINDOW_MS)),
    }
}

/// Checks who signed a request, and that it was not changed since; returns whose
/// credential it is. `secret_of` finds the secret of an access key.
pub fn check<'a>(
    request: &Request,
    now: UnixMillis,
    secret_of: impl Fn(&str) -> Option<&'a str>,
) -> Result<String, Refusal> {
    let (access, date, window, expected, given) = match &request.query {
        Some(query) => {
            let (parts, given) = presigned(query)?;
            let secret = secret_of(&parts[0].1).ok_or("InvalidAccessKeyId")?;
            let expected = signature(secret, request.method, &request.target, &parts);
            let [(_, access), (_, date), (_, window)] = parts;
            (access, date, window.parse().map_err(|_| "AuthorizationQueryParametersError")?, expected, given)
        }
        None => {
            let authorization = header(request, AUTHORIZATION).ok_or("AccessDenied: not signed")?;
            let mut words = authorization.split(' ');
            let (Some("SIM"), Some(access), Some(given), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Err("AuthorizationHeaderMalformed");
            };
            // All that is not the signature itself must have been signed, in this order.
            let signed: Vec<_> = request.headers.iter().filter(|(name, _)| name != AUTHORIZATION).cloned().collect();
            let secret = secret_of(access).ok_or("InvalidAccessKeyId")?;
            let expected = signature(secret, request.method, &request.target, &signed);
            let date = header(request, "x-amz-date").ok_or("AccessDenied: no date")?;
            (access.to_owned(), date.to_owned(), WINDOW_MS, expected, given.to_owned())
        }
    };
    if blake3::hash(expected.as_bytes()) != blake3::hash(given.as_bytes()) {
        return Err("SignatureDoesNotMatch");
    }
    let date: u64 = date.parse().map_err(|_| "AccessDenied: no date")?;
    if now.0 > date.saturating_add(window) {
        return Err("AccessDenied: the request has expired");
    }
    if date > now.0.saturating_add(WINDOW_MS) {
        return Err("RequestTimeTooSkewed");
    }
    Ok(access)
}

/// Takes a pre-signed URL apart: the address, and the query.
pub fn parse_url(url: &str) -> Option<(String, String)> {
    let (target, query) = url.split_once("://")?.1.split_once('?')?;
    Some((target.to_owned(), query.to_owned()))
}

/// The value of a header.
pub fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
}

fn presigned(query: &str) -> Result<([(String, String); 3], String), Refusal> {
    const MALFORMED: Refusal = "AuthorizationQueryParametersError";
    let mut values = query.split('&').map(|part| part.split_once('='));
    let mut take = |name: &str| match values.next() {
        Some(Some((found, value))) if found == name => Ok(value.to_owned()),
        _ => Err(MALFORMED),
    };
    let parts = ["access", "date", "expires"].map(|name| take(name).map(|value| (name.to_owned(), value)));
    let given = take("signature")?;
    let [access, date, expires] = parts;
    if values.next().is_some() { Err(MALFORMED) } else { Ok(([access?, date?, expires?], given)) }
}

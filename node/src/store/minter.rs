//! Mints tickets: the signed headers of one PUT, and pre-signed GETs.
//!
//! Invariant: a ticket fixes everything that a storage acts upon: method, path,
//! host, length, hash of the body, that nothing may exist under that name, and
//! that the object is private. It is signed in the headers, since some servers
//! obey unsigned ones beside a signed query; and it is never for an empty body,
//! since some then obey an unsigned `x-amz-copy-source`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ::env::store::StoreError;
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation,
        SigningInstructions, SigningSettings, UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use hyper::Request;
use protocol::{
    ids::Sha256,
    limits::{OBJECT_BYTES_MAX, PUT_TICKET_SECS, READ_TICKET_SECS, SESSION_TOKEN_BYTES_MAX},
    records::StorageCredential,
    time::UnixMillis,
    wire::{PutTicket, ReadTicket},
};

use super::place::{Place, invalid};

/// Holds the credential, and signs with it. Debug output of `Identity` hides it.
#[derive(Debug)]
pub struct Minter {
    place: Arc<Place>,
    identity: Identity,
    in_headers: SigningSettings,
    in_query: SigningSettings,
}

impl Minter {
    /// A minter for one repository.
    pub fn new(place: Arc<Place>, credential: &StorageCredential) -> Result<Self, StoreError> {
        let token = credential.session_token.clone();
        if token.as_ref().is_some_and(|token| token.len() > SESSION_TOKEN_BYTES_MAX) {
            return invalid(format!("the session token is longer than {SESSION_TOKEN_BYTES_MAX} bytes"));
        }
        let key = Credentials::new(&*credential.access_key, &*credential.secret_key, token, None, "nuthatch");
        let mut in_headers = SigningSettings::default();
        // S3 signs a path as it is sent, escaped once and not tidied up.
        in_headers.percent_encoding_mode = PercentEncodingMode::Single;
        in_headers.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        in_headers.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let mut in_query = in_headers.clone();
        in_query.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        in_query.signature_location = SignatureLocation::QueryParams;
        in_query.expires_in = Some(Duration::from_secs(READ_TICKET_SECS));
        Ok(Self { place, identity: key.into(), in_headers, in_query })
    }

    /// The right to store `len` bytes with this hash at `path`, once.
    pub fn put(&self, path: &str, len: u64, hash: &Sha256, now: UnixMillis) -> Result<PutTicket, StoreError> {
        if len == 0 || len > OBJECT_BYTES_MAX as u64 {
            return invalid(format!(
                "no ticket can be minted for {path}: it has {len} bytes, of at most {OBJECT_BYTES_MAX}"
            ));
        }
        let request_path = self.place.request_path(&self.place.key(path)?);
        let url = format!("{}{request_path}", self.place.origin);
        let len_text = len.to_string();
        let given = [
            ("host", self.place.host.as_str()),
            ("content-length", len_text.as_str()),
            ("if-none-match", "*"),
            ("x-amz-acl", "private"),
        ];
        let body = SignableBody::Precomputed(hash.to_string());
        let signed = self.sign("PUT", &url, &given, body, &self.in_headers, now)?;
        // x-amz-date, x-amz-content-sha256, authorization, and a session token if there is one
        let made = signed.headers();
        let headers =
            given.into_iter().chain(made).map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Ok(PutTicket { path: request_path, len, hash: *hash, headers, expires: now.plus_secs(PUT_TICKET_SECS) })
    }

    /// The right to read the object at `path` for a while.
    pub fn get(&self, path: &str, now: UnixMillis) -> Result<ReadTicket, StoreError> {
        let url = format!("{}{}", self.place.origin, self.place.request_path(&self.place.key(path)?));
        let given = [("host", self.place.host.as_str())];
        let signed = self.sign("GET", &url, &given, SignableBody::UnsignedPayload, &self.in_query, now)?;
        let mut request = Request::get(&url).body(()).map_err(|error| cannot_sign(&error))?;
        signed.apply_to_request_http1x(&mut request);
        Ok(ReadTicket { url: request.uri().to_string(), expires: now.plus_secs(READ_TICKET_SECS) })
    }

    fn sign(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: SignableBody<'_>,
        settings: &SigningSettings,
        now: UnixMillis,
    ) -> Result<SigningInstructions, StoreError> {
        let time: SystemTime = UNIX_EPOCH + Duration::from_millis(now.0);
        let params = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.place.region)
            .name("s3")
            .time(time)
            .settings(settings.clone())
            .build()
            .map_err(|error| cannot_sign(&error))?
            .into();
        let request =
            SignableRequest::new(method, url, headers.iter().copied(), body).map_err(|error| cannot_sign(&error))?;
        Ok(sign(request, &params).map_err(|error| cannot_sign(&error))?.into_parts().0)
    }
}

fn cannot_sign(error: &dyn std::error::Error) -> StoreError {
    StoreError::Invalid { reason: format!("a request to the storage cannot be signed: {error}") }
}

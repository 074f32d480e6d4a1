//! Where a repository lies: the checked form of a `Storage` record.
//!
//! Invariant: what stands here needs no escaping anywhere, in no URL, header or
//! signature; and plain HTTP leads to this machine only.

use std::net::IpAddr;

use ::env::store::StoreError;
use hyper::Uri;
use protocol::{
    limits::{OBJECT_PATH_BYTES_MAX, STORAGE_CA_BYTES_MAX},
    names::is_path,
    records::Storage,
};
use rustls::{RootCertStore, pki_types::CertificateDer};

/// A repository's address.
#[derive(Debug, Clone)]
pub struct Place {
    /// `scheme://host[:port]` of the server, as configured.
    pub endpoint: String,
    /// `scheme://host[:port]` that requests go to: with the bucket, if it stands in the host name.
    pub origin: String,
    /// The `host` header of those requests.
    pub host: String,
    /// Whether requests travel over TLS.
    pub tls: bool,
    /// The region that signatures name.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Whether the bucket stands in the host name.
    pub virtual_host: bool,
    /// What every key in the bucket starts with: empty, or ending with a slash.
    pub key_prefix: String,
    /// The only authorities, as certificates in DER, that may vouch for the server;
    /// none: those that the machine knows.
    pub authorities: Vec<Vec<u8>>,
}

impl Place {
    /// Checks a storage's record.
    pub fn of(storage: &Storage) -> Result<Self, StoreError> {
        let (tls, authority) = server(&storage.endpoint)?;
        let bucket = &storage.bucket;
        if !is_bucket(bucket) {
            return invalid(format!(
                "{bucket:?} is not a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens"
            ));
        }
        if storage.region.is_empty() || !storage.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return invalid(format!("{:?} is not a region: us-east-1 suits most servers of one's own", storage.region));
        }
        let key_prefix = match storage.prefix.as_str() {
            "" => String::new(),
            prefix if is_path(prefix) => format!("{prefix}/"),
            prefix => {
                return invalid(format!(
                    "the prefix {prefix:?} cannot be used: letters, digits, '-', '.', '_', '~', and single slashes between them"
                ));
            }
        };
        let scheme = if tls { "https" } else { "http" };
        let host = match storage.virtual_host {
            false => authority.clone(),
            true if is_ip(&authority) => {
                return invalid(format!(
                    "{authority} is an address, so the bucket cannot stand in the host name: use path style"
                ));
            }
            true => format!("{bucket}.{authority}"),
        };
        Ok(Self {
            endpoint: format!("{scheme}://{authority}"),
            origin: format!("{scheme}://{host}"),
            host,
            tls,
            region: storage.region.clone(),
            bucket: bucket.clone(),
            virtual_host: storage.virtual_host,
            key_prefix,
            authorities: authorities(&storage.authorities, tls)?,
        })
    }

    /// The key in the bucket of a path in the repository.
    pub fn key(&self, path: &str) -> Result<String, StoreError> {
        let key = format!("{}{path}", self.key_prefix);
        if is_path(path) && key.len() <= OBJECT_PATH_BYTES_MAX {
            Ok(key)
        } else {
            invalid(format!("{path:?} is not the path of an object"))
        }
    }

    /// The path of a request for this key.
    pub fn request_path(&self, key: &str) -> String {
        format!("{}{key}", self.request_root())
    }

    /// The path in the repository that a request's path stands for; None if it
    /// leads anywhere else.
    pub fn path_of<'a>(&self, request_path: &'a str) -> Option<&'a str> {
        request_path.strip_prefix(&self.request_root())?.strip_prefix(&self.key_prefix).filter(|path| is_path(path))
    }

    fn request_root(&self) -> String {
        if self.virtual_host { "/".into() } else { format!("/{}/", self.bucket) }
    }
}

/// Whether the server is reached over TLS, and its `host[:port]`, without the port
/// that goes without saying.
fn server(endpoint: &str) -> Result<(bool, String), StoreError> {
    let what_to_do = "expected https://host[:port]";
    let uri: Uri = match endpoint.trim_end_matches('/').parse() {
        Ok(uri) => uri,
        Err(error) => return invalid(format!("{endpoint:?} is not an address ({error}): {what_to_do}")),
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return invalid(format!("{endpoint:?} is not an address: {what_to_do}"));
    };
    if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() {
        return invalid(format!("{endpoint:?} says more than where the server is: {what_to_do}"));
    }
    let host = authority.host().to_ascii_lowercase();
    let (tls, usual_port) = match scheme {
        "https" => (true, 443),
        "http" if is_loopback(&host) => (false, 80),
        "http" => {
            return invalid(format!(
                "{endpoint} is plain HTTP to another machine, where anyone on the way could read and change tickets: use https"
            ));
        }
        _ => return invalid(format!("{endpoint:?}: {scheme} is not HTTP: {what_to_do}")),
    };
    Ok(match authority.port_u16() {
        Some(port) if port != usual_port => (tls, format!("{host}:{port}")),
        _ => (tls, host),
    })
}

fn address_of(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || address_of(host).is_some_and(|address| address.is_loopback())
}

fn is_ip(authority: &str) -> bool {
    authority.parse::<std::net::SocketAddr>().is_ok() || address_of(authority).is_some()
}

/// Whether this can be a bucket, everywhere.
pub fn is_bucket(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && name.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
}

/// Checks the authorities of a storage: certificates, not too large, and for a
/// server that shows one.
fn authorities(given: &[Vec<u8>], tls: bool) -> Result<Vec<Vec<u8>>, StoreError> {
    if !given.is_empty() && !tls {
        return invalid("a storage that is reached by plain http shows no certificate: leave the authority out".into());
    }
    let len: usize = given.iter().map(Vec::len).sum();
    if len > STORAGE_CA_BYTES_MAX {
        return invalid(format!(
            "the authority's certificates have {len} bytes, of at most {STORAGE_CA_BYTES_MAX}: give the one that signed the server's"
        ));
    }
    let mut roots = RootCertStore::empty();
    for (number, certificate) in given.iter().enumerate() {
        if let Err(error) = roots.add(CertificateDer::from(certificate.as_slice())) {
            return invalid(format!("certificate {} of the storage's authority cannot be used: {error}", number + 1));
        }
    }
    Ok(given.to_vec())
}

pub fn invalid<T>(reason: String) -> Result<T, StoreError> {
    Err(StoreError::Invalid { reason })
}

#[cfg(test)]
mod tests {
    use protocol::ids::RepositoryId;

    use super::*;

    fn storage(endpoint: &str, prefix: &str, virtual_host: bool) -> Storage {
        Storage {
            repository: RepositoryId([0; 16]),
            name: "test".into(),
            endpoint: endpoint.into(),
            region: "us-east-1".into(),
            bucket: "backups".into(),
            prefix: prefix.into(),
            virtual_host,
            authorities: Vec::new(),
        }
    }

    #[test]
    fn plain_http_leads_to_this_machine_only() {
        for endpoint in ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost:9000", "http://127.8.9.1"] {
            Place::of(&storage(endpoint, "", false)).unwrap();
        }
        for endpoint in
            ["http://10.0.0.1:9000", "http://example.org", "http://localhost.example.org", "http://127.0.0.1.nip.io"]
        {
            let error = Place::of(&storage(endpoint, "", false)).unwrap_err().to_string();
            assert!(error.contains("use https"), "{error}");
        }
        Place::of(&storage("https://example.org", "", false)).unwrap();
    }

    #[test]
    fn addresses_that_say_more_than_a_server_are_refused() {
        for endpoint in [
            "",
            "example.org",
            "https://",
            "ftp://example.org",
            "https://a@example.org",
            "https://example.org/x",
            "https://example.org?x=1",
        ] {
            Place::of(&storage(endpoint, "", false)).unwrap_err();
        }
        for prefix in ["/a", "a/", "a//b", "a/../b", "a b", "ä", "a?b", "a%2e"] {
            Place::of(&storage("https://example.org", prefix, false)).unwrap_err();
        }
    }

    #[test]
    fn authorities_are_certificates_for_tls() {
        let with = |endpoint: &str, authorities: Vec<Vec<u8>>| {
            Place::of(&Storage { authorities, ..storage(endpoint, "", false) })
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["x".into()]).unwrap().self_signed(&key).unwrap();
        let good = made.der().to_vec();
        assert_eq!(with("https://example.org", vec![good.clone()]).unwrap().authorities, std::slice::from_ref(&good));
        for (endpoint, authorities, word) in [
            ("http://127.0.0.1:1", vec![good.clone()], "plain http"),
            ("https://example.org", vec![good.clone(), vec![0x30; 40]], "certificate 2"),
            ("https://example.org", vec![Vec::new()], "certificate 1"),
            ("https://example.org", vec![vec![0x30; STORAGE_CA_BYTES_MAX + 1]], "at most"),
        ] {
            let error = with(endpoint, authorities).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn both_styles_put_the_bucket_where_they_say() {
        let place = Place::of(&storage("https://Example.org:443/", "fleet/one", false)).unwrap();
        assert_eq!(place.origin, "https://example.org");
        assert_eq!(place.request_path(&place.key("a/b").unwrap()), "/backups/fleet/one/a/b");
        assert_eq!(place.path_of("/backups/fleet/one/a/b"), Some("a/b"));
        for foreign in ["/backups/fleet/two/a", "/other/fleet/one/a", "/backups/fleet/one/../a", "/backups/fleet/one/"]
        {
            assert_eq!(place.path_of(foreign), None);
        }
        let place = Place::of(&storage("https://example.org:8443", "", true)).unwrap();
        assert_eq!(place.host, "backups.example.org:8443");
        assert_eq!(place.request_path(&place.key("a/b").unwrap()), "/a/b");
        Place::of(&storage("https://192.0.2.1", "", true)).unwrap_err();
    }
}

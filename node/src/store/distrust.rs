//! Why a storage's certificate is not believed, in words that say what to do.

use std::{error::Error, io};

use rustls::CertificateError;

use super::place::Place;

/// The reason, if an error's cause is that the server could not prove its name.
pub fn reason(place: &Place, error: &(dyn Error + 'static)) -> Option<String> {
    let endpoint = &place.origin;
    let own = !place.authorities.is_empty();
    Some(match tls_error(error)? {
        rustls::Error::InvalidCertificate(error) => match error {
            // The signature is bad if an authority was made anew under its old name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature if own => format!(
                "{endpoint} shows a certificate that the storage's own authority did not sign. If the server has a new authority, `nuthatch storage add` with --adopt and --ca-file replaces the old one; if not, something else answers there"
            ),
            CertificateError::UnknownIssuer => format!(
                "{endpoint} shows a certificate of an authority that this machine does not know: give the authority's certificate to `nuthatch storage add` with --ca-file"
            ),
            CertificateError::NotValidForNameContext { presented, .. } => format!(
                "{endpoint} shows a certificate for other names ({}): reach it by one of those, or give it a certificate for this one",
                names(presented)
            ),
            CertificateError::NotValidForName => format!(
                "{endpoint} shows a certificate for another name: reach it by that one, or give it a certificate for this one"
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
                "the certificate of {endpoint} has expired: renew it on the server, or set this machine's clock if that is wrong"
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => format!(
                "the certificate of {endpoint} is not valid yet: set the clock of this machine, or of the one that made it"
            ),
            error if error.to_string().contains("CaUsedAsEndEntity") => format!(
                "{endpoint} shows the certificate of an authority as its own: make one for the server, signed by it"
            ),
            error => format!("{endpoint} shows a certificate that cannot be believed: {error}"),
        },
        rustls::Error::InvalidMessage(_) => {
            format!("{endpoint} does not answer in TLS: is that the right port, and does it speak https?")
        }
        _ => return None,
    })
}

/// The names of a certificate, of which rustls writes `DnsName("a")` or `IpAddress(b)`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| {
        let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        inner.unwrap_or(name).trim_matches('"').to_owned()
    };
    presented.iter().map(bare).collect::<Vec<_>>().join(", ")
}

/// The first error of TLS among the causes. Errors of I/O hide what they are made of.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.map(|inner| inner as &(dyn Error + 'static));
        let found = inner.and_then(tls_error).or_else(|| error.downcast_ref::<rustls::Error>());
        if found.is_some() {
            return found;
        }
        cause = error.source();
    }
    None
}

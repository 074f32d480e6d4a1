//! Certificates of authorities, as people have them: in a file.

use rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// The certificates of a file, in DER. It holds one, in DER, or some, in PEM. The error says
/// what it holds instead.
pub fn certificates(file: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    // DER begins with a sequence of a length that takes two more bytes, PEM with anything readable.
    if file.starts_with(&[0x30, 0x82]) {
        return Ok(vec![file.to_vec()]);
    }
    let found: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(file).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err("it holds no certificate: expected -----BEGIN CERTIFICATE-----, or DER".into())
        }
        Ok(found) => Ok(found.into_iter().map(|certificate| certificate.to_vec()).collect()),
        Err(error) => Err(format!("its certificates cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_and_der_are_read_and_nothing_else() {
        let make = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let made = rcgen::CertificateParams::new(vec!["x".into()]).unwrap().self_signed(&key).unwrap();
            (made.der().to_vec(), made.pem(), key.serialize_pem())
        };
        let ((der, pem, key), (other_der, other_pem, _)) = (make(), make());
        assert_eq!(certificates(&der).unwrap(), std::slice::from_ref(&der));
        assert_eq!(certificates(format!("Words.\n{pem}{key}{other_pem}").as_bytes()).unwrap(), [der, other_der]);
        for nothing in ["", "words", &key, "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"] {
            certificates(nothing.as_bytes()).unwrap_err();
        }
    }
}

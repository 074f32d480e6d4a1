//! TLS 1.3 with self-signed certificates.
//!
//! Invariant: a certificate proves possession of an Ed25519 key and nothing else.
//! Names, dates and issuers in it are ignored; who the key is stands in signed
//! records and is asked for on every message.

use std::sync::Arc;

use protocol::{failure::Failure, ids::PublicKey, wire};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber, date_time_ymd};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use crate::identity::Identity;

/// PKCS #8 version 1 around a 32-byte Ed25519 seed (RFC 8410, section 7).
const PKCS8_ED25519_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// The object identifier of Ed25519 (RFC 8410).
const OID_ED25519: &str = "1.3.101.112";

/// A node's certificate and what is needed to make configurations from it.
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Credentials {
    /// Makes the self-signed certificate of these keys.
    pub fn new(identity: &Identity) -> Result<Self, Failure> {
        let refuse = |error: rcgen::Error| Failure::internal(format!("cannot make a certificate: {error}"));
        let key = PrivatePkcs8KeyDer::from([&PKCS8_ED25519_PREFIX[..], identity.tls_seed()].concat());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519).map_err(refuse)?;
        let mut params = CertificateParams::new(vec![wire::SERVER_NAME.into()]).map_err(refuse)?;
        params.distinguished_name.push(DnType::CommonName, wire::SERVER_NAME);
        params.serial_number = Some(SerialNumber::from_slice(identity.node().as_bytes()));
        // Dates mean nothing here; these only keep other tools from complaining.
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(4096, 1, 1);
        let certificate = params.self_signed(&pair).map_err(refuse)?.der().clone();
        Ok(Self { provider: Arc::new(ring::default_provider()), certificate, key })
    }

    /// What a listener needs.
    pub fn server(&self) -> Result<QuicServerConfig, Failure> {
        let verifier = Arc::new(PossessionVerifier { provider: self.provider.clone(), expected: None });
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refuse)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.clone()], PrivateKeyDer::Pkcs8(self.key.clone_key()))
            .map_err(refuse)?;
        config.alpn_protocols = alpn();
        // A resumed session would carry an old identity, and 0-RTT could be replayed.
        config.send_tls13_tickets = 0;
        QuicServerConfig::try_from(config).map_err(|error| Failure::internal(error.to_string()))
    }

    /// What a dialer needs. `expected` pins the callee's key.
    pub fn client(&self, expected: Option<PublicKey>) -> Result<QuicClientConfig, Failure> {
        let verifier = Arc::new(PossessionVerifier { provider: self.provider.clone(), expected });
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refuse)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(vec![self.certificate.clone()], PrivateKeyDer::Pkcs8(self.key.clone_key()))
            .map_err(refuse)?;
        config.alpn_protocols = alpn();
        config.resumption = rustls::client::Resumption::disabled();
        QuicClientConfig::try_from(config).map_err(|error| Failure::internal(error.to_string()))
    }
}

fn refuse(error: rustls::Error) -> Failure {
    Failure::internal(format!("cannot set up TLS: {error}"))
}

fn alpn() -> Vec<Vec<u8>> {
    wire::ALPN.iter().map(|name| name.to_vec()).collect()
}

/// The Ed25519 key of a certificate.
pub fn key_of(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    let (rest, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let spki = parsed.public_key();
    let known = rest.is_empty() && spki.algorithm.algorithm.to_id_string() == OID_ED25519;
    known.then(|| spki.subject_public_key.data.as_ref().try_into().ok().map(PublicKey))?
}

/// The key that the other side of a connection has proved to hold.
pub fn peer_key(connection: &quinn::Connection) -> Option<PublicKey> {
    let identity = connection.peer_identity()?;
    key_of(identity.downcast_ref::<Vec<CertificateDer<'static>>>()?.first()?)
}

/// Accepts any certificate with an Ed25519 key, once its holder has signed the handshake.
#[derive(Debug)]
struct PossessionVerifier {
    provider: Arc<CryptoProvider>,
    expected: Option<PublicKey>,
}

impl PossessionVerifier {
    fn check(&self, certificate: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let key = key_of(certificate).filter(|_| chain.is_empty()).ok_or(CertificateError::BadEncoding)?;
        match self.expected {
            Some(expected) if expected != key => Err(CertificateError::ApplicationVerificationFailure.into()),
            _ => Ok(()),
        }
    }
}

/// What rustls asks of both verifiers alike.
macro_rules! signature_checks {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            // TLS 1.2 is never negotiated: its signatures are refused.
            Err(rustls::PeerIncompatible::Tls13RequiredForQuic.into())
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    };
}

impl ServerCertVerifier for PossessionVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(certificate, chain).map(|()| ServerCertVerified::assertion())
    }
    signature_checks!();
}

impl ClientCertVerifier for PossessionVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(certificate, chain).map(|()| ClientCertVerified::assertion())
    }
    signature_checks!();
}

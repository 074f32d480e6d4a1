//! TLS to a storage: whose word on a server's name is taken, and what is said when
//! it is not.

use std::path::Path;

use conformance::body;
use env::{Storages as _, store::StoreError};
use node::storage::TlsFiles;
use protocol::records::Storage;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, date_time_ymd};
use tempfile::TempDir;

use crate::{
    built_in::{Running, arguments, credential, refusal, start_with},
    suite::{self, storages},
};

type Authority = CertifiedIssuer<'static, KeyPair>;
type Change<'a> = &'a dyn Fn(&mut CertificateParams);

fn authority() -> Authority {
    named_authority("test authority")
}

fn named_authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for this address of the loopback.
fn params(address: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![SanType::IpAddress(address.parse().unwrap())];
    params
}

fn write(directory: &Path, certificate: &rcgen::Certificate, key: &KeyPair) -> TlsFiles {
    let files = TlsFiles { certificate: directory.join("certificate.pem"), key: directory.join("key.pem") };
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

/// A storage that shows a certificate of these terms.
async fn serve(directory: &Path, authority: &Authority, params: CertificateParams) -> Running {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    start_tls(directory, write(directory, &certificate, &key)).await
}

async fn start_tls(directory: &Path, files: TlsFiles) -> Running {
    let mut arguments = arguments(&directory.join("objects"), "127.0.0.1:0");
    arguments.settings.tls = Some(files);
    let mut running = start_with(arguments).await;
    running.storage.endpoint = format!("https://{}", running.address);
    running
}

fn believing(running: &Running, authority: &Authority) -> Storage {
    Storage { authorities: vec![authority.der().to_vec()], ..running.storage.clone() }
}

/// How everything that can be asked of a storage fails, which must be the same.
async fn failure(storage: &Storage) -> String {
    let steward = storages().steward(storage, &credential()).unwrap();
    let carrier = storages().carrier(storage).unwrap();
    let ticket = steward.mint_put("a", 10, &conformance::hash(&body(10, 1)), suite::now()).unwrap();
    let errors = [
        carrier.put(&ticket, body(10, 1)).await.unwrap_err(),
        carrier.get(&steward.mint_get("a", suite::now()).unwrap(), None).await.unwrap_err(),
        steward.head("a").await.unwrap_err(),
        steward.list("").await.unwrap_err(),
        steward.put_new("a", body(10, 1)).await.unwrap_err(),
        steward.delete("a").await.unwrap_err(),
    ];
    // Trying again would not help.
    assert!(errors.iter().all(|error| matches!(error, StoreError::Invalid { .. })), "{errors:?}");
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    errors[0].to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_storage_conforms_over_tls() {
    let (directory, authority) = (TempDir::new().unwrap(), authority());
    let running = serve(directory.path(), &authority, params("127.0.0.1")).await;
    suite::run(believing(&running, &authority), credential()).await;
    running.stop().await;
}

#[tokio::test]
async fn only_the_storages_own_authority_is_believed() {
    let (directory, right, wrong) = (TempDir::new().unwrap(), authority(), named_authority("another"));
    let running = serve(directory.path(), &right, params("127.0.0.1")).await;
    // One of another name, and one that was made anew under the old name.
    for wrong in [&wrong, &authority()] {
        let error = failure(&believing(&running, wrong)).await;
        assert!(error.contains("own authority did not sign") && error.contains("--adopt"), "{error}");
    }
    // Without one, the machine's authorities count, and none of them signed it.
    let error = failure(&running.storage).await;
    assert!(error.contains("does not know") && error.contains("--ca-file"), "{error}");
    // One of several is enough.
    let mut both = believing(&running, &wrong);
    both.authorities.push(right.der().to_vec());
    storages().steward(&both, &credential()).unwrap().put_new("a", body(10, 1)).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn a_certificate_is_for_a_name_and_a_time() {
    let authority = authority();
    let expired = |params: &mut CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    };
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(3000, 1, 1);
    let unchanged = |_: &mut CertificateParams| {};
    let cases: [(&str, Change<'_>, &[&str]); 3] = [
        ("127.0.0.1", &expired, &["has expired", "renew it"]),
        ("127.0.0.1", &early, &["not valid yet", "clock"]),
        ("127.0.0.2", &unchanged, &["for other names (127.0.0.2)"]),
    ];
    for (address, change, words) in cases {
        let directory = TempDir::new().unwrap();
        let mut params = params(address);
        change(&mut params);
        let running = serve(directory.path(), &authority, params).await;
        let error = failure(&believing(&running, &authority)).await;
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(error.contains(&running.storage.endpoint), "{error}");
        running.stop().await;
    }
}

#[tokio::test]
async fn an_authoritys_certificate_is_not_a_servers() {
    let directory = TempDir::new().unwrap();
    let mut params = params("127.0.0.1");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let files = write(directory.path(), authority.as_ref(), authority.key());
    let running = start_tls(directory.path(), files).await;
    let error = failure(&believing(&running, &authority)).await;
    assert!(error.contains("make one for the server"), "{error}");
    running.stop().await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_its_own_authority() {
    let directory = TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params("127.0.0.1").self_signed(&key).unwrap();
    let running = start_tls(directory.path(), write(directory.path(), &certificate, &key)).await;
    let storage = Storage { authorities: vec![certificate.der().to_vec()], ..running.storage.clone() };
    storages().steward(&storage, &credential()).unwrap().put_new("a", body(10, 1)).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told() {
    let directory = TempDir::new().unwrap();
    let running = start_with(arguments(directory.path(), "127.0.0.1:0")).await;
    let storage = Storage { endpoint: format!("https://{}", running.address), ..running.storage.clone() };
    let error = failure(&storage).await;
    assert!(error.contains("does not answer in TLS"), "{error}");
    running.stop().await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let (directory, authority) = (TempDir::new().unwrap(), authority());
    let key = KeyPair::generate().unwrap();
    let certificate = params("127.0.0.1").signed_by(&key, &authority).unwrap();
    let good = write(directory.path(), &certificate, &key);
    let other = directory.path().join("other.pem");
    std::fs::write(&other, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let missing = directory.path().join("missing.pem");
    let with = |certificate: &Path, key: &Path| TlsFiles { certificate: certificate.into(), key: key.into() };
    for (files, words) in [
        (with(&missing, &good.key), "missing.pem cannot be used"),
        (with(&good.key, &good.key), "no certificate"),
        (with(&good.certificate, &good.certificate), "no private key"),
        (with(&good.certificate, &other), "does not go with the key"),
    ] {
        let mut arguments = arguments(&directory.path().join("objects"), "0.0.0.0:0");
        arguments.settings.tls = Some(files);
        let error = refusal(arguments).await;
        assert!(error.contains(words), "{error}");
    }
}

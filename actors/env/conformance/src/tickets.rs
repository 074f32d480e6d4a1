//! A ticket is good for one request, for a while, and for who holds the credential
//! to make it.

use bytes::Bytes;
use env::store::StoreError;
use protocol::{limits::OBJECT_BYTES_MAX, records::StorageCredential, time::UnixMillis, wire::PutTicket};

use crate::{Bench, body, hash, with_header};

const MINUTE_MS: u64 = 60 * 1000;

pub async fn run(bench: &Bench) {
    a_ticket_fits_one_body(bench).await;
    a_changed_ticket_stores_nothing(bench).await;
    a_carrier_sends_only_what_was_signed(bench).await;
    a_read_ticket_reads_one_object(bench).await;
    tickets_end(bench).await;
    a_wrong_credential_gets_nothing(bench).await;
}

fn refused(status: Option<u16>) -> bool {
    matches!(status, None | Some(400 | 403 | 501))
}

async fn a_ticket_fits_one_body(bench: &Bench) {
    let good = body(5000, 4);
    let ticket = bench.put_ticket("fitting", &good);
    let shorter = with_header(&ticket, "content-length", Some("4000"));
    let longer = with_header(&ticket, "content-length", Some("5001"));
    let tries: [(&PutTicket, Bytes); 3] =
        [(&ticket, body(5000, 5)), (&shorter, good.slice(..4000)), (&longer, body(5001, 4))];
    for (ticket, body) in tries {
        let len = body.len();
        let status = bench.subject.raw.put(ticket, body).await;
        assert!(refused(status), "a wrong body of {len} bytes: {status:?}");
        bench.absent("fitting").await;
    }
    for len in [0, 4999] {
        let put = bench.carrier.put(&ticket, good.slice(..len)).await;
        assert!(matches!(put, Err(StoreError::Invalid { .. })), "{put:?}");
    }
    let put = bench.carrier.put(&ticket, body(5001, 4)).await;
    assert!(matches!(put, Err(StoreError::Invalid { .. })), "{put:?}");
    for len in [0, OBJECT_BYTES_MAX as u64 + 1] {
        let minted = bench.steward.mint_put("length", len, &hash(b""), bench.now());
        assert!(matches!(minted, Err(StoreError::Invalid { .. })), "a ticket for {len} bytes");
    }
    bench.carrier.put(&ticket, good).await.unwrap();
}

async fn a_changed_ticket_stores_nothing(bench: &Bench) {
    let good = body(5000, 4);
    let ticket = bench.put_ticket("tampered", &good);
    let mut changed = Vec::new();
    for path in [ticket.path.replace("tampered", "elsewhere"), ticket.path.replace("tampered", "tampered/below")] {
        changed.push((format!("for {path}"), PutTicket { path, ..ticket.clone() }));
    }
    for query in ["?acl", "?uploadId=x", "?tagging", "?versionId=null"] {
        changed
            .push((format!("with {query}"), PutTicket { path: format!("{}{query}", ticket.path), ..ticket.clone() }));
    }
    for name in ["if-none-match", "x-amz-acl", "x-amz-date", "x-amz-content-sha256", "authorization"] {
        changed.push((format!("without {name}"), with_header(&ticket, name, None)));
    }
    let wrong_hash = hash(b"other").to_string();
    for (name, value) in [
        ("x-amz-acl", "public-read"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-content-sha256", wrong_hash.as_str()),
        ("if-none-match", "\"x\""),
    ] {
        changed.push((format!("with {name}: {value}"), with_header(&ticket, name, Some(value))));
    }
    for (what, changed) in &changed {
        let status = bench.subject.raw.put(changed, good.clone()).await;
        assert!(refused(status), "a ticket {what}: {status:?}");
    }
    for path in ["tampered", "elsewhere", "tampered/below"] {
        bench.absent(path).await;
    }
    // Servers may ignore what was not signed, but it must not change what is stored.
    let source = ticket.path.trim_start_matches('/').replace("tampered", "once");
    let copy = with_header(&ticket, "x-amz-copy-source", Some(&source));
    match bench.subject.raw.put(&copy, good.clone()).await {
        Some(200) => assert_eq!(bench.get("tampered", None).await.unwrap(), good),
        status => {
            assert!(refused(status), "{status:?}");
            bench.absent("tampered").await;
        }
    }
}

async fn a_carrier_sends_only_what_was_signed(bench: &Bench) {
    let good = body(5000, 6);
    let ticket = bench.put_ticket("scruples", &good);
    let moved = |path: String| PutTicket { path, ..ticket.clone() };
    let outside =
        [moved("/other/scruples".into()), moved(ticket.path.replace("scruples", "../scruples")), moved(String::new())];
    for bad in outside {
        let put = bench.carrier.put(&bad, good.clone()).await;
        assert!(matches!(put, Err(StoreError::Invalid { .. })), "{}: {put:?}", bad.path);
    }
    for bad in [
        moved(format!("{}?acl", ticket.path)),
        with_header(&ticket, "x-amz-copy-source", Some("/a/b")),
        with_header(&ticket, "if-none-match", None),
        with_header(&ticket, "host", Some("example.org")),
        with_header(&ticket, "authorization", None),
    ] {
        let put = bench.carrier.put(&bad, good.clone()).await;
        assert!(matches!(put, Err(StoreError::Invalid { .. } | StoreError::Refused { .. })), "{bad:?}: {put:?}");
    }
    bench.absent("scruples").await;
}

async fn a_read_ticket_reads_one_object(bench: &Bench) {
    bench.put("read/mine", &body(100, 7)).await.unwrap();
    bench.put("read/yours", &body(100, 8)).await.unwrap();
    let raw = &bench.subject.raw;
    let ticket = bench.read_ticket("read/mine");
    assert_eq!(raw.get(&ticket.url).await, 200);
    assert_eq!(raw.get(ticket.url.split('?').next().unwrap()).await, 403, "not signed");
    let mut other = ticket.clone();
    other.url = ticket.url.replace("mine", "yours");
    let got = bench.carrier.get(&other, None).await;
    assert!(matches!(got, Err(StoreError::Refused { .. })), "{got:?}");
    // Another server than this carrier's, and another bucket.
    let rest: String = ticket.url.splitn(4, '/').skip(3).collect();
    for url in [format!("http://127.0.0.1:1/{rest}"), "nonsense".into(), String::new()] {
        let mut foreign = ticket.clone();
        foreign.url = url;
        let error = bench.carrier.get(&foreign, None).await.unwrap_err();
        assert!(matches!(&error, StoreError::Invalid { .. }), "{error}");
        assert!(!error.to_string().to_lowercase().contains("signature="), "{error}");
    }
}

async fn tickets_end(bench: &Bench) {
    // Tickets that ended a minute ago.
    let ended = |expires: UnixMillis, now: UnixMillis| UnixMillis(now.0 - (expires.0 - now.0) - MINUTE_MS);
    let (good, now) = (body(100, 9), bench.now());
    let mint = |now| bench.steward.mint_put("late", 100, &hash(&good), now).unwrap();
    let late = mint(ended(mint(now).expires, now));
    let put = bench.carrier.put(&late, good.clone()).await;
    assert!(matches!(put, Err(StoreError::Refused { .. })), "{put:?}");
    bench.absent("late").await;
    // One for which the storage's clock is far behind.
    let early = mint(UnixMillis(now.0 + 2 * 60 * MINUTE_MS));
    let put = bench.carrier.put(&early, good.clone()).await;
    assert!(matches!(put, Err(StoreError::Refused { .. })), "{put:?}");
    bench.absent("late").await;
    bench.put("read/late", &good).await.unwrap();
    let mint = |now| bench.steward.mint_get("read/late", now).unwrap();
    let got = bench.carrier.get(&mint(ended(mint(now).expires, now)), None).await;
    assert!(matches!(got, Err(StoreError::Refused { .. })), "{got:?}");
    assert_eq!(bench.carrier.get(&mint(now), None).await.unwrap(), good);
}

async fn a_wrong_credential_gets_nothing(bench: &Bench) {
    let secret = "not-the-secret-key-of-anyone";
    let (subject, right) = (&bench.subject, &bench.subject.credential);
    for wrong in [StorageCredential::new(right.access_key.clone(), secret), StorageCredential::new("NOBODY", secret)] {
        let steward = subject.storages.steward(&subject.storage, &wrong).unwrap();
        let good = body(10, 1);
        let put = steward.mint_put("stolen", 10, &hash(&good), bench.now()).unwrap();
        let errors = [
            bench.carrier.put(&put, good).await.unwrap_err(),
            bench.carrier.get(&steward.mint_get("once", bench.now()).unwrap(), None).await.unwrap_err(),
            steward.get("once", 10_000).await.unwrap_err(),
            steward.get_range("once", 0..10).await.unwrap_err(),
            steward.head("once").await.unwrap_err(),
            steward.list("").await.unwrap_err(),
            steward.delete("once").await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, StoreError::Refused { .. }), "{error:?}");
            assert!(!error.to_string().contains(secret), "{error}");
        }
    }
    bench.absent("stolen").await;
    bench.steward.head("once").await.unwrap();
}

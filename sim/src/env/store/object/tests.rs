use protocol::ids::RepositoryId;

use super::*;

const NOW: UnixMillis = UnixMillis(1_790_000_000_000);
const NODE: Node = Node(0);

fn storage() -> Storage {
    Storage {
        repository: RepositoryId([1; 16]),
        name: "main".into(),
        endpoint: "http://storage:9000".into(),
        region: "sim".into(),
        bucket: "bucket".into(),
        prefix: "nuts".into(),
        virtual_host: false,
        authorities: Vec::new(),
    }
}

fn credential(name: &str) -> StorageCredential {
    StorageCredential::new(name, format!("{name}'s secret"))
}

fn store() -> ObjectStore {
    let store = ObjectStore::new(1..2, Stream::new(1, "store", 0));
    store.allow(&credential("minter"), false);
    store.allow(&credential("sweeper"), true);
    store
}

fn put(path: &str, body: &[u8], now: UnixMillis) -> Request {
    let ticket = ticket::mint_put(&storage(), &credential("minter"), path, body.len() as u64, &sha256(body), now);
    Request {
        method: Method::Put,
        target: format!("storage:9000{}", ticket.path),
        query: None,
        headers: ticket.headers,
        body: Bytes::copy_from_slice(body),
        range: None,
    }
}

fn get(path: &str, range: Option<Range<u64>>) -> Request {
    let ticket = ticket::mint_get(&storage(), &credential("minter"), path, NOW);
    let (target, query) = ticket::parse_url(&ticket.url).unwrap();
    let (headers, body) = (Vec::new(), Bytes::new());
    Request { method: Method::Get, target, query: Some(query), headers, body, range }
}

fn own(method: Method, path: &str, who: &str) -> Request {
    let target = address(&storage(), path);
    let headers = ticket::sign(&credential(who), method, &target, (0, &sha256(b"")), NOW);
    Request { method, target, query: None, headers, body: Bytes::new(), range: None }
}

fn status(store: &ObjectStore, request: Request) -> u16 {
    store.execute(NODE, request, NOW).map_or(0, |reply| reply.status)
}

#[test]
fn a_ticket_stores_its_own_bytes_once() {
    let store = store();
    assert_eq!(status(&store, put("a", b"body", NOW)), 200);
    assert_eq!(store.object("storage:9000/bucket/nuts/a").unwrap(), "body");
    assert_eq!(status(&store, put("a", b"body", NOW)), 412);
    assert_eq!(status(&store, put("a", b"other", NOW)), 412);
    assert_eq!(store.object("storage:9000/bucket/nuts/a").unwrap(), "body");
}

#[test]
fn a_tampered_ticket_is_refused_and_stores_nothing() {
    type Change = (&'static str, fn(&mut Request));
    let changes: [Change; 11] = [
        ("another key", |request| request.target.push('x')),
        ("another host", |request| request.target = request.target.replace("storage", "elsewhere")),
        ("another method", |request| request.method = Method::Get),
        ("delete", |request| request.method = Method::Delete),
        ("another body", |request| request.body = Bytes::from_static(b"evil")),
        ("a longer body", |request| request.body = Bytes::from_static(b"body and more")),
        ("a shorter body", |request| request.body = Bytes::from_static(b"bod")),
        ("no condition", |request| request.headers.retain(|(name, _)| name != "if-none-match")),
        ("one header more", |request| {
            request.headers.push(("x-amz-copy-source".into(), "/bucket/secret".into()));
        }),
        ("a later date", |request| request.headers[1].1 = (NOW.0 + 1).to_string()),
        ("another signer", |request| {
            let last = request.headers.last_mut().unwrap();
            last.1 = last.1.replace("minter", "sweeper");
        }),
    ];
    for (what, change) in changes {
        let store = store();
        let mut request = put("a", b"body", NOW);
        change(&mut request);
        let answer = status(&store, request);
        assert!((400..=403).contains(&answer), "{what} was answered with {answer}");
        assert!(store.objects().is_empty(), "{what} stored something");
    }
}

#[test]
fn a_changed_header_with_the_matching_hash_is_refused_too() {
    let store = store();
    let mut request = put("a", b"body", NOW);
    request.body = Bytes::from_static(b"evil");
    request.headers[3].1 = sha256(b"evil").to_string();
    assert_eq!(status(&store, request), 403);
}

#[test]
fn tickets_end_after_fifteen_minutes_of_the_storages_clock() {
    let store = store();
    let at = |now| store.execute(NODE, put("a", b"body", NOW), now).unwrap().status;
    assert_eq!(at(UnixMillis(NOW.0 + ticket::WINDOW_MS + 1)), 403);
    assert_eq!(at(UnixMillis(NOW.0 - ticket::WINDOW_MS - 1)), 403);
    assert_eq!(at(UnixMillis(NOW.0 + ticket::WINDOW_MS)), 200);
    let late = UnixMillis(NOW.0 + ticket::WINDOW_MS + 1);
    assert_eq!(store.execute(NODE, get("a", None), late).unwrap().status, 403);
}

#[test]
fn reads_are_bound_to_their_object() {
    let store = store();
    status(&store, put("a", b"0123456789", NOW));
    status(&store, put("b", b"secret", NOW));
    let read = |range| store.execute(NODE, get("a", range), NOW).unwrap();
    assert_eq!(read(None).body, "0123456789");
    assert_eq!((read(Some(8..20)).body, read(Some(8..20)).length), (Bytes::from_static(b"89"), 2));
    assert_eq!(read(Some(10..12)).status, 416);
    let mut other = get("a", None);
    other.target = other.target.replace("/a", "/b");
    assert_eq!(status(&store, other), 403);
    assert_eq!(status(&store, get("c", None)), 404);
    let mut longer = get("a", None);
    longer.query = longer.query.map(|query| query.replace("expires=900000", "expires=9000000"));
    assert_eq!(status(&store, longer), 403);
}

#[test]
fn only_who_may_delete_deletes() {
    let store = store();
    status(&store, put("a", b"body", NOW));
    assert_eq!(status(&store, own(Method::Delete, "a", "minter")), 403);
    assert_eq!(status(&store, own(Method::Head, "a", "minter")), 200);
    assert_eq!(status(&store, own(Method::Delete, "a", "sweeper")), 200);
    assert_eq!(status(&store, own(Method::Head, "a", "minter")), 404);
    assert_eq!(status(&store, own(Method::Delete, "a", "sweeper")), 200);
    store.revoke("sweeper");
    assert_eq!(status(&store, own(Method::Delete, "a", "sweeper")), 403);
}

#[test]
fn lapses_strike_whom_and_as_often_as_they_were_told_to() {
    let store = store();
    let rule = |node, method, lapse, times| store.misbehave(Rule { node, method, lapse, times });
    rule(Some(Node(7)), None, Lapse::Busy, 9);
    rule(None, Some(Method::Get), Lapse::NotFound, 1);
    rule(None, Some(Method::Put), Lapse::LostAnswer, 1);
    rule(None, Some(Method::Put), Lapse::LostRequest, 1);
    assert_eq!(store.execute(NODE, put("after", b"body", NOW), NOW), None);
    assert_eq!(store.execute(NODE, put("before", b"body", NOW), NOW), None);
    assert_eq!(store.objects().into_keys().collect::<Vec<_>>(), ["storage:9000/bucket/nuts/after"]);
    assert_eq!(status(&store, get("after", None)), 404);
    assert_eq!(status(&store, get("after", None)), 200);
    assert_eq!(store.execute(Node(7), get("after", None), NOW).unwrap().status, 503);
}

#[test]
fn a_body_cut_short_is_never_stored_and_always_shows() {
    let store = store();
    let rule = |lapse, times| store.misbehave(Rule { node: None, method: None, lapse, times });
    rule(Lapse::Truncated, 1);
    assert_eq!(status(&store, put("a", b"body", NOW)), 400);
    assert!(store.objects().is_empty());
    status(&store, put("a", b"body", NOW));
    rule(Lapse::Truncated, 1);
    let cut = store.execute(NODE, get("a", None), NOW).unwrap();
    assert_eq!((cut.length, cut.body.len()), (4, 2));
    rule(Lapse::Corrupt, 1);
    let corrupt = store.execute(NODE, get("a", None), NOW).unwrap();
    assert!(corrupt.body.len() == 4 && corrupt.body != "body");
}

//! The one object storage of a world, with S3's semantics.
//!
//! Invariant: an object is shown only after its length and hash were checked, it
//! is never overwritten by a request that says `If-None-Match: *`, and each
//! request takes effect at one moment, as a whole or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Mutex,
};

use bytes::Bytes;
use protocol::{
    ids::Sha256,
    records::{Storage, StorageCredential},
    time::UnixMillis,
};
use sha2::Digest;

use super::ticket;
use crate::{
    kernel::{
        fault::{Lapse, Method, Node},
        lock,
        rng::Stream,
    },
    scenario::sometimes,
};

/// One request as it arrives.
#[derive(Debug, Clone)]
pub struct Request {
    /// What it asks for.
    pub method: Method,
    /// `host/bucket/key`.
    pub target: String,
    /// The query of a pre-signed request.
    pub query: Option<String>,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Bytes,
    /// Which bytes of an object it asks for.
    pub range: Option<Range<u64>>,
}

/// What the storage answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// HTTP's code.
    pub status: u16,
    /// What is wrong, as S3 calls it.
    pub code: &'static str,
    /// How long the body is said to be; for a HEAD, the object.
    pub length: u64,
    /// The body.
    pub body: Bytes,
    /// What a listing found.
    pub names: Vec<(String, u64)>,
}

impl Reply {
    fn status(status: u16, code: &'static str) -> Self {
        Self { status, code, length: 0, body: Bytes::new(), names: Vec::new() }
    }

    fn done() -> Self {
        Self::status(200, "")
    }
}

/// `host/bucket/prefix/path` of something in a storage.
pub fn address(storage: &Storage, path: &str) -> String {
    let host = storage.endpoint.split_once("://").map_or(storage.endpoint.as_str(), |(_, host)| host);
    let parts = [host.trim_end_matches('/'), &storage.bucket, &storage.prefix, path];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// What a credential may do.
#[derive(Debug, Clone)]
struct Powers {
    secret: String,
    may_delete: bool,
}

/// A way to misbehave that was switched on.
#[derive(Debug, Clone)]
pub struct Rule {
    /// To whom; none: to all.
    pub node: Option<Node>,
    /// For which requests; none: for all.
    pub method: Option<Method>,
    /// How.
    pub lapse: Lapse,
    /// How often yet.
    pub times: u32,
}

#[derive(Debug)]
struct Contents {
    objects: BTreeMap<String, Bytes>,
    credentials: BTreeMap<String, Powers>,
    rules: Vec<Rule>,
    down: bool,
    cut: BTreeSet<Node>,
    latency_ms: Range<u64>,
    stream: Stream,
    counts: BTreeMap<(Method, u16), u64>,
}

/// The storage.
#[derive(Debug)]
pub struct ObjectStore(Mutex<Contents>);

impl ObjectStore {
    /// An empty one, whose requests take so many milliseconds.
    pub fn new(latency_ms: Range<u64>, stream: Stream) -> Self {
        Self(Mutex::new(Contents {
            objects: BTreeMap::new(),
            credentials: BTreeMap::new(),
            rules: Vec::new(),
            down: false,
            cut: BTreeSet::new(),
            latency_ms,
            stream,
            counts: BTreeMap::new(),
        }))
    }

    /// Makes a credential valid. All may put, get and list.
    pub fn allow(&self, credential: &StorageCredential, may_delete: bool) {
        let powers = Powers { secret: credential.secret_key.clone(), may_delete };
        lock(&self.0).credentials.insert(credential.access_key.clone(), powers);
    }

    /// Makes a credential invalid.
    pub fn revoke(&self, access_key: &str) {
        lock(&self.0).credentials.remove(access_key);
    }

    /// Switches a lapse on.
    pub fn misbehave(&self, rule: Rule) {
        lock(&self.0).rules.push(rule);
    }

    /// Lets nobody, or everybody, reach it.
    pub fn set_down(&self, down: bool) {
        lock(&self.0).down = down;
    }

    /// Lets one node not reach it, or reach it again.
    pub fn set_cut(&self, node: Node, cut: bool) {
        let mut contents = lock(&self.0);
        if cut {
            contents.cut.insert(node);
        } else {
            contents.cut.remove(&node);
        }
    }

    /// Ends every lapse, cut and outage.
    pub fn calm(&self) {
        let mut contents = lock(&self.0);
        contents.rules.clear();
        contents.cut.clear();
        contents.down = false;
    }

    /// Changes how long requests take, in milliseconds.
    pub fn set_latency(&self, latency_ms: Range<u64>) {
        lock(&self.0).latency_ms = latency_ms;
    }

    /// Whether packets pass between a node and the storage.
    pub fn is_reachable(&self, node: Node) -> bool {
        let contents = lock(&self.0);
        !contents.down && !contents.cut.contains(&node)
    }

    /// How long the next leg of a request takes, in microseconds.
    pub fn draw_leg_us(&self) -> u64 {
        let mut contents = lock(&self.0);
        let range = contents.latency_ms.start * 500..contents.latency_ms.end * 500;
        contents.stream.within(&range)
    }

    /// All objects and their lengths, by `host/bucket/key`.
    pub fn objects(&self) -> BTreeMap<String, u64> {
        lock(&self.0).objects.iter().map(|(target, bytes)| (target.clone(), bytes.len() as u64)).collect()
    }

    /// An object, as a checker sees it.
    pub fn object(&self, target: &str) -> Option<Bytes> {
        lock(&self.0).objects.get(target).cloned()
    }

    /// Puts, replaces or (with none) deletes an object behind everyone's back.
    pub fn tamper(&self, target: &str, bytes: Option<Bytes>) {
        let mut contents = lock(&self.0);
        match bytes {
            Some(bytes) => contents.objects.insert(target.to_owned(), bytes),
            None => contents.objects.remove(target),
        };
    }

    /// How many requests of this kind were answered with this status.
    pub fn answered(&self, method: Method, status: u16) -> u64 {
        lock(&self.0).counts.get(&(method, status)).copied().unwrap_or_default()
    }

    /// Carries a request out, at once; none: it gets no answer.
    pub fn execute(&self, node: Node, mut request: Request, now: UnixMillis) -> Option<Reply> {
        let mut contents = lock(&self.0);
        let lapse = contents.lapse(node, request.method);
        let reply = match lapse {
            Some(Lapse::Forbidden) => Reply::status(403, "AccessDenied"),
            Some(Lapse::NotFound) => Reply::status(404, "NoSuchKey"),
            Some(Lapse::Exists) => Reply::status(412, "PreconditionFailed"),
            Some(Lapse::Internal) => Reply::status(500, "InternalError"),
            Some(Lapse::Busy) => Reply::status(503, "SlowDown"),
            Some(Lapse::Full) => Reply::status(507, "InsufficientStorage"),
            Some(Lapse::LostRequest) => return None,
            Some(Lapse::LostAnswer) => {
                if contents.serve(&request, now).status == 200 && request.method == Method::Put {
                    sometimes("a PUT takes effect, and its answer is lost");
                }
                return None;
            }
            Some(Lapse::InternalAfter) => {
                contents.serve(&request, now);
                Reply::status(500, "InternalError")
            }
            Some(Lapse::Truncated) => {
                request.body.truncate(request.body.len() / 2);
                let mut reply = contents.serve(&request, now);
                reply.body.truncate(reply.body.len() / 2);
                reply
            }
            Some(Lapse::Corrupt) => {
                let mut reply = contents.serve(&request, now);
                reply.body = contents.flip_a_bit(&reply.body);
                reply
            }
            None => contents.serve(&request, now),
        };
        *contents.counts.entry((request.method, reply.status)).or_default() += 1;
        Some(reply)
    }
}

impl Contents {
    fn lapse(&mut self, node: Node, method: Method) -> Option<Lapse> {
        let fits = |rule: &&mut Rule| {
            rule.times > 0 && rule.node.is_none_or(|n| n == node) && rule.method.is_none_or(|m| m == method)
        };
        let rule = self.rules.iter_mut().find(fits)?;
        rule.times -= 1;
        Some(rule.lapse)
    }

    fn flip_a_bit(&mut self, body: &Bytes) -> Bytes {
        let mut bytes = body.to_vec();
        let at = self.stream.below(bytes.len() as u64) as usize;
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << self.stream.below(8);
        }
        bytes.into()
    }

    fn serve(&mut self, request: &Request, now: UnixMillis) -> Reply {
        let secret_of = |access: &str| self.credentials.get(access).map(|powers| powers.secret.as_str());
        let access = match ticket::check(request, now, secret_of) {
            Ok(access) => access,
            Err(refusal) => return Reply::status(403, refusal),
        };
        match request.method {
            Method::Put => self.put(request),
            Method::Get => self.get(request),
            Method::Head => match self.objects.get(&request.target) {
                Some(bytes) => Reply { length: bytes.len() as u64, ..Reply::done() },
                None => Reply::status(404, "NoSuchKey"),
            },
            Method::List => {
                let below = self.objects.range(request.target.clone()..);
                let below = below.take_while(|(target, _)| target.starts_with(&request.target));
                Reply {
                    names: below.map(|(target, bytes)| (target.clone(), bytes.len() as u64)).collect(),
                    ..Reply::done()
                }
            }
            Method::Delete => {
                if !self.credentials.get(&access).is_some_and(|powers| powers.may_delete) {
                    return Reply::status(403, "AccessDenied: this key may not delete");
                }
                self.objects.remove(&request.target);
                Reply::done()
            }
        }
    }

    fn put(&mut self, request: &Request) -> Reply {
        let length = ticket::header(request, "content-length").and_then(|length| length.parse().ok());
        if length != Some(request.body.len()) {
            return Reply::status(400, "IncompleteBody");
        }
        let hash = sha256(&request.body).to_string();
        if ticket::header(request, "x-amz-content-sha256") != Some(hash.as_str()) {
            return Reply::status(400, "XAmzContentSHA256Mismatch");
        }
        let only_new = ticket::header(request, "if-none-match") == Some("*");
        if only_new && self.objects.contains_key(&request.target) {
            sometimes("a PUT finds that an earlier one took effect");
            return Reply::status(412, "PreconditionFailed");
        }
        // A copy: what the client's memory does later must not matter.
        self.objects.insert(request.target.clone(), Bytes::copy_from_slice(&request.body));
        Reply::done()
    }

    fn get(&self, request: &Request) -> Reply {
        let Some(bytes) = self.objects.get(&request.target) else { return Reply::status(404, "NoSuchKey") };
        let length = bytes.len() as u64;
        let range = request.range.clone().unwrap_or(0..length);
        if range.start >= length && request.range.is_some() {
            return Reply::status(416, "InvalidRange");
        }
        let body = bytes.slice(range.start as usize..range.end.clamp(range.start, length) as usize);
        Reply { length: body.len() as u64, body, ..Reply::done() }
    }
}

#[cfg(test)]
mod tests;

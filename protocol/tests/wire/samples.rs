//! One of everything that is sent, made from fixed keys and numbers.

use protocol::{
    audit::{Act, AuditEntry},
    codec,
    commands::*,
    failure::{Code, Failure},
    ids::*,
    ledger::{self, Charter, Item},
    levels::{Levels, Statement},
    names::{ObjectName, Place},
    reconcile::{Content, FANOUT, Part, Prefix, Probe, fingerprint_of_hashes, fingerprint_of_parts},
    records::*,
    sealed::{SealedBox, SealingSecret, seal_to},
    sign::{self, Signed, Signer},
    time::UnixMillis,
    token::{Token, Welcome as TokenWelcome},
    wire::{self, Answer, Envelope, Reply, Request},
};

pub fn root() -> Signer {
    Signer::from_seed(&[1; 32])
}

pub fn admin() -> Signer {
    Signer::from_seed(&[2; 32])
}

pub fn cluster() -> ClusterId {
    ClusterId::of_root(&root().public())
}

pub fn token() -> Token {
    Token::new([3; 32], root().public(), 300, vec!["192.0.2.1:7400".into(), "[2001:db8::1]:7400".into()])
}

pub const RELEASE: [u8; 32] = [4; 32];

pub fn welcome() -> TokenWelcome {
    TokenWelcome { convergence: vec![(0, [5; 32]), (1, [6; 32])], index_key: [7; 32] }
}

pub fn sealing() -> SealingSecret {
    SealingSecret::from_seed(&[8; 32])
}

pub const SEALED_INFO: &[u8] = b"info";
pub const SEALED_PLAINTEXT: &[u8] = b"plaintext";

pub fn sealed_box() -> SealedBox {
    seal_to(&sealing().public(), SEALED_INFO, SEALED_PLAINTEXT, &mut |bytes| bytes.fill(9)).unwrap()
}

pub fn lease_id() -> LeaseId {
    LeaseId { incarnation: 1, index: 0x0102_0304 }
}

pub fn object() -> ObjectName {
    ObjectName { lease: lease_id(), hash: Sha256([0xaa; 32]) }
}

pub fn keyset() -> Keyset {
    Keyset {
        name: "example".into(),
        admins: vec![Admin { name: "ann".into(), key: admin().public() }],
        orchestrators: vec![Orchestrator {
            name: "one".into(),
            key: PublicKey([0x11; 32]),
            sealing: SealingKey([0x12; 32]),
            voter: 0x1234_5678_9abc_def0,
            address: "192.0.2.1:7400".into(),
        }],
    }
}

pub fn terms() -> TokenTerms {
    TokenTerms {
        token: token().id(),
        name: "laptops".into(),
        uses: 3,
        expires: UnixMillis(1_800_000_000_000),
        domain: DomainId([0x21; 16]),
        tags: vec!["laptop".into()],
        welcome: token().seal_welcome(&RELEASE, &welcome()),
    }
}

/// Every payload that a record can have.
pub fn payloads() -> Vec<(&'static str, Payload)> {
    let domain = Domain {
        id: DomainId([0x21; 16]),
        name: "office".into(),
        repository: RepositoryId([0x22; 16]),
        trust: Trust::Strangers,
        chunker: Chunker { min: 262_144, average: 1_048_576, max: 4_194_304 },
        codec: Codec::Zstd(-1),
        cipher: Cipher::ChaCha20Poly1305,
        generation: 1,
    };
    let storage = Storage {
        repository: RepositoryId([0x22; 16]),
        name: "s3".into(),
        endpoint: "https://s3.example.org".into(),
        region: "eu-1".into(),
        bucket: "backups".into(),
        prefix: "nuthatch".into(),
        virtual_host: true,
        authorities: vec![vec![0x30, 0x03], vec![0x30]],
    };
    let secret = SharedSecret { id: SecretId::StorageMinting(RepositoryId([0x22; 16])), boxes: vec![sealed_box()] };
    vec![
        ("Keyset", Payload::Keyset(keyset())),
        ("Domain", Payload::Domain(domain)),
        ("Storage", Payload::Storage(storage)),
        ("Secret", Payload::Secret(secret)),
        ("Token", Payload::Token(terms())),
        ("TokenRevocation", Payload::TokenRevocation(Revocation { id: token().id(), reason: "leaked".into() })),
        ("ClientRevocation", Payload::ClientRevocation(Revocation { id: ClientId([0x31; 16]), reason: "lost".into() })),
    ]
}

pub fn body(payload: Payload) -> RecordBody {
    RecordBody { cluster: cluster(), version: 300, payload }
}

pub fn subjects() -> Vec<Subject> {
    let mut subjects: Vec<_> = payloads().iter().map(|(_, payload)| payload.subject()).collect();
    subjects.push(Subject::Secret(SecretId::DomainIndex(DomainId([0x21; 16]))));
    subjects
}

/// A record that is short enough to print.
pub fn record() -> Record {
    let revocation = Revocation { id: ClientId([0x31; 16]), reason: "lost".into() };
    Record::sign(&admin(), body(Payload::ClientRevocation(revocation)))
}

pub fn keys() -> ClientKeys {
    ClientKeys { tls: PublicKey([0x41; 32]), commit: PublicKey([0x42; 32]), sealing: SealingKey([0x43; 32]) }
}

pub fn redemption() -> Redemption {
    Redemption { cluster: cluster(), token: token().id(), keys: keys(), name: "laptop-7".into(), exporter: [0x44; 32] }
}

pub fn signed_redemption() -> Signed {
    Signed::new(&token().signer(), sign::REDEMPTION, codec::encode(&redemption()))
}

pub fn commit_facts() -> CommitFacts {
    CommitFacts {
        lease: lease_id(),
        object: object(),
        sequence: 2,
        previous: Some(SnapshotId([0x51; 32])),
        lineage: LineageId([0x57; 16]),
        complete: false,
        segments: vec![ObjectName { hash: Sha256([0xbb; 32]), ..object() }],
        bytes_stored: 1 << 33,
    }
}

pub fn commands() -> Vec<(&'static str, Command)> {
    let client = ClientId::of_key(&keys().tls);
    vec![
        ("Admit", Command::Admit { keyset: record().signed().clone() }),
        ("Redeem", Command::Redeem { terms: record().signed().clone(), redemption: signed_redemption() }),
        (
            "Grant",
            Command::Grant {
                client,
                repository: RepositoryId([0x22; 16]),
                lineage: LineageId([0x57; 16]),
                attempt: AttemptId([0x58; 16]),
                after: Some(lease_id()),
            },
        ),
        ("Commit", Command::Commit { client, commit: commit_facts() }),
        ("Close", Command::Close { client, lease: lease_id() }),
        ("Acknowledge", Command::Acknowledge { client, token: token().id() }),
        (
            "Claim",
            Command::Claim {
                node: NodeId([0x61; 16]),
                repository: RepositoryId([0x22; 16]),
                domain: DomainId([0x21; 16]),
            },
        ),
        ("Publish", Command::Publish { publication: publication(client) }),
        (
            "Condemn",
            Command::Condemn {
                repository: RepositoryId([0x22; 16]),
                domain: DomainId([0x21; 16]),
                objects: vec![object()],
            },
        ),
        ("Found", Command::Found { charter: charter() }),
        ("Import", Command::Import { from: 3, items: items() }),
        ("Witness", Command::Witness { record: record().signed().clone() }),
        ("Raise", Command::Raise { level: 2, statements: vec![statement()] }),
        (
            "NoteBackup",
            Command::NoteBackup {
                backup: LedgerBackup { at: UnixMillis(1_700_000_000_000), applied: 258, clients: 1, snapshots: 2 },
            },
        ),
    ]
}

/// An orchestrator's word for what it speaks.
pub fn statement() -> Signed {
    Statement { cluster: cluster(), levels: Levels { first: 1, last: 2 } }.sign(&admin())
}

/// The root's word that the ledger begins again with all of these.
pub fn charter() -> Signed {
    let items = items();
    let digest = items.iter().fold(ledger::EMPTY_DIGEST, |before, item| ledger::digest(&before, item));
    Charter { cluster: cluster(), incarnation: 2, items: items.len() as u64, digest }.sign(&root())
}

/// One of each piece of a ledger.
pub fn items() -> Vec<Item> {
    let (repository, domain) = (RepositoryId([0x22; 16]), DomainId([0x21; 16]));
    let client = ClientId::of_key(&keys().tls);
    let segment = NewSegment { name: object(), rows: 300, first: 1, last: u32::MAX };
    vec![
        Item::Client { enrollment: enrollment(), welcomed: true },
        Item::Snapshot(snapshot()),
        Item::Left { client, repository, lease: lease_id() },
        Item::Own { repository, domain, client, name: object() },
        Item::Published { repository, domain, scope: Some(client), run: lease_id(), segment },
        Item::Condemned { repository, domain, object: CondemnedObject { name: object(), epoch: 3 } },
        Item::Lost { repository, domain, client, lease: lease_id() },
    ]
}

fn snapshot() -> SnapshotRecord {
    SnapshotRecord {
        id: SnapshotId([0xaa; 32]),
        client: ClientId::of_key(&keys().tls),
        repository: RepositoryId([0x22; 16]),
        at: UnixMillis(1_700_000_000_000),
        epoch: 2,
        commit: commit_facts(),
    }
}

fn publication(client: ClientId) -> Publication {
    Publication {
        claim: lease_id(),
        repository: RepositoryId([0x22; 16]),
        domain: DomainId([0x21; 16]),
        scope: Some(client),
        segments: vec![NewSegment { name: object(), rows: 300, first: 1, last: u32::MAX }],
        covers_own: vec![(client, object())],
        covers: vec![ObjectName { hash: Sha256([0xbb; 32]), ..object() }],
        mends: vec![(client, lease_id())],
    }
}

pub fn entry() -> Entry {
    let commands = commands().into_iter().map(|(_, command)| command).skip(2).take(7).collect();
    Entry { at: UnixMillis(1_700_000_000_000), commands }
}

fn enrollment() -> Enrollment {
    Enrollment {
        client: ClientId::of_key(&keys().tls),
        keys: keys(),
        name: "laptop-7".into(),
        token: token().id(),
        domain: DomainId([0x21; 16]),
        tags: vec!["laptop".into()],
        at: UnixMillis(1_700_000_000_000),
    }
}

fn lease() -> Lease {
    let parent = ParentSnapshot { id: SnapshotId([0x51; 32]), object: object(), epoch: 2 };
    Lease {
        id: lease_id(),
        repository: RepositoryId([0x22; 16]),
        domain: DomainId([0x21; 16]),
        granted: UnixMillis(1_700_000_000_000),
        expires: UnixMillis(1_700_007_200_000),
        view: View {
            epoch: 3,
            index: 258,
            own: vec![object()],
            shared: vec![SharedSegment { name: object(), first: 1, last: u32::MAX, private: true }],
            left: vec![lease_id()],
            condemned: vec![CondemnedObject { name: object(), epoch: 3 }],
        },
        parent: Some(parent),
        parent_complete: None,
        lineage: LineageId([0x57; 16]),
        previous: Some(SnapshotId([0x51; 32])),
        sequence: 2,
    }
}

pub fn outcomes() -> Vec<(&'static str, Outcome)> {
    vec![
        ("Admitted", Ok(Decided::Admitted(300))),
        ("Redeemed", Ok(Decided::Redeemed(enrollment()))),
        ("Granted", Ok(Decided::Granted(lease()))),
        ("Committed", Ok(Decided::Committed(SnapshotId([0x51; 32])))),
        ("Closed", Ok(Decided::Closed)),
        ("Acknowledged", Ok(Decided::Acknowledged)),
        ("Claimed", Ok(Decided::Claimed(lease_id()))),
        ("Published", Ok(Decided::Published)),
        ("Condemned", Ok(Decided::Condemned(3))),
        ("Imported", Ok(Decided::Imported(3))),
        ("Witnessed", Ok(Decided::Witnessed)),
        ("Raised", Ok(Decided::Raised(2))),
        ("BackupNoted", Ok(Decided::BackupNoted)),
    ]
}

pub fn failures() -> Vec<(&'static str, Failure)> {
    use Code::*;
    [Retry, Fenced, Denied, Invalid, Corrupt, Internal, NotFound, Superseded]
        .into_iter()
        .map(|code| {
            let name = match code {
                Retry => "Retry",
                Fenced => "Fenced",
                Denied => "Denied",
                Invalid => "Invalid",
                Corrupt => "Corrupt",
                Internal => "Internal",
                NotFound => "NotFound",
                Superseded => "Superseded",
            };
            (name, Failure::new(code, "why"))
        })
        .collect()
}

/// One of each act.
fn audit() -> Vec<AuditEntry> {
    let record = record();
    let signed = Act::Signed {
        author: *record.author(),
        name: "ann".into(),
        subject: record.subject(),
        version: record.version(),
        hash: *record.hash(),
        record: Some(record.signed().clone()),
    };
    let acts = [signed, Act::Voters(vec![NodeId([0x61; 16])]), Act::Rebuilt(2), Act::Level(2)];
    let at = UnixMillis(1_700_000_000_000);
    (4..).zip(acts).map(|(number, act)| AuditEntry { number, at, act }).collect()
}

fn inspection() -> wire::Inspection {
    let backup = wire::BackupStatus {
        at: Some(UnixMillis(1_700_000_000_000)),
        applied: 258,
        clients: 1,
        snapshots: 2,
        trouble: Some("s3: it did not answer in time".into()),
    };
    wire::Inspection {
        agent: "nuthatch/0.1.0".into(),
        voter: 7,
        seat: wire::Seat::Unfit,
        why: "why".into(),
        incarnation: 2,
        importing: true,
        backup: Some(backup),
    }
}

/// Every request and the reply that answers it.
pub fn calls() -> Vec<(Request, Reply)> {
    let signed = || record().signed().clone();
    let range = Prefix::ALL.child(7).and_then(|range| range.child(1)).expect("two digits");
    let probe = Probe { range, fingerprint: fingerprint_of_hashes(&[Hash([0x71; 32])]) };
    let below = vec![fingerprint_of_parts(&[Hash([0x72; 32])]); FANOUT];
    let parts = vec![
        Part { range: Prefix::ALL, content: Content::Parts(below) },
        Part { range, content: Content::Hashes(vec![Hash([0x71; 32])]) },
    ];
    let repository = RepositoryId([0x22; 16]);
    let key = Place::Pack(DomainId([0x21; 16])).object(object());
    let card = wire::NodeCard { sealing: SealingKey([0x12; 32]), voter: 7 };
    let snapshot = snapshot();
    let put_ticket = wire::PutTicket {
        path: "/backups/nuthatch/x".into(),
        len: 16 << 20,
        hash: Sha256([0xaa; 32]),
        headers: vec![("if-none-match".into(), "*".into())],
        expires: UnixMillis(1_700_000_900_000),
    };
    let read_ticket = wire::ReadTicket { url: "https://s3.example.org/x?y".into(), expires: UnixMillis(1) };
    let node = NodeId([0x61; 16]);
    let peer =
        wire::PeerStatus { node, name: "one".into(), address: "192.0.2.1:7400".into(), alive: true, voter: false };
    let status = wire::NodeStatus {
        node,
        keyset: 1,
        leader: Some(7),
        term: 2,
        applied: 258,
        decided: UnixMillis(1),
        clock: UnixMillis(2),
        records: Hash([0x71; 32]),
        records_count: 9,
        peers: vec![peer],
        clients_connected: 3,
        client_bytes_received: 4096,
        voters: vec![node],
        leases_overdue: 1,
        tokens_overused: 2,
        segments_waiting: 3,
        objects_condemned: 4,
    };
    let token_status = wire::TokenStatus {
        token: token().id(),
        name: "laptops".into(),
        domain: DomainId([0x21; 16]),
        uses: 2,
        redeemed: 2,
        expires: UnixMillis(4),
        revoked: true,
        refused: Some(wire::TokenRefusals { count: 3, last_at: UnixMillis(5), last_name: "thief".into() }),
    };
    let client_status = wire::ClientStatus {
        enrollment: enrollment(),
        revoked: false,
        connected: true,
        snapshots: 2,
        newest: Some(UnixMillis(3)),
        lease: Some(lease_id()),
    };
    let decision = wire::Decision { index: 258, outcomes: vec![Ok(Decided::Closed), Err(Failure::fenced("why"))] };
    let token_id = token().id();
    vec![
        (
            wire::Hello { agent: "nuthatch/0.1.0".into() }.into(),
            Reply::Welcome(wire::Welcome { agent: "nuthatch/0.1.0".into(), card, keyset: Some(signed()) }),
        ),
        (wire::Adopt { keyset: signed(), root: root().public(), genesis: true }.into(), Reply::Adopted(())),
        (wire::Redeem { redemption: signed_redemption() }.into(), Reply::Redeemed(enrollment())),
        (
            wire::Release { token: token_id }.into(),
            Reply::Released(wire::ReleaseValue { value: RELEASE, terms: terms() }),
        ),
        (wire::Acknowledge { token: token_id }.into(), Reply::Acknowledged(())),
        (wire::Configure {}.into(), Reply::Configured(vec![signed()])),
        (
            wire::Grant {
                repository,
                lineage: LineageId([0x57; 16]),
                attempt: AttemptId([0x58; 16]),
                after: Some(lease_id()),
            }
            .into(),
            Reply::Granted(lease()),
        ),
        (
            wire::MintPuts { lease: lease_id(), repository, objects: vec![wire::PutRequest { key, len: 16 << 20 }] }
                .into(),
            Reply::MintedPuts(vec![put_ticket]),
        ),
        (wire::MintGets { repository, objects: vec![key] }.into(), Reply::MintedGets(vec![read_ticket])),
        (wire::Commit { repository, commit: commit_facts() }.into(), Reply::Committed(SnapshotId([0xaa; 32]))),
        (wire::Close { lease: lease_id() }.into(), Reply::Closed(())),
        (
            wire::ListSnapshots { client: Some(ClientId([0x31; 16])), after: Some(SnapshotId([0x51; 32])) }.into(),
            Reply::Snapshots(wire::Page { items: vec![snapshot], more: true }),
        ),
        (wire::Submit { records: vec![signed()] }.into(), Reply::Submitted(())),
        (wire::PutRelease { token: token_id, value: RELEASE, expires: UnixMillis(5) }.into(), Reply::PuttedRelease(())),
        (wire::Status {}.into(), Reply::StatusIs(status)),
        (
            wire::ListClients { after: Some(ClientId([0x31; 16])) }.into(),
            Reply::Clients(wire::Page { items: vec![client_status], more: false }),
        ),
        (
            wire::GetRecords { subjects: subjects(), after: Some(Subject::Keyset) }.into(),
            Reply::Records(wire::Page { items: vec![signed()], more: false }),
        ),
        (wire::Raft { to: 7, message: vec![1, 2, 3] }.into(), Reply::Rafted(vec![4, 5])),
        (wire::Propose { commands: entry().commands }.into(), Reply::Proposed(decision)),
        (wire::ReadIndex {}.into(), Reply::ReadIndexIs(258)),
        (wire::Push { records: vec![signed()] }.into(), Reply::Pushed(())),
        (wire::Reconcile { probes: vec![probe] }.into(), Reply::Reconciled(parts)),
        (wire::Fetch { hashes: vec![Hash([0x71; 32])] }.into(), Reply::Fetched(vec![signed()])),
        (
            wire::ListTokens { after: Some(TokenId([0x41; 32])) }.into(),
            Reply::Tokens(wire::Page { items: vec![token_status], more: false }),
        ),
        (wire::Survey { repository }.into(), Reply::Surveyed(lease().view)),
        (wire::Report { repository, objects: vec![key] }.into(), Reply::Reported(vec![key])),
        (wire::Recall { voter: 7 }.into(), Reply::Recalled(Some(wire::Promise { term: 2, candidate: 7, index: 258 }))),
        (wire::Found { charter: charter() }.into(), Reply::Founded(3)),
        (wire::Import { from: 3, items: items() }.into(), Reply::Imported(10)),
        (wire::Inspect {}.into(), Reply::Inspected(inspection())),
        (wire::ListAudit { after: 3 }.into(), Reply::Audit(wire::Page { items: audit(), more: true })),
        (wire::Watch { seen: wire::Watch::edition(&[signed()]) }.into(), Reply::Watched(Some(vec![signed()]))),
        (
            wire::Speak {}.into(),
            Reply::Speaks(wire::Speech {
                levels: Levels { first: 1, last: 2 },
                active: Some(1),
                statement: Some(statement()),
            }),
        ),
        (
            wire::Examine {}.into(),
            Reply::Examined(wire::Examination {
                disk: Some(wire::DiskRoom { place: "/var/lib/nuthatch".into(), free: 1 << 30, total: 1 << 35 }),
                unreachable: vec![wire::Unreachable { storage: "main".into(), why: "no answer".into() }],
            }),
        ),
    ]
}

pub fn envelope(request: Request) -> Envelope {
    Envelope { patience_ms: 5000, request }
}

/// Everything that has bytes, each with a name.
pub fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = vec![
        ("token/text".into(), token().to_text().into_bytes()),
        ("token/welcome".into(), codec::encode(&welcome())),
        ("token/welcome sealed".into(), token().seal_welcome(&RELEASE, &welcome())),
        ("sealed/box".into(), codec::encode(&sealed_box())),
        ("record/signed".into(), codec::encode(record().signed())),
        ("record/hash".into(), record().hash().0.to_vec()),
        ("redemption/body".into(), codec::encode(&redemption())),
        ("redemption/signed".into(), codec::encode(&signed_redemption())),
        ("entry".into(), codec::encode(&entry())),
        ("name/lease".into(), lease_id().to_string().into_bytes()),
        ("name/object".into(), object().to_string().into_bytes()),
    ];
    let mut add = |kind: &str, name: &str, bytes: Vec<u8>| all.push((format!("{kind}/{name}"), bytes));
    for (name, payload) in payloads() {
        add("record body", name, codec::encode(&body(payload)));
    }
    for subject in subjects() {
        add("subject", &format!("{subject:?}"), codec::encode(&subject));
    }
    for (name, command) in commands() {
        add("command", name, codec::encode(&command));
    }
    for (name, outcome) in outcomes() {
        add("outcome", name, codec::encode(&outcome));
    }
    for (name, failure) in failures() {
        add("failure", name, codec::encode::<Answer>(&Err(failure)));
    }
    for (request, reply) in calls() {
        let name = request.name();
        add("reply", name, codec::encode::<Answer>(&Ok(reply)));
        add("request", name, codec::encode(&envelope(request)));
    }
    all
}

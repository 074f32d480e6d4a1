//! A small cluster for tests: keys from numbers, records signed by them.

use protocol::{
    codec,
    commands::{ClientKeys, Command, CommitFacts, Decided, Entry, Lease, Outcome, Redemption},
    ids::{
        AttemptId, ClientId, ClusterId, DomainId, LeaseId, LineageId, PublicKey, RepositoryId, SealingKey, Sha256,
        TokenId,
    },
    names::ObjectName,
    records::{Admin, Keyset, Orchestrator, Payload, Record, RecordBody, Revocation, TokenTerms},
    sign::{self, Signed, Signer},
    time::UnixMillis,
};

use crate::Ledger;

pub const ROOT: u8 = 1;
pub const ADMINS: [u8; 2] = [10, 11];
pub const ORCHESTRATORS: [u8; 3] = [20, 21, 22];
pub const DOMAIN: DomainId = DomainId([7; 16]);
pub const INCARNATION: u32 = 3;

pub fn signer(number: u8) -> Signer {
    Signer::from_seed(&[number; 32])
}

pub fn key(number: u8) -> PublicKey {
    signer(number).public()
}

pub fn cluster() -> ClusterId {
    ClusterId::of_root(&key(ROOT))
}

pub fn repository(number: u8) -> RepositoryId {
    RepositoryId([number; 16])
}

pub fn record(author: u8, version: u64, payload: Payload) -> Record {
    Record::sign(&signer(author), RecordBody { cluster: cluster(), version, payload })
}

pub fn keyset_of(admins: &[u8], orchestrators: &[u8]) -> Keyset {
    Keyset {
        name: "test".into(),
        admins: admins.iter().map(|&number| Admin { name: format!("admin {number}"), key: key(number) }).collect(),
        orchestrators: orchestrators
            .iter()
            .map(|&number| Orchestrator {
                name: format!("orchestrator {number}"),
                key: key(number),
                sealing: SealingKey([number; 32]),
                voter: u64::from(number),
                address: format!("127.0.0.1:{number}"),
            })
            .collect(),
    }
}

pub fn keyset(version: u64) -> Record {
    record(ROOT, version, Payload::Keyset(keyset_of(&ADMINS, &ORCHESTRATORS)))
}

/// The key of the token of this number.
pub fn token_signer(number: u8) -> Signer {
    signer(100 + number)
}

pub fn token(number: u8) -> TokenId {
    TokenId(token_signer(number).public().0)
}

pub fn terms(number: u8, uses: u32, expires: u64) -> TokenTerms {
    TokenTerms {
        token: token(number),
        name: format!("token {number}"),
        uses,
        expires: UnixMillis(expires),
        domain: DOMAIN,
        tags: vec!["tag".into()],
        welcome: vec![1, 2, 3],
    }
}

pub fn terms_record(author: u8, version: u64, terms: TokenTerms) -> Signed {
    record(author, version, Payload::Token(terms)).signed().clone()
}

/// The keys of the client of this number.
pub fn keys(number: u8) -> ClientKeys {
    ClientKeys { tls: key(200 + number), commit: key(150 + number), sealing: SealingKey([number; 32]) }
}

pub fn client(number: u8) -> ClientId {
    ClientId::of_key(&keys(number).tls)
}

pub fn redemption(token_number: u8, keys: ClientKeys, name: &str) -> Signed {
    let redemption =
        Redemption { cluster: cluster(), token: token(token_number), keys, name: name.into(), exporter: [9; 32] };
    Signed::new(&token_signer(token_number), sign::REDEMPTION, codec::encode(&redemption))
}

pub fn revocation(author: u8, client_number: u8) -> Record {
    let revocation = Revocation { id: client(client_number), reason: "lost".into() };
    record(author, 1, Payload::ClientRevocation(revocation))
}

pub fn entry(at: u64, commands: Vec<Command>) -> Entry {
    Entry { at: UnixMillis(at), commands }
}

/// Applies one command as the next entry.
pub fn apply(ledger: &mut Ledger, at: u64, command: Command) -> Outcome {
    let index = ledger.applied().map_or(1, |applied| applied + 1);
    ledger.apply(index, &entry(at, vec![command])).remove(0)
}

pub fn redeem(terms: Signed, redemption: Signed) -> Command {
    Command::Redeem { terms, redemption }
}

/// A ledger with its first keyset.
pub fn admitted() -> Ledger {
    let mut ledger = Ledger::new(cluster(), key(ROOT), INCARNATION);
    apply(&mut ledger, 1, Command::Admit { keyset: keyset(1).signed().clone() }).unwrap();
    ledger
}

/// A ledger in which the clients below `count` are enrolled by token 99.
pub fn enrolled(count: u8) -> Ledger {
    let mut ledger = admitted();
    let terms = terms_record(ADMINS[0], 1, terms(99, 100, 1_000_000));
    for number in 0..count {
        let redemption = redemption(99, keys(number), &format!("client {number}"));
        apply(&mut ledger, 1, redeem(terms.clone(), redemption)).unwrap();
    }
    ledger
}

/// An attempt at a lease that is like no other of this ledger.
pub fn fresh_grant(ledger: &Ledger, number: u8, repository_number: u8) -> Command {
    let mut attempt = [0; 16];
    attempt[..8].copy_from_slice(&ledger.applied().unwrap_or_default().to_le_bytes());
    Command::Grant {
        client: client(number),
        repository: repository(repository_number),
        lineage: lineage(0),
        attempt: AttemptId(attempt),
        after: None,
    }
}

pub fn grant(ledger: &mut Ledger, number: u8, repository_number: u8) -> Lease {
    let command = fresh_grant(ledger, number, repository_number);
    match apply(ledger, 1, command) {
        Ok(Decided::Granted(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

pub fn object(lease: LeaseId, salt: u8) -> ObjectName {
    let mut hash = *blake3::hash(&codec::encode(&lease)).as_bytes();
    hash[0] = salt;
    ObjectName { lease, hash: Sha256(hash) }
}

/// A commit that fits its lease, with one segment.
/// A lineage of a client.
pub fn lineage(number: u8) -> LineageId {
    LineageId([number; 16])
}

pub fn commit_of(lease: &Lease, complete: bool) -> CommitFacts {
    CommitFacts {
        lease: lease.id,
        object: object(lease.id, 0),
        sequence: lease.sequence,
        previous: lease.previous,
        lineage: lease.lineage,
        complete,
        segments: vec![object(lease.id, 1)],
        bytes_stored: 1000,
    }
}

use std::collections::BTreeSet;

use protocol::{
    commands::{Command, CommitFacts},
    failure::Code,
    ids::{AttemptId, Hash, LeaseId, LineageId, RepositoryId, TokenId},
    records::Payload,
    time::UnixMillis,
    wire::*,
};

use super::*;
use crate::testing;
use crate::testing::{ADMINS, ORCHESTRATORS, ROOT, client, enrolled, key, keys, keyset, keyset_of, record, revocation};

fn standing(records: &RecordSet, ledger: &Ledger, number_key: &PublicKey) -> Standing {
    Standing::of(records, ledger, number_key)
}

fn records() -> RecordSet {
    let mut records = RecordSet::new(testing::cluster(), key(ROOT));
    records.insert(keyset(1));
    records
}

#[test]
fn records_and_log_say_who_a_key_is() {
    let (records, ledger) = (records(), enrolled(1));
    let of = |key: &PublicKey| standing(&records, &ledger, key);
    assert_eq!(of(&key(ORCHESTRATORS[1])), Standing::Orchestrator(NodeId::of_key(&key(ORCHESTRATORS[1]))));
    assert_eq!(of(&key(ADMINS[0])), Standing::Admin(key(ADMINS[0])));
    assert_eq!(of(&keys(0).tls), Standing::Client(client(0)));
    assert_eq!(of(&keys(1).tls), Standing::Stranger);
    assert_eq!(of(&key(ROOT)), Standing::Stranger, "the root signs keysets and never connects");
    assert_eq!(of(&keys(0).commit), Standing::Stranger);
    let nothing = RecordSet::new(testing::cluster(), key(ROOT));
    let empty = Ledger::new(testing::cluster(), key(ROOT), 0);
    assert_eq!(standing(&nothing, &empty, &key(ADMINS[0])), Standing::Stranger);
}

#[test]
fn a_revocation_counts_at_once_and_without_the_log() {
    let (mut records, ledger) = (records(), enrolled(1));
    records.insert(revocation(ADMINS[0], 0));
    records.insert(revocation(ADMINS[0], 1));
    assert_eq!(standing(&records, &ledger, &keys(0).tls), Standing::Revoked);
    assert_eq!(standing(&records, &ledger, &keys(1).tls), Standing::Revoked, "not enrolled here yet");
}

#[test]
fn the_newest_keyset_counts_whichever_way_it_came() {
    let fewer = record(ROOT, 2, Payload::Keyset(keyset_of(&ADMINS[..1], &ORCHESTRATORS[..2])));
    let gone = [key(ADMINS[1]), key(ORCHESTRATORS[2])];
    let (mut by_gossip, mut by_log) = ((records(), enrolled(0)), (records(), enrolled(0)));
    by_gossip.0.insert(fewer.clone());
    testing::apply(&mut by_log.1, 1, Command::Admit { keyset: fewer.signed().clone() }).unwrap();
    for key in gone {
        assert_ne!(standing(&records(), &enrolled(0), &key), Standing::Stranger);
        assert_eq!(standing(&by_gossip.0, &by_gossip.1, &key), Standing::Stranger);
        assert_eq!(standing(&by_log.0, &by_log.1, &key), Standing::Stranger);
    }
}

/// Whom the table lets through: O orchestrators, C clients, A admins, S strangers.
fn table() -> Vec<(Request, &'static str)> {
    let token = TokenId([1; 32]);
    let lease = LeaseId { incarnation: 0, index: 1 };
    let repository = RepositoryId([1; 16]);
    let signed = keyset(1).signed().clone();
    let object = testing::object(lease, 0);
    let commit = CommitFacts {
        lease,
        object,
        sequence: 1,
        previous: None,
        lineage: LineageId([1; 16]),
        complete: true,
        segments: vec![],
        bytes_stored: 0,
    };
    let list = |client| Request::from(ListSnapshots { client, after: None });
    vec![
        (Hello { agent: "test".into() }.into(), "OCAS"),
        (Adopt { keyset: signed.clone(), root: key(ROOT), genesis: false }.into(), "OCAS"),
        (Speak {}.into(), "OCAS"),
        (Redeem { redemption: signed.clone() }.into(), "CS"),
        (Release { token }.into(), "C"),
        (Acknowledge { token }.into(), "C"),
        (Configure {}.into(), "C"),
        (Watch { seen: Hash([0; 32]) }.into(), "C"),
        (Grant { repository, lineage: LineageId([1; 16]), attempt: AttemptId([2; 16]), after: None }.into(), "C"),
        (MintPuts { lease, repository, objects: vec![] }.into(), "C"),
        (MintGets { repository, objects: vec![] }.into(), "C"),
        (Commit { repository, commit }.into(), "C"),
        (Close { lease }.into(), "C"),
        (Survey { repository }.into(), "C"),
        (Report { repository, objects: vec![] }.into(), "C"),
        (list(None), "CA"),
        (list(Some(client(0))), "CA"),
        (list(Some(client(1))), "A"),
        (Submit { records: vec![signed.clone()] }.into(), "A"),
        (PutRelease { token, value: [0; 32], expires: UnixMillis(1) }.into(), "OA"),
        (Status {}.into(), "A"),
        (ListClients { after: None }.into(), "A"),
        (ListTokens { after: None }.into(), "A"),
        (GetRecords { subjects: vec![], after: None }.into(), "OA"),
        (Raft { to: 1, message: vec![] }.into(), "O"),
        (Propose { commands: vec![] }.into(), "O"),
        (ReadIndex {}.into(), "O"),
        (Push { records: vec![] }.into(), "O"),
        (Reconcile { probes: vec![] }.into(), "O"),
        (Fetch { hashes: vec![Hash([0; 32])] }.into(), "O"),
        (Recall { voter: 1 }.into(), "O"),
        (Found { charter: signed.clone() }.into(), "A"),
        (Import { from: 0, items: vec![] }.into(), "A"),
        (Inspect {}.into(), "A"),
        (Examine {}.into(), "A"),
        (ListAudit { after: 0 }.into(), "A"),
    ]
}

#[test]
fn everyone_may_what_the_table_says_and_nothing_else() {
    let standings = [
        ('O', Standing::Orchestrator(NodeId::of_key(&key(ORCHESTRATORS[0])))),
        ('C', Standing::Client(client(0))),
        ('A', Standing::Admin(key(ADMINS[0]))),
        ('S', Standing::Stranger),
        ('R', Standing::Revoked),
    ];
    for (request, allowed) in table() {
        for (letter, standing) in &standings {
            let outcome = may(standing, &request);
            assert_eq!(outcome.is_ok(), allowed.contains(*letter), "{} by {standing:?}", request.name());
            let Err(failure) = outcome else { continue };
            assert_eq!(failure.code, Code::Denied);
            let told = if *letter == 'R' { "revoked" } else { request.name() };
            assert!(failure.message.contains(told), "{failure}");
        }
    }
}

/// The table above has every request that the wire knows: their names are read
/// from the place that declares them.
#[test]
fn the_table_has_every_request() {
    let wire = include_str!("../../../../protocol/src/wire/mod.rs");
    let declared = wire.split_once("\ncalls! {").unwrap().1.split_once("\n}").unwrap().0;
    let declared: BTreeSet<&str> =
        declared.lines().filter_map(|line| Some(line.split_once(" => ")?.0.trim())).collect();
    let table = table();
    let covered: BTreeSet<&str> = table.iter().map(|(request, _)| request.name()).collect();
    assert!(declared.len() > 20, "{declared:?}");
    assert_eq!(declared, covered);
}

/// WIRE.md says who may make a call in its column "by", and says what holds here.
#[test]
fn the_document_has_the_same_table() {
    let document = include_str!("../../../../protocol/WIRE.md");
    let documented = |name: &str| -> BTreeSet<char> {
        let call = format!("`{name}`");
        let row =
            document.lines().map(|line| line.split(" | ").collect::<Vec<_>>()).find(|row| row.get(1) == Some(&&*call));
        match row.unwrap_or_else(|| panic!("WIRE.md has no row of {name}"))[3] {
            "all" => "OCAS".chars().collect(),
            letters => letters.chars().filter(|letter| *letter != ' ').collect(),
        }
    };
    let mut allowed = std::collections::BTreeMap::<&str, BTreeSet<char>>::new();
    let table = table();
    for (request, letters) in &table {
        allowed.entry(request.name()).or_default().extend(letters.chars());
    }
    for (name, letters) in allowed {
        assert_eq!(documented(name), letters, "{name}");
    }
}

//! The log's level.

use protocol::{
    audit::Act,
    commands::LedgerBackup,
    ids::ClusterId,
    levels::{Levels, Statement},
};

use super::*;

fn statement(node: u8, last: u8) -> Signed {
    Statement { cluster: cluster(), levels: Levels { first: 1, last } }.sign(&signer(node))
}

fn raise(ledger: &mut Ledger, level: u8, statements: Vec<Signed>) -> Outcome {
    apply(ledger, 50, Command::Raise { level, statements })
}

fn note(applied: u64) -> Command {
    let backup = LedgerBackup { at: UnixMillis(70), applied, clients: 1, snapshots: 2 };
    Command::NoteBackup { backup }
}

fn all(last: u8) -> Vec<Signed> {
    ORCHESTRATORS.iter().map(|node| statement(*node, last)).collect()
}

#[test]
fn the_level_rises_when_all_of_the_roster_speak_the_next() {
    let mut ledger = admitted();
    assert_eq!(ledger.level(), 1);
    let refused = raise(&mut ledger, 2, all(2)[..2].to_vec()).unwrap_err();
    assert!(refused.message.contains("orchestrator 22 has not said"), "{refused}");
    let mut one_old = all(2);
    one_old[1] = statement(ORCHESTRATORS[1], 1);
    assert!(raise(&mut ledger, 2, one_old).unwrap_err().message.contains("orchestrator 21"));
    // Nobody says it for another, and not to another cluster.
    let mut of_admin = all(2);
    of_admin[0] = statement(ADMINS[0], 2);
    assert_eq!(code(raise(&mut ledger, 2, of_admin)), Code::Invalid);
    let mut forged = all(2);
    forged[0].author = key(ORCHESTRATORS[1]);
    assert_eq!(code(raise(&mut ledger, 2, forged)), Code::Denied);
    let mut elsewhere = all(2);
    let other = Statement { cluster: ClusterId([1; 32]), levels: Levels { first: 1, last: 2 } };
    elsewhere[0] = other.sign(&signer(ORCHESTRATORS[0]));
    assert_eq!(code(raise(&mut ledger, 2, elsewhere)), Code::Denied);
    assert_eq!(ledger.level(), 1);

    assert_eq!(raise(&mut ledger, 2, all(2)), Ok(Decided::Raised(2)));
    assert_eq!(raise(&mut ledger, 2, Vec::new()), Ok(Decided::Raised(2)), "it is there");
    for level in [0, 1, 4, u8::MAX] {
        assert_eq!(code(raise(&mut ledger, level, all(u8::MAX))), Code::Invalid, "one at a time, and never down");
    }
    let levels: Vec<&Act> = ledger.audit(0).map(|entry| &entry.act).collect();
    assert_eq!(levels.last(), Some(&&Act::Level(2)));
}

#[test]
fn who_joins_the_roster_has_to_say_so_as_well() {
    let mut ledger = admitted();
    let four = [20, 21, 22, 23];
    admit(&mut ledger, &record(ROOT, 2, Payload::Keyset(keyset_of(&ADMINS, &four)))).unwrap();
    assert_eq!(code(raise(&mut ledger, 2, all(2))), Code::Invalid);
    let statements = four.iter().map(|node| statement(*node, 2)).collect();
    assert_eq!(raise(&mut ledger, 2, statements), Ok(Decided::Raised(2)));
    let mut nobody = Ledger::new(cluster(), key(ROOT), INCARNATION);
    assert_eq!(code(raise(&mut nobody, 2, all(2))), Code::Invalid);
}

#[test]
fn what_a_level_brings_waits_for_it() {
    let mut ledger = admitted();
    let early = apply(&mut ledger, 60, note(1)).unwrap_err();
    assert!(early.message.contains("needs level 2, and the log is at level 1"), "{early}");
    assert_eq!(ledger.backup(), None);
    raise(&mut ledger, 2, all(2)).unwrap();
    let raised = ledger.applied();
    assert_eq!(apply(&mut ledger, 60, note(2)), Ok(Decided::BackupNoted));
    assert_eq!(ledger.backup().map(|backup| (backup.at.0, backup.applied)), Some((70, 2)));
    assert_eq!(ledger.changed(), raised, "a note is no reason for another backup");
    assert!(ledger.applied() > raised);
    // Together with something else it is.
    let index = ledger.applied().unwrap() + 1;
    ledger.apply(index, &entry(61, vec![note(3), Command::Admit { keyset: keyset(2).signed().clone() }]));
    assert_eq!(ledger.changed(), Some(index));
}

/// An image of level 1 has nothing of level 2 in it; one of level 2 has all.
#[test]
fn images_hold_what_their_level_has() {
    let mut ledger = enrolled(2);
    let read = |ledger: &Ledger| codec::decode::<Ledger>("ledger", &codec::encode(ledger)).unwrap();
    assert_eq!(read(&ledger), ledger);
    raise(&mut ledger, 2, all(2)).unwrap();
    apply(&mut ledger, 60, note(2)).unwrap();
    let again = read(&ledger);
    assert_eq!((again.level(), again.backup()), (1, None));
    assert_eq!(again.with_later(*ledger.later()), ledger);
}

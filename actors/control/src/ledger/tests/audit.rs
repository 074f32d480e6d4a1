//! The audit trail.

use protocol::{
    audit::Act,
    commands::{Command, Decided},
    failure::Code,
    ids::NodeId,
    limits,
    records::Record,
};

use crate::{Ledger, testing::*};

fn witness(ledger: &mut Ledger, at: u64, record: &Record) -> protocol::commands::Outcome {
    apply(ledger, at, Command::Witness { record: record.signed().clone() })
}

#[test]
fn acts_are_entered_once_with_who_and_when() {
    let mut ledger = admitted();
    let revocation = revocation(ADMINS[1], 3);
    assert_eq!(witness(&mut ledger, 70, &revocation), Ok(Decided::Witnessed));
    assert_eq!(witness(&mut ledger, 80, &revocation), Ok(Decided::Witnessed));
    assert_eq!(witness(&mut ledger, 90, &keyset(2)), Ok(Decided::Witnessed));
    ledger.note_voters(vec![NodeId([1; 16])]);
    ledger.note_voters(vec![NodeId([1; 16])]);
    let entries: Vec<_> = ledger.audit(0).cloned().collect();
    assert_eq!(entries.iter().map(|entry| (entry.number, entry.at.0)).collect::<Vec<_>>(), [(1, 70), (2, 90), (3, 90)]);
    let Act::Signed { author, name, subject, record, .. } = &entries[0].act else { panic!("{entries:?}") };
    assert_eq!((*author, name.as_str(), *subject), (key(ADMINS[1]), "admin 11", revocation.subject()));
    assert_eq!(record.as_ref(), Some(revocation.signed()), "its signature can be checked by anyone");
    assert!(matches!(&entries[1].act, Act::Signed { name, .. } if name == "root"));
    assert_eq!(entries[2].act, Act::Voters(vec![NodeId([1; 16])]));
    assert_eq!(ledger.audit(2).count(), 1);
}

#[test]
fn what_nobody_may_sign_is_not_entered() {
    let mut ledger = admitted();
    for forged in [revocation(ORCHESTRATORS[0], 3), revocation(99, 3), revocation(ROOT, 3)] {
        assert_eq!(witness(&mut ledger, 1, &forged).unwrap_err().code, Code::Denied);
    }
    let keyset = record(ADMINS[0], 2, protocol::records::Payload::Keyset(keyset_of(&ADMINS, &ORCHESTRATORS)));
    assert_eq!(witness(&mut ledger, 1, &keyset).unwrap_err().code, Code::Denied);
    assert_eq!(ledger.audit(0).count(), 0);
}

#[test]
fn of_very_many_the_newest_are_kept() {
    let mut ledger = admitted();
    for number in 0..limits::AUDIT_ENTRIES_MAX as u64 + 5 {
        ledger.note_voters(vec![NodeId([number as u8; 16])]);
    }
    let numbers: Vec<u64> = ledger.audit(0).map(|entry| entry.number).collect();
    assert_eq!((numbers.len(), numbers[0]), (limits::AUDIT_ENTRIES_MAX, 6));
}

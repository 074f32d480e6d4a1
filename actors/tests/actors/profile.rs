use actors::client::{Profile, Trust};
use protocol::{
    failure::Code,
    ids::{DomainId, PublicKey, TokenId},
    records::Subject,
};

use super::disk::{Counting, MemoryDisk};

fn trust(keyset_floor: u64, address: &str) -> Trust {
    Trust { root: PublicKey([1; 32]), keyset_floor, addresses: vec![address.into()] }
}

fn profile() -> Profile {
    Profile::create(&Counting::default(), TokenId([2; 32]), &trust(3, "one"))
}

#[test]
fn what_is_kept_is_read_back() {
    let disk = MemoryDisk::default();
    assert!(Profile::load(&disk).unwrap().is_none());
    let made = profile();
    made.save(&disk).unwrap();
    let read = Profile::load(&disk).unwrap().unwrap();
    assert_eq!((read.keys(), read.client(), read.token()), (made.keys(), made.client(), made.token()));
    assert_eq!(read.trust().addresses, ["one"]);
    let unfinished = Profile::enrolled(&disk).err().unwrap();
    assert!(unfinished.message.contains("nuthatch enroll"), "{unfinished}");
}

#[test]
fn records_never_go_back() {
    let mut profile = profile();
    let (one, two) = (Subject::Domain(DomainId([1; 16])), Subject::Domain(DomainId([2; 16])));
    assert!(profile.raise_floors(&[(one, 5), (two, 1)]).unwrap());
    assert!(!profile.raise_floors(&[(one, 5), (two, 1)]).unwrap());
    let refused = profile.raise_floors(&[(two, 9), (one, 4)]).unwrap_err();
    assert_eq!(refused.code, Code::Denied);
    // Nothing of what was refused is remembered.
    profile.check_floors(&[(two, 1), (one, 5)]).unwrap();
    assert!(profile.check_floors(&[(one, 4)]).is_err());
}

#[test]
fn the_keyset_floor_never_falls() {
    let mut profile = profile();
    assert!(profile.learn(trust(7, "two")));
    assert!(!profile.learn(trust(7, "two")));
    profile.learn(trust(2, "two"));
    assert_eq!((profile.trust().keyset_floor, profile.trust().addresses), (7, vec!["two".to_owned()]));
}

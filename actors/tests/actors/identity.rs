use actors::identity::Identity;
use env::Disk;
use protocol::failure::Code;

use super::disk::{Counting, MemoryDisk};

#[test]
fn keys_are_made_once_and_kept() {
    let (disk, rng) = (MemoryDisk::default(), Counting::default());
    let first = Identity::load_or_create(&disk, &rng).unwrap();
    let again = Identity::load_or_create(&disk, &rng).unwrap();
    assert_eq!((first.key(), first.voter()), (again.key(), again.voter()));
    assert_eq!(first.card(), again.card());
    let other = Identity::load_or_create(&MemoryDisk::default(), &rng).unwrap();
    assert_ne!(first.key(), other.key());
}

#[test]
fn a_file_that_cannot_be_read_is_never_replaced() {
    let disk = MemoryDisk::default();
    Identity::load_or_create(&disk, &Counting::default()).unwrap();
    let good = disk.read("identity").unwrap();
    let newer = [&[good[0] + 1], &good[1..]].concat();
    for damaged in [vec![], good[..good.len() - 1].to_vec(), [&good[..], &[0]].concat(), newer] {
        disk.replace("identity", &damaged).unwrap();
        let failure = Identity::load_or_create(&disk, &Counting::default()).unwrap_err();
        assert_eq!(failure.code, Code::Corrupt, "{failure}");
        assert_eq!(disk.read("identity").unwrap(), damaged);
    }
}

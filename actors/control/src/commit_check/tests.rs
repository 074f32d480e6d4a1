use protocol::failure::Code;

use super::*;
use crate::testing::{client, commit_of, enrolled, grant, keys, repository};

fn case() -> (CommitFacts, ReadCommit) {
    let claimed = commit_of(&grant(&mut enrolled(1), 0, 1), true);
    let read = ReadCommit {
        hash: claimed.object.hash,
        author: keys(0).commit,
        repository: repository(1),
        client: client(0),
        lease: claimed.lease,
        sequence: claimed.sequence,
        previous: claimed.previous,
        lineage: claimed.lineage,
        complete: claimed.complete,
        segments: Some(claimed.segments.clone()),
    };
    (claimed, read)
}

fn check(claimed: &CommitFacts, read: &ReadCommit) -> Result<(), Failure> {
    let expected = Expected { client: &client(0), commit_key: &keys(0).commit, repository: &repository(1), claimed };
    agree(expected, read)
}

#[test]
fn what_agrees_is_taken() {
    let (claimed, mut read) = case();
    assert_eq!(check(&claimed, &read), Ok(()));
    read.segments = None;
    assert_eq!(check(&claimed, &read), Ok(()), "a format that names no segments claims none");
}

#[test]
fn every_difference_is_refused_and_named() {
    type Change<'a> = (&'a str, Code, &'a dyn Fn(&mut ReadCommit));
    let changes: [Change<'_>; 10] = [
        ("damaged", Code::Corrupt, &|read| read.hash.0[0] ^= 1),
        ("commit key", Code::Denied, &|read| read.author = keys(1).commit),
        ("commit key", Code::Denied, &|read| read.client = client(1)),
        ("repository", Code::Invalid, &|read| read.repository = repository(2)),
        ("lease", Code::Invalid, &|read| read.lease.index += 1),
        ("sequence", Code::Invalid, &|read| read.sequence += 1),
        ("lineage", Code::Invalid, &|read| read.lineage.0[0] ^= 1),
        ("previous", Code::Invalid, &|read| read.previous = Some(SnapshotId([1; 32]))),
        ("completeness", Code::Invalid, &|read| read.complete = false),
        ("segments", Code::Invalid, &|read| read.segments = Some(vec![])),
    ];
    for (what, code, change) in changes {
        let (claimed, mut read) = case();
        change(&mut read);
        let failure = check(&claimed, &read).expect_err(what);
        assert_eq!(failure.code, code, "{what}");
        assert!(failure.message.contains(what), "{failure}");
    }
}

#[test]
fn an_object_named_under_another_lease_is_refused() {
    let (mut claimed, read) = case();
    claimed.object.lease.index += 1;
    assert_eq!(check(&claimed, &read).map_err(|failure| failure.code), Err(Code::Invalid));
}

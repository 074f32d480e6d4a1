use env::files::Kind;

use super::*;
use crate::kernel::fault::Weather;

fn files() -> SimFiles {
    let kernel = Kernel::new(1, Weather::default(), false);
    SimFiles::outside(kernel, Arc::new(FileSystem::new(User::ROOT)))
}

fn kind_of(result: io::Result<impl Sized>) -> Option<io::ErrorKind> {
    result.err().map(|error| error.kind())
}

#[test]
fn hard_links_share_content_and_count_their_names() {
    let files = files();
    files.write("/a/one", b"first").unwrap();
    files.hard_link(Path::new("/a/one"), Path::new("/a/two")).unwrap();
    files.write("/a/two", b"second").unwrap();
    assert_eq!(files.read("/a/one").unwrap(), b"second");
    let (one, two) = (files.metadata(Path::new("/a/one")).unwrap(), files.metadata(Path::new("/a/two")).unwrap());
    assert_eq!((one.inode, one.links), (two.inode, 2));
    files.remove(Path::new("/a/one")).unwrap();
    assert_eq!(files.metadata(Path::new("/a/two")).unwrap().links, 1);
}

#[test]
fn only_the_last_component_of_a_path_is_not_followed() {
    let files = files();
    files.write("/real/file", b"x").unwrap();
    files.symlink(OsStr::new("real"), Path::new("/link")).unwrap();
    files.symlink(OsStr::new("/link/file"), Path::new("/real/to-file")).unwrap();
    assert_eq!(files.read("/link/file").unwrap(), b"x");
    assert_eq!(files.read("/link/../real/file").unwrap(), b"x");
    assert_eq!(files.metadata(Path::new("/link")).unwrap().kind, Kind::Symlink);
    assert_eq!(files.read_link(Path::new("/link/to-file")).unwrap(), Path::new("/link/file"));
    assert_eq!(kind_of(files.open(Path::new("/real/to-file"))), Some(io::ErrorKind::InvalidInput));
    files.symlink(OsStr::new("loop"), Path::new("/loop")).unwrap();
    assert!(files.read("/loop/file").is_err());
}

#[test]
fn errors_are_those_of_a_real_file_system() {
    let files = files();
    files.write("/d/f", b"x").unwrap();
    let path = Path::new;
    assert_eq!(kind_of(files.metadata(path("/no"))), Some(io::ErrorKind::NotFound));
    assert_eq!(kind_of(files.metadata(path("/d/f/x"))), Some(io::ErrorKind::NotADirectory));
    assert_eq!(kind_of(files.create_dir(path("/d"))), Some(io::ErrorKind::AlreadyExists));
    assert_eq!(kind_of(files.create_file(path("/d/f"))), Some(io::ErrorKind::AlreadyExists));
    assert_eq!(kind_of(files.create_file(path("/no/f"))), Some(io::ErrorKind::NotFound));
    assert_eq!(kind_of(files.remove(path("/d"))), Some(io::ErrorKind::DirectoryNotEmpty));
    assert_eq!(kind_of(files.hard_link(path("/d"), path("/e"))), Some(io::ErrorKind::PermissionDenied));
    files.special("/pipe", Kind::Fifo, 0).unwrap();
    assert_eq!(kind_of(files.open(path("/pipe"))), Some(io::ErrorKind::InvalidInput));
}

#[test]
fn a_restored_file_has_its_attributes_and_exact_length() {
    let files = files();
    let mut file = files.create_file(Path::new("/f")).unwrap();
    file.write_at(3, b"longer than it will be").unwrap();
    let mtime = FileTime { secs: -5, nanos: 999_999_999 };
    let attributes = Attributes { kind: Kind::File, mode: 0o4751, owner: Some((7, 8)), mtime, xattrs: Vec::new() };
    file.finish(5, &attributes).unwrap();
    let metadata = files.metadata(Path::new("/f")).unwrap();
    assert_eq!((metadata.len, metadata.mode, metadata.mtime), (5, 0o4751, mtime));
    assert_eq!((metadata.uid, metadata.gid), (7, 8));
    assert_ne!(metadata.ctime, mtime);
    assert_eq!(files.read("/f").unwrap(), b"\0\0\0lo");
}

#[test]
fn a_removed_file_can_still_be_read_by_who_has_it_open() {
    let files = files();
    files.write("/f", b"kept").unwrap();
    let mut open = files.open(Path::new("/f")).unwrap();
    files.remove(Path::new("/f")).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(open.read(&mut buffer).unwrap(), 4);
    assert_eq!((&buffer[..4], open.metadata().unwrap().links), (&b"kept"[..], 0));
}

#[test]
fn permissions_bind_a_user_and_not_root() {
    let kernel = Kernel::new(1, Weather::default(), false);
    let home = "10.0.0.1".parse().unwrap();
    let node = kernel.add_machine("m", home, clock::Clocks::new(0));
    let life = kernel.boot(node).unwrap();
    let system = Arc::new(FileSystem::new(User { uid: 1000, gid: 1000 }));
    let (root, user) = (SimFiles::outside(Arc::clone(&kernel), Arc::clone(&system)), SimFiles::new(life, system));
    root.write("/secret", b"x").unwrap();
    assert_eq!(kind_of(user.open(Path::new("/secret"))), Some(io::ErrorKind::PermissionDenied));
    assert_eq!(kind_of(user.create_dir(Path::new("/mine"))), Some(io::ErrorKind::PermissionDenied));
    let mtime = FileTime::default();
    let readable = Attributes { kind: Kind::File, mode: 0o604, owner: None, mtime, xattrs: Vec::new() };
    root.set_attributes(Path::new("/secret"), &readable).unwrap();
    assert_eq!(user.read("/secret").unwrap(), b"x");
    assert!(root.may_set_owner() && !user.may_set_owner());
    kernel.fence(node);
    assert!(user.read("/secret").is_err(), "a life that is over reaches nothing");
}

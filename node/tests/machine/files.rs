//! Source and target trees.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    io::ErrorKind,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use env::files::{Attributes, FileTime, Files, Kind};
use node::env::HostFiles;
use rustix::fs::{CWD, FileType, Mode};
use tempfile::TempDir;

fn tree() -> (TempDir, PathBuf, HostFiles) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_path_buf();
    (directory, path, HostFiles::new())
}

fn attributes(kind: Kind, mode: u32, files: &HostFiles) -> Attributes {
    let owner = files.may_set_owner().then_some((12_345, 54_321));
    Attributes { kind, mode, owner, mtime: FileTime { secs: 1_000_000_007, nanos: 123_456_789 }, xattrs: Vec::new() }
}

fn write(files: &HostFiles, path: &Path, bytes: &[u8], attributes: &Attributes) {
    let mut file = files.create_file(path).unwrap();
    file.write_at(0, bytes).unwrap();
    file.finish(bytes.len() as u64, attributes).unwrap();
}

fn read(files: &HostFiles, path: &Path) -> Vec<u8> {
    let mut file = files.open(path).unwrap();
    let (mut all, mut buffer) = (Vec::new(), vec![0; 100_000]);
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return all,
            read => all.extend_from_slice(&buffer[..read]),
        }
    }
}

fn assert_has(files: &HostFiles, path: &Path, expected: &Attributes) {
    let found = files.metadata(path).unwrap();
    assert_eq!(found.kind, expected.kind);
    assert_eq!(found.mtime, expected.mtime);
    if expected.kind != Kind::Symlink {
        assert_eq!(found.mode, expected.mode, "{:o}", found.mode);
    }
    if let Some(owner) = expected.owner {
        assert_eq!((found.uid, found.gid), owner);
    }
}

#[test]
fn everything_comes_back_with_its_attributes() {
    let (_directory, root, files) = tree();
    let (file, directory, link, fifo) = (root.join("file"), root.join("dir"), root.join("link"), root.join("fifo"));
    // Setuid and setgid are what a change of owner clears, so they must come after it.
    let of_file = attributes(Kind::File, 0o6755, &files);
    write(&files, &file, b"content", &of_file);
    assert_has(&files, &file, &of_file);
    assert_eq!(read(&files, &file), b"content");
    files.set_attributes(&file, &Attributes { mode: 0o4711, ..of_file.clone() }).unwrap();
    assert_has(&files, &file, &Attributes { mode: 0o4711, ..of_file.clone() });

    files.create_dir(&directory).unwrap();
    assert_eq!(files.metadata(&directory).unwrap().mode, 0o700);
    let of_dir = Attributes { mtime: FileTime { secs: -5, nanos: 1 }, ..attributes(Kind::Directory, 0o3071, &files) };
    files.set_attributes(&directory, &of_dir).unwrap();
    assert_has(&files, &directory, &of_dir);

    // A link to the file: its attributes are set, the file's are not.
    files.symlink(file.as_os_str(), &link).unwrap();
    let of_link = Attributes { mtime: FileTime { secs: 77, nanos: 0 }, ..attributes(Kind::Symlink, 0, &files) };
    files.set_attributes(&link, &of_link).unwrap();
    assert_has(&files, &link, &of_link);
    assert_has(&files, &file, &Attributes { mode: 0o4711, ..of_file.clone() });
    assert_eq!(files.read_link(&link).unwrap(), file);

    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let of_fifo = attributes(Kind::Fifo, 0o640, &files);
    files.set_attributes(&fifo, &of_fifo).unwrap();
    assert_has(&files, &fifo, &of_fifo);
}

#[test]
fn attributes_reach_no_other_kind_and_nothing_behind_a_link() {
    let (_directory, root, files) = tree();
    let (file, link) = (root.join("file"), root.join("link"));
    let before = attributes(Kind::File, 0o600, &files);
    write(&files, &file, b"", &before);
    files.symlink(OsStr::new("file"), &link).unwrap();
    let wanted = attributes(Kind::File, 0o777, &files);
    assert_eq!(files.set_attributes(&link, &wanted).unwrap_err().kind(), ErrorKind::InvalidInput);
    let wanted = Attributes { kind: Kind::Directory, ..wanted };
    assert_eq!(files.set_attributes(&file, &wanted).unwrap_err().kind(), ErrorKind::InvalidInput);
    let wanted = Attributes { owner: Some((u32::MAX, 0)), ..before.clone() };
    assert_eq!(files.set_attributes(&file, &wanted).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_has(&files, &file, &before);
}

#[test]
fn only_regular_files_are_opened() {
    let (_directory, root, files) = tree();
    let (file, link, fifo) = (root.join("file"), root.join("link"), root.join("fifo"));
    write(&files, &file, b"x", &attributes(Kind::File, 0o600, &files));
    files.symlink(OsStr::new("file"), &link).unwrap();
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    // A pipe without a writer would keep a careless reader waiting for ever.
    for path in [&link, &fifo, &root, &root.join("socket"), Path::new("/dev/null")] {
        assert_eq!(files.open(path).err().unwrap().kind(), ErrorKind::InvalidInput, "{}", path.display());
    }
    assert_eq!(files.open(&root.join("none")).err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(files.metadata(&fifo).unwrap().kind, Kind::Fifo);
    assert_eq!(files.metadata(&root.join("socket")).unwrap().kind, Kind::Socket);
    assert_eq!(files.metadata(Path::new("/dev/null")).unwrap().kind, Kind::CharDevice);
    assert_eq!(files.read_dir(&link).unwrap_err().kind(), ErrorKind::NotADirectory);
}

#[test]
fn reading_leaves_no_access_time_behind() {
    let (_directory, root, files) = tree();
    let file = root.join("file");
    write(&files, &file, &[1; 3 << 20], &attributes(Kind::File, 0o644, &files));
    // Older than the modification: even a lazy file system would update it.
    let old = rustix::fs::Timespec { tv_sec: 1000, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
    rustix::fs::utimensat(CWD, &file, &times, rustix::fs::AtFlags::empty()).unwrap();
    let mut open = files.open(&file).unwrap();
    assert_eq!(open.metadata().unwrap(), files.metadata(&file).unwrap());
    let mut buffer = vec![0; 4 << 20];
    assert_eq!(open.read(&mut buffer).unwrap(), 3 << 20);
    assert_eq!(open.read(&mut buffer).unwrap(), 0);
    assert_eq!(std::fs::metadata(&file).unwrap().atime(), 1000);
}

#[test]
fn hard_links_are_one_file_even_of_symbolic_links() {
    let (_directory, root, files) = tree();
    let (file, link) = (root.join("file"), root.join("link"));
    write(&files, &file, b"x", &attributes(Kind::File, 0o600, &files));
    files.symlink(OsStr::new("nowhere"), &link).unwrap();
    for (path, further) in [(&file, root.join("file2")), (&link, root.join("link2"))] {
        files.hard_link(path, &further).unwrap();
        let (one, two) = (files.metadata(path).unwrap(), files.metadata(&further).unwrap());
        assert_eq!((one.inode, one.device, one.kind, one.links), (two.inode, two.device, two.kind, 2));
        assert_eq!(files.hard_link(path, &further).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
}

#[test]
fn nothing_that_exists_is_overwritten() {
    let (_directory, root, files) = tree();
    let (file, dangling) = (root.join("file"), root.join("dangling"));
    write(&files, &file, b"mine", &attributes(Kind::File, 0o600, &files));
    files.symlink(root.join("victim").as_os_str(), &dangling).unwrap();
    for path in [&file, &dangling, &root] {
        assert_eq!(files.create_file(path).err().unwrap().kind(), ErrorKind::AlreadyExists);
        assert_eq!(files.create_dir(path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(files.symlink(OsStr::new("x"), path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
    assert!(!root.join("victim").exists());
    assert_eq!(read(&files, &file), b"mine");
    drop(files.create_file(&root.join("unfinished")).unwrap());
    assert_eq!(files.metadata(&root.join("unfinished")).unwrap().mode, 0o600);
}

#[test]
fn files_have_holes_and_the_length_that_was_said() {
    let (_directory, root, files) = tree();
    let of_file = attributes(Kind::File, 0o600, &files);
    for (name, len, expected) in
        [("short", 3, b"\0\0a".to_vec()), ("exact", 4, b"\0\0ab".to_vec()), ("long", 6, b"\0\0ab\0\0".to_vec())]
    {
        let mut file = files.create_file(&root.join(name)).unwrap();
        file.write_at(2, b"ab").unwrap();
        file.finish(len, &of_file).unwrap();
        assert_eq!(read(&files, &root.join(name)), expected);
        assert_has(&files, &root.join(name), &of_file);
    }
}

#[test]
fn names_are_bytes() {
    let (_directory, root, files) = tree();
    let mut names: Vec<OsString> = [&b"plain"[..], b"\xff\xfe not utf-8", b"new\nline", b"..not dots", &[b'n'; 255]]
        .iter()
        .map(|name| OsStr::from_bytes(name).to_owned())
        .collect();
    for name in &names {
        write(&files, &root.join(name), name.as_bytes(), &attributes(Kind::File, 0o600, &files));
    }
    let target = OsStr::from_bytes(b"\xff/target");
    names.push(OsStr::from_bytes(b"\xfd link").to_owned());
    files.symlink(target, &root.join(&names[5])).unwrap();
    assert_eq!(files.read_link(&root.join(&names[5])).unwrap().as_os_str(), target);
    let mut found = files.read_dir(&root).unwrap().to_vec();
    found.sort();
    names.sort();
    assert_eq!(found, names);
}

#[test]
fn large_directories_are_read_whole() {
    let (_directory, root, files) = tree();
    // Several times what one system call fetches.
    for number in 0..500 {
        std::fs::write(root.join(format!("{number:0250}")), "").unwrap();
    }
    let found: BTreeSet<OsString> = files.read_dir(&root).unwrap().to_vec().into_iter().collect();
    assert_eq!(found.len(), 500);
}

#[test]
fn files_links_and_empty_directories_are_removed() {
    let (_directory, root, files) = tree();
    files.create_dir(&root.join("full")).unwrap();
    write(&files, &root.join("full/file"), b"", &attributes(Kind::File, 0o600, &files));
    files.symlink(OsStr::new("full"), &root.join("link")).unwrap();
    assert_eq!(files.remove(&root.join("full")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    for path in ["link", "full/file", "full"] {
        files.remove(&root.join(path)).unwrap();
        assert_eq!(files.metadata(&root.join(path)).unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(files.remove(&root.join("full")).unwrap_err().kind(), ErrorKind::NotFound);
}

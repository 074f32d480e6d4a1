//! Extended attributes, holes, pipes and devices, and paths longer than the kernel takes.

use std::{
    ffi::OsStr,
    io::ErrorKind,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use env::files::{Attributes, FileTime, Files, Kind, Xattr};
use node::env::HostFiles;
use protocol::{format::tree::Blob, limits};
use rustix::{
    fs::{XattrFlags, lsetxattr},
    io::Errno,
};
use tempfile::TempDir;

fn tree() -> (TempDir, PathBuf, HostFiles) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().to_path_buf();
    (directory, path, HostFiles::new())
}

fn attributes(kind: Kind, mode: u32, xattrs: &[Xattr]) -> Attributes {
    Attributes { kind, mode, owner: None, mtime: FileTime { secs: 1_000_000_007, nanos: 5 }, xattrs: xattrs.to_vec() }
}

fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr { name: Blob(name.into()), value: Blob(value.into()) }
}

/// What `setfacl -m u:4242:rw` makes of a file that its group may read: version 2, then for
/// each entry its tag, permissions and id.
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 6, 4242), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 0, u32::MAX)];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Says that the machine lacks what a test needs: loudly, and no more.
fn skipped(what: &str) {
    eprintln!("SKIPPED: {what}");
}

#[test]
fn extended_attributes_and_acls_replace_those_that_are_there() {
    let (_directory, root, files) = tree();
    let (file, directory, link) = (root.join("file"), root.join("directory"), root.join("link"));
    drop(files.create_file(&file).unwrap());
    if lsetxattr(&file, "user.old", b"goes", XattrFlags::empty()) == Err(Errno::NOTSUP) {
        return skipped("the file system for temporary files has no extended attributes");
    }
    files.create_dir(&directory).unwrap();
    files.symlink(OsStr::new("file"), &link).unwrap();
    assert_eq!(files.xattrs(&file).unwrap(), [xattr("user.old", b"goes")]);
    assert_eq!(files.xattrs(&link).unwrap(), [], "the link itself has none");

    let labels = [xattr("system.posix_acl_access", &acl()), xattr("user.empty", b""), xattr("user.words", &[7; 2000])];
    // The group's permissions are the mask of the ACL.
    files.set_attributes(&file, &attributes(Kind::File, 0o660, &labels)).unwrap();
    assert_eq!(files.xattrs(&file).unwrap(), labels);
    assert_eq!(files.open(&file).unwrap().xattrs().unwrap(), labels);
    assert_eq!(files.metadata(&file).unwrap().mode, 0o660);
    let inherited = [xattr("system.posix_acl_access", &acl()), xattr("system.posix_acl_default", &acl())];
    files.set_attributes(&directory, &attributes(Kind::Directory, 0o660, &inherited)).unwrap();
    assert_eq!(files.xattrs(&directory).unwrap(), inherited);
    files.set_attributes(&file, &attributes(Kind::File, 0o600, &[])).unwrap();
    assert_eq!(files.xattrs(&file).unwrap(), []);

    let new = files.create_file(&root.join("new")).unwrap();
    new.finish(0, &attributes(Kind::File, 0o660, &labels)).unwrap();
    assert_eq!(files.xattrs(&root.join("new")).unwrap(), labels);

    // What cannot be set is told, and everything else is done.
    let strange = [xattr("nonsense", b"x"), xattr("user.kept", b"y")];
    let error = files.set_attributes(&file, &attributes(Kind::File, 0o604, &strange)).unwrap_err();
    assert!(error.to_string().contains("nonsense"), "{error}");
    assert_eq!(files.xattrs(&file).unwrap(), [xattr("user.kept", b"y")]);
    assert_eq!(files.metadata(&file).unwrap().mode, 0o604);
}

#[test]
fn more_extended_attributes_than_anyone_needs_are_an_error() {
    // Most file systems allow 4 KiB; this one does not count.
    let Ok(directory) = TempDir::new_in("/dev/shm") else { return skipped("there is no /dev/shm") };
    let file = directory.path().join("file");
    let files = HostFiles::new();
    drop(files.create_file(&file).unwrap());
    for number in 0..limits::XATTRS_BYTES_MAX / 60_000 + 1 {
        if lsetxattr(&file, format!("user.{number}"), &vec![1; 60_000], XattrFlags::empty()).is_err() {
            return skipped("/dev/shm has no room for many extended attributes");
        }
    }
    assert_eq!(files.xattrs(&file).unwrap_err().kind(), ErrorKind::FileTooLarge);
    assert_eq!(files.open(&file).unwrap().xattrs().unwrap_err().kind(), ErrorKind::FileTooLarge);
}

#[test]
fn holes_are_found_and_made() {
    let (_directory, root, files) = tree();
    let path = root.join("sparse");
    let (len, piece) = (1 << 30, vec![1; 1 << 20]);
    let mut file = files.create_file(&path).unwrap();
    file.write_at(4 << 20, &piece).unwrap();
    file.write_at(512 << 20, &piece).unwrap();
    file.finish(len, &attributes(Kind::File, 0o600, &[])).unwrap();
    let found = files.metadata(&path).unwrap();
    if found.allocated >= len {
        return skipped("the file system for temporary files has no holes");
    }
    assert!((found.len, found.allocated / (1 << 20)) == (len, 2), "{found:?}");
    let open = files.open(&path).unwrap();
    assert_eq!(open.data_after(0).unwrap(), Some(4 << 20..5 << 20));
    assert_eq!(open.data_after((4 << 20) + 7).unwrap(), Some((4 << 20) + 7..5 << 20));
    assert_eq!(open.data_after(5 << 20).unwrap(), Some(512 << 20..513 << 20));
    assert_eq!((open.data_after(513 << 20).unwrap(), open.data_after(len).unwrap()), (None, None));
    let mut open = files.open(&path).unwrap();
    open.seek((5 << 20) - 1);
    let mut buffer = [9; 2];
    assert_eq!((open.read(&mut buffer).unwrap(), buffer), (2, [1, 0]));
    // A file without holes is all data, to its end.
    std::fs::File::create(root.join("dense")).unwrap().write_all_at(&piece, 0).unwrap();
    let found = files.metadata(&root.join("dense")).unwrap();
    assert!(found.allocated >= found.len, "{found:?}");
    assert_eq!(files.open(&root.join("dense")).unwrap().data_after(0).unwrap(), Some(0..1 << 20));
}

#[test]
fn what_is_no_file_is_made_and_told() {
    let (_directory, root, files) = tree();
    let null = rustix::fs::makedev(1, 3);
    for (name, kind, rdev) in [
        ("pipe", Kind::Fifo, 0),
        ("socket", Kind::Socket, 0),
        ("null", Kind::CharDevice, null),
        ("disk", Kind::BlockDevice, rustix::fs::makedev(7, 9)),
    ] {
        let path = root.join(name);
        match files.create_node(&path, kind, rdev) {
            Err(error) if rdev > 0 && error.kind() == ErrorKind::PermissionDenied => {
                skipped("only root makes devices, and not in every container");
                continue;
            }
            made => made.unwrap(),
        }
        assert_eq!(files.metadata(&path).unwrap().mode & 0o077, 0, "nobody else may use it yet");
        files.set_attributes(&path, &attributes(kind, 0o640, &[])).unwrap();
        let found = files.metadata(&path).unwrap();
        assert_eq!((found.kind, found.rdev, found.mode), (kind, rdev, 0o640));
        assert_eq!(files.create_node(&path, kind, rdev).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(files.open(&path).err().unwrap().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(files.create_node(&root.join("x"), Kind::File, 0).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn paths_may_be_longer_than_the_kernel_takes() {
    let (_directory, root, files) = tree();
    for len in [4000, 4095, 4096, 20_000] {
        let mut deep = root.clone();
        let mut made = Vec::new();
        while deep.as_os_str().len() < len - 20 {
            let more = (len - 20 - deep.as_os_str().len()).min(201);
            deep.push("d".repeat(more.saturating_sub(1).max(1)));
            files.create_dir(&deep).unwrap();
            made.push(deep.clone());
        }
        everything_works_in(&files, &deep);
        made.iter().rev().for_each(|path| files.remove(path).unwrap());
        assert!(files.read_dir(&root).unwrap().is_empty());
    }
    let name = root.join("n".repeat(5000));
    assert_eq!(files.metadata(&name).unwrap_err().kind(), ErrorKind::InvalidFilename);
    assert_eq!(files.metadata(&Path::new("/").join("n/".repeat(3000))).unwrap_err().kind(), ErrorKind::NotFound);
}

fn everything_works_in(files: &HostFiles, deep: &Path) {
    let (file, other, link) = (deep.join("file"), deep.join("other"), deep.join("link"));
    let mut open = files.create_file(&file).unwrap();
    open.write_at(0, b"deep").unwrap();
    open.finish(4, &attributes(Kind::File, 0o640, &[])).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(files.open(&file).unwrap().read(&mut buffer).unwrap(), 4);
    files.hard_link(&file, &other).unwrap();
    files.rename(&other, &deep.join("another")).unwrap();
    files.symlink(OsStr::new("file"), &link).unwrap();
    files.set_attributes(&link, &attributes(Kind::Symlink, 0, &[])).unwrap();
    assert_eq!(files.read_link(&link).unwrap(), Path::new("file"));
    files.create_node(&deep.join("pipe"), Kind::Fifo, 0).unwrap();
    let mut labels = vec![xattr("user.depth", b"great")];
    if lsetxattr(deep.ancestors().last().unwrap(), "user.depth", b"", XattrFlags::REPLACE) == Err(Errno::NOTSUP) {
        labels.clear();
    }
    files.set_attributes(&file, &attributes(Kind::File, 0o600, &labels)).unwrap();
    assert_eq!(files.xattrs(&file).unwrap(), labels);
    assert_eq!(files.metadata(&file).unwrap().links, 2);
    let mut names = files.read_dir(deep).unwrap();
    names.sort();
    assert_eq!(names.to_vec(), ["another", "file", "link", "pipe"]);
    names.iter().for_each(|name| files.remove(&deep.join(name)).unwrap());
}

//! The node's data directory.

use std::{io::ErrorKind, os::unix::fs::PermissionsExt as _, path::Path};

use env::Disk;
use node::env::DataDir;
use redb::{Database, ReadableDatabase as _, TableDefinition};
use tempfile::TempDir;

const TABLE: TableDefinition<'_, u64, u64> = TableDefinition::new("t");

fn open() -> (TempDir, DataDir) {
    let directory = TempDir::new().unwrap();
    let disk = DataDir::open(&directory.path().join("a/b")).unwrap();
    (directory, disk)
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn nobody_else_can_look_into_it() {
    let (directory, disk) = open();
    disk.replace("key", b"secret").unwrap();
    drop(disk.file("db").unwrap());
    for (path, expected) in [("a", 0o700), ("a/b", 0o700), ("a/b/key", 0o600), ("a/b/db", 0o600)] {
        assert_eq!(mode(&directory.path().join(path)), expected, "{path}");
    }
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    let (directory, disk) = open();
    assert_eq!(disk.read("f").unwrap_err().kind(), ErrorKind::NotFound);
    disk.replace("f", b"one").unwrap();
    // What a crash leaves: a replacement that was not finished, here even a link.
    let left = directory.path().join("a/b/f.new");
    std::os::unix::fs::symlink(directory.path().join("victim"), &left).unwrap();
    let before = std::fs::File::options().read(true).open(directory.path().join("a/b/f")).unwrap();
    disk.replace("f", b"three").unwrap();
    assert_eq!(disk.read("f").unwrap(), b"three");
    assert_eq!(std::io::read_to_string(before).unwrap(), "one", "whoever has the old file open keeps it");
    assert!(!directory.path().join("victim").exists());
    assert!(!left.exists());
    disk.remove("f").unwrap();
    disk.remove("f").unwrap();
    assert_eq!(disk.read("f").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn names_stay_inside() {
    let (_directory, disk) = open();
    for name in ["", ".", "..", "../f", "a/b", "/etc/passwd", "a\0b"] {
        assert_eq!(disk.replace(name, b"").unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(disk.read(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(disk.lock(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(disk.file(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
    }
}

#[test]
fn a_lock_is_had_once() {
    let (_directory, disk) = open();
    let held = disk.lock("l").unwrap();
    assert_eq!(disk.lock("l").unwrap_err().kind(), ErrorKind::WouldBlock);
    disk.lock("other").unwrap();
    drop(held);
    disk.lock("l").unwrap();
}

#[test]
fn a_database_has_one_user_and_keeps_what_was_committed() {
    let (_directory, disk) = open();
    let create = || Database::builder().create_with_backend(Backend(disk.file("db").unwrap())).unwrap();
    let database = create();
    assert_eq!(disk.file("db").unwrap_err().kind(), ErrorKind::WouldBlock);
    let write = database.begin_write().unwrap();
    write.open_table(TABLE).unwrap().insert(1, 2).unwrap();
    write.commit().unwrap();
    assert_eq!(disk.file("db").unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(database);
    let database = create();
    let value = database.begin_read().unwrap().open_table(TABLE).unwrap().get(1).unwrap().unwrap().value();
    assert_eq!(value, 2);
}

/// redb wants a backend of a known type.
#[derive(Debug)]
struct Backend(Box<dyn redb::StorageBackend>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
    fn close(&self) -> std::io::Result<()> {
        self.0.close()
    }
}

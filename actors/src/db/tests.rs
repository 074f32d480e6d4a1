use std::{
    collections::BTreeMap,
    sync::{
        Once,
        atomic::{AtomicI32, Ordering},
    },
};

use proptest::prelude::*;
use protocol::failure::Code;
use redb::{ReadableTable, TableDefinition};

use env::disk::{Guard, Mark, Room};

use super::*;
use crate::testing::{Memory, MemoryDisk};

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");
/// Transactions in the database that is damaged, and rows in each.
const COMMITS: u64 = 3;
const ROWS_PER_COMMIT: u64 = 40;

type Rows = BTreeMap<u64, Vec<u8>>;

/// redb says of some damages by a panic, and a backtrace takes longer than a test may.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(hush_panics);
}

fn rows(database: &Guarded) -> Io<Rows> {
    database.read(|transaction| {
        let table = transaction.open_table(ROWS)?;
        table
            .iter()?
            .map(|row| row.map(|(key, value)| (key.value(), value.value().to_vec())).map_err(Into::into))
            .collect()
    })
}

fn value(key: u64) -> Vec<u8> {
    blake3::hash(&key.to_le_bytes()).as_bytes().repeat(1 + (key % 40) as usize)
}

fn commit(database: &Guarded, number: u64) -> Io<()> {
    database.write(Durability::Immediate, |transaction| {
        let mut table = transaction.open_table(ROWS)?;
        for key in number * ROWS_PER_COMMIT..(number + 1) * ROWS_PER_COMMIT {
            table.insert(key, value(key).as_slice())?;
        }
        Ok(())
    })
}

/// A database's file as it is after a clean stop, and as a kill leaves it, with the
/// rows after each commit.
fn sound() -> (Vec<u8>, Vec<u8>, Vec<Rows>) {
    let memory = Memory::default();
    let database = open(Box::new(memory.clone())).unwrap();
    let mut states = Vec::new();
    for number in 0..COMMITS {
        commit(&database, number).unwrap();
        states.push(rows(&database).unwrap());
    }
    let killed = memory.bytes().clone();
    drop(database);
    let stopped = memory.bytes().clone();
    (stopped, killed, states)
}

/// Opens what may be damaged, reads all of it and writes to it. What comes out is one
/// of the `states`, or an error; and an error leaves the file as it was.
fn examine(bytes: &[u8], states: &[Rows], what: &str) -> bool {
    let file = Memory::of(bytes);
    let database = match open(Box::new(file.clone())) {
        Ok(database) => database,
        Err(error) => {
            assert!(matches!(error, redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_)), "{what}: {error:?}");
            assert!(*file.bytes() == bytes, "{what}: a damaged file was written to");
            return false;
        }
    };
    let read = rows(&database).unwrap_or_else(|error| panic!("{what}: it was opened, and then {error}"));
    assert!(states.contains(&read), "{what}: other rows than were written");
    commit(&database, COMMITS).unwrap_or_else(|error| panic!("{what}: it was opened, and then {error}"));
    drop(database);
    let again = open(Box::new(file)).unwrap_or_else(|error| panic!("{what}: it opened once, and then {error}"));
    let more = ROWS_PER_COMMIT as usize;
    assert_eq!(rows(&again).map(|rows| rows.len()).ok(), Some(read.len() + more), "{what}");
    true
}

/// Where to damage a file: all over its header, and in each page that is not empty.
fn places(bytes: &[u8]) -> Vec<usize> {
    let header = (0..320).step_by(5);
    let parts = bytes.chunks(2048).enumerate().filter(|(_, part)| part.iter().any(|byte| *byte != 0));
    header.chain(parts.map(|(number, part)| number * 2048 + number * 61 % part.len())).collect()
}

#[test]
fn a_sound_database_opens_however_it_ended() {
    let (stopped, killed, states) = sound();
    assert!(examine(&stopped, &states[2..], "stopped"));
    assert!(examine(&killed, &states[2..], "killed"));
    assert!(!examine(b"this is not a database", &states, "a text"));
}

#[test]
fn flipped_bits_are_an_error_or_harmless() {
    hush();
    let (stopped, killed, states) = sound();
    // After a kill, what does not match may be a transaction that was under way: then
    // the one before it counts, as redb has it.
    for (name, sound, states) in [("stopped", &stopped, &states[2..]), ("killed", &killed, &states[1..])] {
        let mut refused = 0;
        let places = places(sound);
        for at in &places {
            let mut damaged = sound.clone();
            damaged[*at] ^= 1 << (at % 8);
            refused += u32::from(!examine(&damaged, states, &format!("{name}, bit {} of byte {at}", at % 8)));
        }
        assert!(refused > 20, "{name}: {refused} of {} damages were noticed", places.len());
    }
}

#[test]
fn a_file_that_was_cut_or_zeroed_is_an_error() {
    let (stopped, killed, states) = sound();
    hush();
    for (sound, states) in [(&stopped, &states[2..]), (&killed, &states[1..])] {
        let len = sound.len();
        for keep in [1, 100, 320, 4095, 4096, 8192, len / 4, len / 2, len - 4096, len - 1] {
            examine(&sound[..keep], states, &format!("the first {keep} bytes of {len}"));
        }
        assert!(!examine(&sound[..len / 2], states, "half a file"));
        assert!(!examine(&vec![0; len], states, "zeros"));
        for start in (0..len).step_by(len / 16) {
            let mut damaged = sound.clone();
            let end = (start + len / 16).min(len);
            damaged[start..end].fill(0);
            examine(&damaged, states, &format!("zeros from {start}"));
        }
    }
}

#[test]
fn a_damaged_file_is_named_with_what_to_do() {
    hush();
    let what = What { name: "nuts", remedy: "look for them" };
    let (stopped, ..) = sound();
    let refused = open(Box::new(Memory::of(&stopped[..stopped.len() / 2]))).err().unwrap();
    let failure = what.failure("/var/lib/nuthatch", &refused);
    assert_eq!(failure.code, Code::Corrupt);
    assert!(failure.message.starts_with("the database nuts in /var/lib/nuthatch is damaged ("), "{failure}");
    assert!(failure.message.ends_with("): look for them"), "{failure}");

    let full = redb::Error::Io(io::ErrorKind::StorageFull.into());
    let failure = what.failure("/var/lib/nuthatch", &full);
    assert_eq!(failure.code, Code::Internal);
    assert!(failure.message.contains("make room"), "{failure}");
}

/// A disk, and a file of it, that fail for good after some steps: for what uses them, a kill.
#[derive(Clone)]
struct Dying {
    disk: Arc<MemoryDisk>,
    steps: Arc<AtomicI32>,
}

impl Dying {
    fn step(&self) -> io::Result<()> {
        if self.steps.fetch_sub(1, Ordering::Relaxed) > 0 { Ok(()) } else { Err(io::Error::other("killed")) }
    }
}

impl Disk for Dying {
    fn file(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        self.step()?;
        Ok(Box::new(DyingFile { file: self.disk.file(name)?, dying: self.clone() }))
    }
    fn exists(&self, name: &str) -> io::Result<bool> {
        self.disk.exists(name)
    }
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.disk.read(name)
    }
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        self.disk.replace(name, bytes)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.step()?;
        self.disk.remove(name)
    }
    fn lock(&self, name: &str) -> io::Result<Box<dyn Guard>> {
        self.disk.lock(name)
    }
    fn mark(&self, name: &str) -> io::Result<Mark> {
        self.disk.mark(name)
    }
    fn room(&self) -> io::Result<Room> {
        self.disk.room()
    }
    fn place(&self) -> String {
        self.disk.place()
    }
}

struct DyingFile {
    file: Box<dyn StorageBackend>,
    dying: Dying,
}

impl std::fmt::Debug for DyingFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl StorageBackend for DyingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.dying.step()?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.dying.step()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.dying.step()?;
        self.file.write(offset, data)
    }
}

#[test]
fn a_database_is_made_whenever_its_maker_was_killed() {
    hush();
    let what = What { name: "nuts", remedy: "look for them" };
    let disk = Arc::new(MemoryDisk::default());
    // However often it is killed, and wherever.
    let kills = (0..).take_while(|steps| {
        let dying = Dying { disk: disk.clone(), steps: Arc::new(AtomicI32::new(*steps)) };
        let made = what
            .open_or_create(&dying)
            .and_then(|database| commit(&database, 0).map_err(|error| what.failure("memory", &error)));
        if let Err(failure) = &made {
            assert_eq!(failure.code, Code::Internal, "after {steps} steps: {failure}");
        }
        made.is_err()
    });
    assert!(kills.count() > 5);
    let database = what.open_or_create(&*disk).unwrap();
    assert_eq!(rows(&database).unwrap().len() as u64, ROWS_PER_COMMIT);
    assert_eq!(disk.names(), ["nuts"]);
}

#[test]
fn a_database_goes_on_when_there_is_room_again() {
    let what = What { name: "nuts", remedy: "look for them" };
    let steps = Arc::new(AtomicI32::new(i32::MAX));
    let file = DbFile::open(Arc::new(Dying { disk: Arc::default(), steps: steps.clone() }), what).unwrap();
    let put = |key: u64| {
        file.write(Durability::Immediate, |transaction| {
            transaction.open_table(ROWS)?.insert(key, value(key).as_slice())?;
            Ok(())
        })
    };
    put(0).unwrap();
    steps.store(0, Ordering::Relaxed);
    for key in 1..4 {
        assert!(matches!(put(key), Err(redb::Error::Io(_))));
    }
    steps.store(i32::MAX, Ordering::Relaxed);
    put(4).unwrap();
    let left: Vec<u64> = rows(&file.database()).unwrap().into_keys().collect();
    assert_eq!(left, [0, 4]);
}

#[test]
fn a_panic_ends_the_operation_only() {
    let memory = Memory::default();
    let database = open(Box::new(memory.clone())).unwrap();
    commit(&database, 0).unwrap();
    let broken = database.write(Durability::Immediate, |transaction| -> Io<()> {
        transaction.open_table(ROWS)?.insert(7, [].as_slice())?;
        assert!(GUARDED.get());
        panic!("as redb may");
    });
    assert!(matches!(broken, Err(redb::Error::Corrupted(_))));
    assert!(!GUARDED.get());
    drop(database);
    let again = open(Box::new(memory)).unwrap();
    assert_eq!(rows(&again).unwrap().get(&7), Some(&value(7)), "half a transaction was kept");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// An overlay reads as the file would, and the file stays as it is.
    #[test]
    fn an_overlay_is_the_file_as_if_it_were_written(
        file in proptest::collection::vec(any::<u8>(), 0..9000),
        changes in proptest::collection::vec((0..14_000_usize, 0..6000_usize, 0..4_u8), 0..12),
    ) {
        let memory = Memory::of(&file);
        let (overlay, model) = (Overlay::new(Arc::new(memory.clone())).unwrap(), Memory::of(&file));
        for (offset, len, kind) in changes {
            let data = vec![kind + 1; len];
            for backend in [&overlay as &dyn StorageBackend, &model] {
                match kind {
                    0 => backend.set_len(offset as u64).unwrap(),
                    _ => backend.write(offset as u64, &data).unwrap(),
                }
            }
            prop_assert_eq!(overlay.len().unwrap(), model.len().unwrap());
            let (mut one, mut other) = (vec![0; len], vec![9; len]);
            for start in [0, offset / 2, offset] {
                let read = overlay.read(start as u64, &mut one).is_ok();
                prop_assert_eq!(read, model.read(start as u64, &mut other).is_ok());
                prop_assert!(!read || one == other);
            }
        }
        prop_assert_eq!(&*memory.bytes(), &file);
    }
}

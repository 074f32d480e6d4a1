//! A machine's data directory, in memory, with the gap between written and
//! durable that real disks have.
//!
//! Invariant: what was synced, or replaced by `replace`, survives everything but
//! a wipe. Of what a database wrote since its last sync, a loss of power keeps
//! nothing, a prefix, or any part of it in any order, torn at sectors.

mod database;

use std::{
    collections::BTreeMap,
    fmt, io,
    ops::Range,
    sync::{Arc, Mutex},
    time::Duration,
};

use database::{Change, Copy, Database, place, read_at};

use crate::kernel::{Life, fault::Moment, lock, rng::Stream};

/// How large a disk says that it is.
const ROOM_BYTES: u64 = 1 << 40;

/// What of the machine's data directory survives its lives.
#[derive(Debug)]
pub struct Drive {
    contents: Mutex<Contents>,
    sync_us: Range<u64>,
    costs: Mutex<Stream>,
}

#[derive(Debug, Default)]
struct Contents {
    /// Whether syncs lie.
    lies: bool,
    small: BTreeMap<String, Vec<u8>>,
    /// The number of each small file: a copy has another.
    inodes: BTreeMap<String, u64>,
    /// How many there have been.
    inodes_made: u64,
    databases: BTreeMap<String, Database>,
    /// Names of open databases and taken locks, by the life that holds them.
    held: BTreeMap<(Holding, String), u64>,
}

/// A copy of a drive's contents, as a backup of the data directory makes it, or a snapshot
/// of the whole disk.
#[derive(Debug, Clone)]
pub struct Image {
    small: BTreeMap<String, Vec<u8>>,
    inodes: BTreeMap<String, u64>,
    databases: BTreeMap<String, Database>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holding {
    Database,
    Lock,
}

impl Drive {
    /// An empty one, whose syncs take so many microseconds.
    pub fn new(sync_us: Range<u64>, costs: Stream) -> Self {
        Self { contents: Mutex::default(), sync_us, costs: Mutex::new(costs) }
    }

    /// The machine lost power.
    pub fn lose_power(&self, stream: &mut Stream) {
        let mut contents = lock(&self.contents);
        contents.held.clear();
        contents.databases.values_mut().for_each(|database| database.lose_power(stream));
    }

    /// The process died: the system goes on, and writes what was written.
    pub fn release(&self) {
        let mut contents = lock(&self.contents);
        contents.held.clear();
        contents.databases.values_mut().for_each(|database| _ = database.sync());
    }

    /// From now on syncs make nothing durable, and say that they did.
    pub fn lie(&self) {
        lock(&self.contents).lies = true;
    }

    /// Everything is gone.
    pub fn wipe(&self) {
        let mut contents = lock(&self.contents);
        *contents = Contents { inodes_made: contents.inodes_made, ..Contents::default() };
    }

    /// One database is gone, and nothing else. For a machine that is down.
    pub fn lose(&self, database: &str) {
        lock(&self.contents).databases.remove(database);
    }

    /// A copy of what is durable.
    pub fn image(&self) -> Image {
        let contents = lock(&self.contents);
        let durable = |database: &Database| Database::of(database.durable.clone());
        Image {
            small: contents.small.clone(),
            inodes: contents.inodes.clone(),
            databases: contents.databases.iter().map(|(name, database)| (name.clone(), durable(database))).collect(),
        }
    }

    /// The files are copied back, as `cp -a` does. For a machine that is down.
    pub fn restore_files(&self, image: &Image) {
        self.roll_back(image);
        let mut contents = lock(&self.contents);
        let names: Vec<String> = contents.small.keys().cloned().collect();
        names.iter().for_each(|name| contents.renumber(name));
    }

    /// The whole disk is put back to an earlier state, which no file tells. For a machine
    /// that is down.
    pub fn roll_back(&self, image: &Image) {
        let Image { small, inodes, databases } = image.clone();
        let mut contents = lock(&self.contents);
        *contents = Contents { small, inodes, databases, inodes_made: contents.inodes_made, ..Contents::default() };
    }

    /// A small file, as a checker sees it.
    pub fn small_file(&self, name: &str) -> Option<Vec<u8>> {
        lock(&self.contents).small.get(name).cloned()
    }

    /// Names of all small files and databases.
    pub fn names(&self) -> Vec<String> {
        let contents = lock(&self.contents);
        contents.small.keys().chain(contents.databases.keys()).cloned().collect()
    }

    /// A private copy of a database as it would be after a loss of power that
    /// keeps nothing unsynced, for a checker to open.
    pub fn durable_copy(&self, name: &str) -> Option<impl redb::StorageBackend> {
        let contents = lock(&self.contents);
        contents.databases.get(name).map(|database| Copy(Mutex::new(database.durable.clone())))
    }

    fn cost(&self) -> Duration {
        Duration::from_micros(lock(&self.costs).within(&self.sync_us))
    }
}

/// The data directory as one life reaches it.
#[derive(Debug)]
pub struct SimDisk {
    life: Life,
    drive: Arc<Drive>,
}

impl SimDisk {
    /// The drive of this life's machine.
    pub fn new(life: Life, drive: Arc<Drive>) -> Self {
        Self { life, drive }
    }

    fn hold(&self, holding: Holding, name: &str) -> io::Result<Hold> {
        self.life.check()?;
        let key = (holding, name.to_owned());
        let mut contents = lock(&self.drive.contents);
        if contents.held.contains_key(&key) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, format!("{name} is in use")));
        }
        contents.held.insert(key.clone(), self.life.number());
        Ok(Hold { life: self.life.clone(), drive: Arc::clone(&self.drive), key })
    }

    /// Makes a change of whole files durable, as one step between two moments.
    fn commit(&self, name: &str, change: impl FnOnce(&mut Contents)) -> io::Result<()> {
        self.life.moment(Moment::BeforeSync);
        self.life.check()?;
        self.life.charge(self.drive.cost());
        {
            let mut contents = lock(&self.drive.contents);
            change(&mut contents);
            contents.renumber(name);
        }
        self.life.note(format_args!("disk sync {name}"));
        self.life.moment(Moment::AfterSync);
        self.life.check()
    }
}

impl Contents {
    /// A file was written anew.
    fn renumber(&mut self, name: &str) {
        self.inodes_made += 1;
        self.inodes.insert(name.to_owned(), self.inodes_made);
    }
}

/// Refuses what grows the disk while it is full.
fn check_room(life: &Life) -> io::Result<()> {
    let full = life.kernel().machine(life.node(), |machine| machine.disk_full);
    if full == Some(true) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
}

impl env::Disk for SimDisk {
    fn file(&self, name: &str) -> io::Result<Box<dyn redb::StorageBackend>> {
        let hold = self.hold(Holding::Database, name)?;
        lock(&self.drive.contents).databases.entry(name.to_owned()).or_default();
        Ok(Box::new(Backend { name: name.to_owned(), hold: Mutex::new(Some(hold)), disk: self.again() }))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        self.life.check()?;
        let contents = lock(&self.drive.contents);
        Ok(contents.small.contains_key(name) || contents.databases.contains_key(name))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.life.check()?;
        let found = lock(&self.drive.contents).small.get(name).cloned();
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}")))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        check_room(&self.life)?;
        self.commit(name, |contents| {
            contents.small.insert(name.to_owned(), bytes.to_vec());
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.commit(name, |contents| {
            contents.small.remove(name);
            contents.databases.remove(name);
        })
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn env::disk::Guard>> {
        Ok(Box::new(self.hold(Holding::Lock, name)?))
    }

    fn mark(&self, name: &str) -> io::Result<env::disk::Mark> {
        self.life.check()?;
        let contents = lock(&self.drive.contents);
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name}"));
        let inode = contents.small.get(name).and_then(|_| contents.inodes.get(name)).ok_or_else(missing)?;
        Ok(env::disk::Mark { inode: *inode, born_ns: None, changed_ns: i128::from(*inode), machine: None })
    }

    fn room(&self) -> io::Result<env::disk::Room> {
        self.life.check()?;
        let free = if check_room(&self.life).is_ok() { ROOM_BYTES } else { 0 };
        Ok(env::disk::Room { free, total: ROOM_BYTES })
    }

    fn place(&self) -> String {
        format!("the simulated disk of {}", self.life.node())
    }
}

impl SimDisk {
    fn again(&self) -> Self {
        Self { life: self.life.clone(), drive: Arc::clone(&self.drive) }
    }
}

/// Holds a name until it is dropped, or its life ends.
struct Hold {
    life: Life,
    drive: Arc<Drive>,
    key: (Holding, String),
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hold({})", self.key.1)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut contents = lock(&self.drive.contents);
        if contents.held.get(&self.key) == Some(&self.life.number()) && !self.life.is_over() {
            contents.held.remove(&self.key);
        }
    }
}

impl env::disk::Guard for Hold {}

/// The storage of one open redb database.
struct Backend {
    name: String,
    hold: Mutex<Option<Hold>>,
    disk: SimDisk,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({})", self.name)
    }
}

impl Backend {
    fn with<T>(&self, work: impl FnOnce(&mut Database) -> io::Result<T>) -> io::Result<T> {
        self.disk.life.check()?;
        match lock(&self.disk.drive.contents).databases.get_mut(&self.name) {
            Some(database) => work(database),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Makes everything durable; how many changes that took.
    fn commit(&self) -> io::Result<usize> {
        if lock(&self.disk.drive.contents).lies {
            return Ok(0);
        }
        self.with(|database| Ok(database.sync()))
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.with(|database| Ok(database.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.with(|database| read_at(&database.seen, offset, out))
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let length = place(len, 0)?.start;
        let grows = self.with(|database| Ok(length > database.seen.len()))?;
        if grows {
            check_room(&self.disk.life)?;
        }
        self.with(|database| {
            database.change(Change::Length(length));
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let life = &self.disk.life;
        life.moment(Moment::BeforeSync);
        life.check()?;
        life.charge(self.disk.drive.cost());
        let changes = self.commit()?;
        life.note(format_args!("disk sync {} changes {changes}", self.name));
        life.moment(Moment::AfterSync);
        life.check()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        check_room(&self.disk.life)?;
        let place = place(offset, data.len())?;
        self.with(|database| {
            database.change(Change::Write { offset: place.start, bytes: data.to_vec() });
            Ok(())
        })
    }

    fn close(&self) -> Result<(), io::Error> {
        lock(&self.hold).take();
        Ok(())
    }
}

#[cfg(test)]
mod tests;

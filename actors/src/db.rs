//! redb on the node's own disk.
//!
//! Invariant: whatever became of a database's file, what comes out of it is what was
//! put in, or a failure that names the file and says what to do. Every page is checked
//! when a database is opened, before anything is written to it; what redb says of
//! damage by a panic ends the operation and nothing else.

mod overlay;
#[cfg(test)]
mod tests;

use std::{
    cell::Cell,
    io,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use env::{Blocking, Disk, Env, run_blocking};
use probe::Plant;
use protocol::failure::Failure;
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction};

use self::overlay::Overlay;
use crate::small_file;

/// Memory that one small database may use for its pages. Ours hold kilobytes to a
/// few megabytes; redb's default is a gigabyte.
const CACHE_BYTES: usize = 16 << 20;

/// What any operation may come to.
pub type Io<T> = Result<T, redb::Error>;

/// A database of a node, and what a person can do when it is damaged.
#[derive(Debug, Clone, Copy)]
pub struct What {
    /// The name of its file.
    pub name: &'static str,
    /// What to do if it is damaged: a whole sentence without its full stop.
    pub remedy: &'static str,
}

/// An open database. Clones share it.
#[derive(Clone)]
pub struct Db {
    blocking: Arc<dyn Blocking>,
    file: Arc<DbFile>,
}

impl Db {
    /// Opens a database of the node, creating it empty, and checks all of it.
    pub async fn open(env: &Env, what: What) -> Result<Self, Failure> {
        let disk = env.disk.clone();
        let file = run_blocking(&*env.blocking, move || DbFile::open(disk, what)).await?;
        Ok(Self { blocking: env.blocking.clone(), file: Arc::new(file) })
    }

    /// Reads, here and now.
    pub fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Io<T>) -> Io<T> {
        self.file.database().read(work)
    }

    /// Runs one write transaction, off the asynchronous threads. Durable when this
    /// returns, unless `durability` says otherwise. After a failure of the disk, a full one
    /// above all, the next one opens the file again.
    pub async fn write<T, F>(&self, durability: Durability, work: F) -> Io<T>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTransaction) -> Io<T> + Send + 'static,
    {
        let file = self.file.clone();
        run_blocking(&*self.blocking, move || file.write(durability, work)).await
    }

    /// A failure of this database, for a person.
    pub fn failure(&self, error: &redb::Error) -> Failure {
        self.file.what.failure(&self.file.disk.place(), error)
    }
}

/// What clones share. Blocks.
struct DbFile {
    what: What,
    disk: Arc<dyn Disk>,
    database: RwLock<Guarded>,
    /// Whether the disk failed a write: redb then refuses all others.
    has_failed: AtomicBool,
}

impl DbFile {
    fn open(disk: Arc<dyn Disk>, what: What) -> Result<Self, Failure> {
        let database = RwLock::new(what.open_or_create(&*disk)?);
        Ok(Self { what, disk, database, has_failed: AtomicBool::new(false) })
    }

    fn database(&self) -> RwLockReadGuard<'_, Guarded> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, durability: Durability, work: impl FnOnce(&WriteTransaction) -> Io<T>) -> Io<T> {
        if self.has_failed.load(Ordering::Acquire) {
            self.open_again()?;
        }
        let done = self.database().write(durability, work);
        if matches!(done, Err(redb::Error::Io(_) | redb::Error::PreviousIo)) {
            self.has_failed.store(true, Ordering::Release);
        }
        done
    }

    fn open_again(&self) -> Io<()> {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if self.has_failed.load(Ordering::Acquire) {
            // A file is opened once at a time.
            *database = Guarded(None);
            *database = open(self.disk.file(self.what.name)?)?;
            self.has_failed.store(false, Ordering::Release);
            probe::sometimes("a database that a full disk stopped goes on");
        }
        Ok(())
    }
}

impl What {
    /// Opens the database, or makes it. Until it is made there is a second file that says
    /// so: redb takes several steps to make one, and to it what a crash left between them is
    /// no database at all. Without that second file, such a thing is damage.
    fn open_or_create(self, disk: &dyn Disk) -> Result<Guarded, Failure> {
        let failed = |error: io::Error| small_file::failure("open", disk, &error);
        let unmade = format!("{}.unmade", self.name);
        let file = disk.file(self.name).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Failure::retry(format!(
                "{} in {} is in use: another nuthatch process works on this data directory",
                self.name,
                disk.place()
            )),
            _ => failed(error),
        })?;
        let was_left = disk.exists(&unmade).map_err(failed)?;
        let is_new = was_left || file.len().map_err(failed)? == 0;
        if is_new {
            if was_left {
                probe::sometimes("a database that a crash left unmade is made");
            }
            if !probe::planted(Plant::HalfMadeIsDamage) {
                disk.replace(&unmade, &[]).map_err(failed)?;
            }
            file.set_len(0).map_err(failed)?;
        }
        let database = open(file).map_err(|error| self.failure(&disk.place(), &error))?;
        if is_new {
            disk.remove(&unmade).map_err(failed)?;
        }
        Ok(database)
    }

    fn failure(&self, place: &str, error: &redb::Error) -> Failure {
        let Self { name, remedy } = self;
        match error {
            redb::Error::Corrupted(reason) => {
                Failure::corrupt(format!("the database {name} in {place} is damaged ({reason}): {remedy}"))
            }
            redb::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => {
                Failure::internal(format!("the database {name} in {place} cannot grow: make room on that disk"))
            }
            _ => Failure::internal(format!("the database {name} in {place} failed: {error}")),
        }
    }
}

/// Opens a database in this storage, making it if the storage is empty.
///
/// redb mends what a loss of power may leave, and cannot tell that from damage: it may
/// go back to what was there before. So it is first let at a copy in which nothing that
/// it writes reaches the file, and the file is opened only if that copy is whole.
pub fn open(backend: Box<dyn StorageBackend>) -> Io<Guarded> {
    let file: Arc<dyn StorageBackend> = Arc::from(backend);
    guard(|| {
        let mut copy = create(Overlay::new(file.clone())?)?;
        match copy.check_integrity() {
            Ok(true) => Ok(()),
            Ok(false) => Err(redb::Error::Corrupted("its pages do not match their checksums".into())),
            Err(error) => Err(redb::Error::from(error)),
        }
    })
    .map_err(as_damage)?;
    guard(|| create(Boxed(file))).map(|database| Guarded(Some(database))).map_err(as_damage)
}

fn create(backend: impl StorageBackend) -> Io<Database> {
    Ok(redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend)?)
}

/// A file that is too short, or is no database at all, is told as an error of reading.
fn as_damage(error: redb::Error) -> redb::Error {
    match error {
        redb::Error::Io(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
            redb::Error::Corrupted(error.to_string())
        }
        other => other,
    }
}

/// A database whose panics end the operation only.
pub struct Guarded(Option<Database>);

impl Guarded {
    /// Reads.
    pub fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Io<T>) -> Io<T> {
        guard(|| work(&self.database()?.begin_read()?))
    }

    /// Runs one write transaction.
    pub fn write<T>(&self, durability: Durability, work: impl FnOnce(&WriteTransaction) -> Io<T>) -> Io<T> {
        guard(|| {
            let mut transaction = self.database()?.begin_write()?;
            transaction.set_durability(durability).map_err(|error| redb::Error::Corrupted(error.to_string()))?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }

    fn database(&self) -> Io<&Database> {
        self.0.as_ref().ok_or(redb::Error::DatabaseClosed)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let database = self.0.take();
        // There is nobody to tell, and what it was damaged by was told when it was met.
        let _ = guard(|| {
            drop(database);
            Ok(())
        });
    }
}

thread_local! {
    /// Whether what runs on this thread has its panics turned into errors.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Has panics that become errors here told as errors only: the words in which redb
/// gives up help nobody. For the start of a process, since it is for all its threads.
pub fn hush_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !GUARDED.get() {
            before(panic);
        }
    }));
}

/// Turns a panic of redb into an error.
fn guard<T>(work: impl FnOnce() -> Io<T>) -> Io<T> {
    let was = GUARDED.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(was);
    done.unwrap_or_else(|_| Err(redb::Error::Corrupted("it cannot be read any further".into())))
}

/// redb takes a concrete backend; `Disk` gives a boxed one.
#[derive(Debug)]
struct Boxed(Arc<dyn StorageBackend>);

impl StorageBackend for Boxed {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

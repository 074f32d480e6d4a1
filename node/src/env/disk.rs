//! The node's data directory.
//!
//! Invariant: a small file is only ever replaced as a whole: its bytes reach the
//! disk under another name, which then takes the place of the old one. A crash
//! at any point leaves the old bytes or the new ones.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Mutex,
};

use ::env::{
    Disk,
    disk::{Guard, Mark, Room},
};
use redb::{StorageBackend, backends::FileBackend};
use rustix::{
    fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, StatxFlags},
    io::Errno,
};

use super::directory::{component, lock_file, private_dir, sync_dir};

/// Where QEMU shows the generation of the virtual machine: a GUID that its host changes
/// whenever the machine goes back in time ("Virtual Machine Generation ID", Microsoft 2012).
/// Readable by root, where the kernel has the driver.
const MACHINE_GENERATION: &str = "/sys/firmware/qemu_fw_cfg/by_name/etc/vmgenid_guid/raw";
/// Longer than it is.
const MACHINE_GENERATION_BYTES_MAX: u64 = 4096;
/// Ends the name of a replacement that is being written.
const NEW: &str = ".new";

/// A directory that holds a node's own data.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // Replacements of one file must not share their temporary name; they are rare
    // enough to go one at a time.
    replacing: Mutex<()>,
}

impl DataDir {
    /// Opens the directory; makes it, for its owner only, if it does not exist.
    pub fn open(path: &Path) -> io::Result<Self> {
        private_dir(path)?;
        Ok(Self { path: path.to_path_buf(), replacing: Mutex::new(()) })
    }
}

impl Disk for DataDir {
    fn file(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let path = component(&self.path, name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: OwnedFd = rustix::fs::openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        sync_dir(&self.path)?;
        let backend = FileBackend::new(File::from(file)).map_err(io::Error::other)?;
        Ok(Box::new(LockedFile(backend)))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        component(&self.path, name)?.try_exists()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::OpenOptions::new().read(true).open(component(&self.path, name)?).and_then(|mut file| {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut file, &mut bytes)?;
            Ok(bytes)
        })
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let target = component(&self.path, name)?;
        let new = component(&self.path, &format!("{name}{NEW}"))?;
        let _one = self.replacing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // One that a crash left behind may have wider permissions or be a link.
        remove_if_there(&new)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(CWD, &new, flags, Mode::RUSR | Mode::WUSR)?);
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| Ok(rustix::fs::rename(&new, &target)?)) {
            // The error that matters is the first one.
            let _ = remove_if_there(&new);
            return Err(error);
        }
        sync_dir(&self.path)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        remove_if_there(&component(&self.path, name)?)?;
        sync_dir(&self.path)
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Guard>> {
        Ok(Box::new(lock_file(&component(&self.path, name)?)?))
    }

    fn mark(&self, name: &str) -> io::Result<Mark> {
        let path = component(&self.path, name)?;
        let wanted = StatxFlags::INO | StatxFlags::CTIME | StatxFlags::BTIME;
        let found = rustix::fs::statx(CWD, &path, AtFlags::SYMLINK_NOFOLLOW, wanted)?;
        let nanos = |secs: i64, nanos: u32| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        let has_birth = found.stx_mask & StatxFlags::BTIME.bits() != 0;
        Ok(Mark {
            inode: found.stx_ino,
            born_ns: has_birth.then(|| nanos(found.stx_btime.tv_sec, found.stx_btime.tv_nsec)),
            changed_ns: nanos(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec),
            machine: machine_generation(),
        })
    }

    fn room(&self) -> io::Result<Room> {
        let found = rustix::fs::statvfs(&self.path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Room { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }
}

/// Most machines have none, and one that cannot be read tells nothing.
fn machine_generation() -> Option<Vec<u8>> {
    let file = std::fs::OpenOptions::new().read(true).open(MACHINE_GENERATION).ok()?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MACHINE_GENERATION_BYTES_MAX), &mut bytes).ok()?;
    (!bytes.is_empty()).then_some(bytes)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A database file that this opening has locked as a whole.
///
/// redb's own locks are left out on purpose (their default says that there are
/// none): on some kernels it gives the whole file's lock back after a probe, and
/// the whole file is ours until it is closed.
#[derive(Debug)]
struct LockedFile(FileBackend);

impl StorageBackend for LockedFile {
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

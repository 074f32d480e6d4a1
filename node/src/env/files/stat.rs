//! What `stat` says, and attributes as the kernel takes them.

use std::io;

use ::env::files::{Attributes, FileTime, Kind, Metadata};
use rustix::fs::{FileType, Gid, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};

/// The unit of `st_blocks`, whatever the file system's own blocks are.
const BLOCK_BYTES: u64 = 512;

pub fn is_dir(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

pub fn kind_of(raw_mode: u32) -> io::Result<Kind> {
    Ok(match FileType::from_raw_mode(raw_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Unknown => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("its kind is unknown (mode {raw_mode:o})")));
        }
    })
}

pub fn owner_of(attributes: &Attributes) -> io::Result<Option<(Uid, Gid)>> {
    match attributes.owner {
        // The kernel reads this number as "leave it".
        Some((u32::MAX, _) | (_, u32::MAX)) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "no file can have the owner or group 4294967295"))
        }
        owner => Ok(owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid)))),
    }
}

pub fn times_of(attributes: &Attributes) -> Timestamps {
    let FileTime { secs, nanos } = attributes.mtime;
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: secs, tv_nsec: i64::from(nanos) },
    }
}

#[expect(clippy::useless_conversion, reason = "the widths of these fields differ between architectures")]
pub fn metadata_of(stat: &Stat) -> io::Result<Metadata> {
    let time = |secs: i64, nanos: u64| FileTime { secs, nanos: u32::try_from(nanos).unwrap_or(0) };
    Ok(Metadata {
        kind: kind_of(stat.st_mode)?,
        len: u64::try_from(stat.st_size).unwrap_or(0),
        allocated: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: time(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
        ctime: time(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        inode: stat.st_ino.into(),
        device: stat.st_dev.into(),
        links: stat.st_nlink.into(),
        rdev: stat.st_rdev.into(),
    })
}

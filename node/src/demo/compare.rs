//! Compares what was restored with what was backed up: every byte and attribute.
//!
//! Invariant: nothing is passed over in silence. What changed since the backup
//! began, or could not be read then, is named, and kept out of the verdict.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use env::{
    Files,
    files::{Kind, Metadata, SourceFile},
};
use protocol::time::{FileTime, UnixMillis};
use repo::Problems;

/// Bytes compared at a time.
const BLOCK_BYTES: usize = 1 << 20;
/// Differences and exclusions that are named; all are counted.
const NAMED_MAX: usize = 100;

/// What a comparison came to.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Files, directories and everything else that was compared.
    pub entries: u64,
    /// Regular files among them.
    pub files: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What differs.
    pub differences: Names,
    /// What was left out, and why.
    pub excluded: Names,
}

/// Paths with a reason: the count is exact, the list is cut.
#[derive(Debug, Default)]
pub struct Names {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub named: Vec<(String, String)>,
}

impl Names {
    fn add(&mut self, path: &Path, reason: impl Into<String>) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push((path.display().to_string(), reason.into()));
        }
    }
}

/// Two trees that should be the same.
#[derive(Debug, Clone)]
pub struct Pair {
    /// What was backed up.
    pub source: PathBuf,
    /// What was restored.
    pub restored: PathBuf,
}

/// A comparison under way.
struct Comparer<'a> {
    files: &'a dyn Files,
    problems: BTreeMap<&'a str, &'a str>,
    since: FileTime,
    done: Comparison,
    /// Which restored file each source file of several names is, and the other way.
    links: [BTreeMap<(u64, u64), (u64, u64)>; 2],
    /// What is still to be compared.
    stack: Vec<Pair>,
    buffers: [Vec<u8>; 2],
}

/// Compares trees. `problems` are what the backup could not read, `began` is when
/// it began. Blocks.
pub fn compare(files: &dyn Files, pairs: Vec<Pair>, problems: &Problems, began: UnixMillis) -> Comparison {
    let since = FileTime {
        secs: i64::try_from(began.0 / 1000).unwrap_or(i64::MAX),
        nanos: (began.0 % 1000) as u32 * 1_000_000,
    };
    let mut comparer = Comparer {
        files,
        problems: problems.named.iter().map(|problem| (problem.path.as_str(), problem.reason.as_str())).collect(),
        since,
        done: Comparison::default(),
        links: Default::default(),
        stack: pairs,
        buffers: [vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]],
    };
    while let Some(pair) = comparer.stack.pop() {
        comparer.look(&pair);
    }
    comparer.done
}

impl Comparer<'_> {
    fn look(&mut self, pair: &Pair) {
        if let Some(reason) = self.problems.get(&*pair.source.to_string_lossy()) {
            self.done.excluded.add(&pair.source, format!("could not be backed up: {reason}"));
            return;
        }
        let source = match self.files.metadata(&pair.source) {
            Ok(source) => source,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.done.excluded.add(&pair.source, "was removed since the backup");
                return;
            }
            Err(error) => {
                self.done.excluded.add(&pair.source, format!("cannot be looked at: {error}"));
                return;
            }
        };
        let changed = source.ctime >= self.since;
        match self.differences(pair, &source) {
            Ok(None) => {}
            Ok(Some(_)) if changed => self.done.excluded.add(&pair.source, "changed since the backup began"),
            Ok(Some(difference)) => self.done.differences.add(&pair.source, difference),
            Err(error) if changed => {
                self.done.excluded.add(&pair.source, format!("changed since the backup began ({error})"))
            }
            Err(error) => self.done.differences.add(&pair.source, format!("cannot be compared: {error}")),
        }
    }

    /// What is different, if anything. Pushes what is below a directory.
    fn differences(&mut self, pair: &Pair, source: &Metadata) -> io::Result<Option<String>> {
        let restored = match self.files.metadata(&pair.restored) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some("is missing".into())),
            restored => restored?,
        };
        self.done.entries += 1;
        if source.kind != restored.kind {
            return Ok(Some(format!("was a {:?} and is a {:?}", source.kind, restored.kind)));
        }
        // Whatever is the matter with a directory, what is in it is compared.
        let names = if source.kind == Kind::Directory { self.directory(pair)? } else { None };
        if let Some(difference) = self.attributes(source, &restored) {
            return Ok(Some(difference));
        }
        match source.kind {
            Kind::File => self.file(pair, source, &restored),
            Kind::Directory => Ok(names),
            Kind::Symlink => {
                let (was, is) = (self.files.read_link(&pair.source)?, self.files.read_link(&pair.restored)?);
                Ok((was != is).then(|| format!("pointed to {} and points to {}", was.display(), is.display())))
            }
            Kind::CharDevice | Kind::BlockDevice => {
                Ok((source.rdev != restored.rdev).then(|| "is another device".into()))
            }
            Kind::Fifo | Kind::Socket => Ok(None),
        }
    }

    fn attributes(&self, source: &Metadata, restored: &Metadata) -> Option<String> {
        // The mode of a symbolic link means nothing.
        if source.kind != Kind::Symlink && source.mode != restored.mode {
            return Some(format!("had mode {:04o} and has {:04o}", source.mode, restored.mode));
        }
        if self.files.may_set_owner() && (source.uid, source.gid) != (restored.uid, restored.gid) {
            return Some(format!(
                "belonged to {}:{} and belongs to {}:{}",
                source.uid, source.gid, restored.uid, restored.gid
            ));
        }
        if source.mtime != restored.mtime {
            return Some(format!("was last changed at {:?} and is at {:?}", source.mtime, restored.mtime));
        }
        None
    }

    fn file(&mut self, pair: &Pair, source: &Metadata, restored: &Metadata) -> io::Result<Option<String>> {
        self.done.files += 1;
        if source.len != restored.len {
            return Ok(Some(format!("had {} bytes and has {}", source.len, restored.len)));
        }
        if source.links > 1 || restored.links > 1 {
            let (was, is) = ((source.device, source.inode), (restored.device, restored.inode));
            let one = *self.links[0].entry(was).or_insert(is) == is && *self.links[1].entry(is).or_insert(was) == was;
            if !one {
                return Ok(Some("is not a hard link of the same files as before".into()));
            }
        }
        let mut readers = [self.files.open(&pair.source)?, self.files.open(&pair.restored)?];
        let mut at = 0;
        loop {
            let [one, other] = &mut self.buffers;
            let (read, also) = (fill(&mut *readers[0], one)?, fill(&mut *readers[1], other)?);
            if one[..read] != other[..also] {
                let same =
                    one.iter().zip(other.iter()).take_while(|(one, other)| one == other).count().min(read).min(also);
                return Ok(Some(format!("differs at byte {}", at + same as u64)));
            }
            at += read as u64;
            if read == 0 {
                self.done.bytes += at;
                return Ok(None);
            }
        }
    }

    fn directory(&mut self, pair: &Pair) -> io::Result<Option<String>> {
        let (mut names, mut restored) = (self.files.read_dir(&pair.source)?, self.files.read_dir(&pair.restored)?);
        names.sort();
        restored.sort();
        let more = restored.iter().find(|name| !names.has(name));
        let difference = more.map(|name| format!("has {:?}, which it had not", name.to_string_lossy()));
        let below = |name: &OsString| Pair { source: pair.source.join(name), restored: pair.restored.join(name) };
        self.stack.extend(names.to_vec().iter().rev().map(below));
        Ok(difference)
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut dyn SourceFile, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt as _, symlink},
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::env::HostFiles;

    fn tree(root: &Path) {
        fs::create_dir_all(root.join("d")).unwrap();
        let put = |name: &str, text: &str| {
            fs::OpenOptions::new().create(true).truncate(true).write(true).open(root.join(name)).unwrap();
            #[expect(clippy::disallowed_methods, reason = "a test makes its files as any program would")]
            fs::write(root.join(name), text).unwrap();
        };
        put("d/one", "some text");
        put("d/two", "more text");
        put("single", "");
        fs::hard_link(root.join("d/one"), root.join("linked")).unwrap();
        symlink("d/one", root.join("soft")).unwrap();
        settle(root);
    }

    /// Gives everything in both trees the same times.
    fn settle(root: &Path) {
        for name in ["d/one", "d/two", "single", "d", "."] {
            let opened = fs::OpenOptions::new().read(true).open(root.join(name)).unwrap();
            opened.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 123_456_789)).unwrap();
        }
        let time = rustix::fs::Timespec { tv_sec: 5, tv_nsec: 6 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(rustix::fs::CWD, root.join("soft"), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .unwrap();
    }

    fn compared(change: impl FnOnce(&Path)) -> Comparison {
        let work = tempfile::tempdir().unwrap();
        let pair = Pair { source: work.path().join("a"), restored: work.path().join("b") };
        tree(&pair.source);
        tree(&pair.restored);
        change(&pair.restored);
        let future = UnixMillis(u64::MAX / 4);
        compare(&HostFiles::new(), vec![pair], &Problems::default(), future)
    }

    #[test]
    fn equal_trees_are_equal() {
        let same = compared(|_| {});
        assert_eq!((same.differences.count, same.excluded.count), (0, 0), "{same:?}");
        assert_eq!((same.entries, same.files, same.bytes), (7, 4, 27));
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        let differs = |word: &str, change: &dyn Fn(&Path)| {
            let found = compared(change);
            assert_eq!(found.differences.count, 1, "{word}: {found:?}");
            assert!(found.differences.named[0].1.contains(word), "{word}: {found:?}");
        };
        #[expect(clippy::disallowed_methods, reason = "a test makes its files as any program would")]
        differs("differs at byte 6", &|root| {
            fs::write(root.join("d/two"), "more tExt").unwrap();
            settle(root);
        });
        differs("mode", &|root| {
            fs::set_permissions(root.join("d/two"), fs::Permissions::from_mode(0o641)).unwrap();
        });
        differs("last changed", &|root| {
            let file = fs::OpenOptions::new().write(true).open(root.join("single")).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 123_456_788)).unwrap();
        });
        differs("points to", &|root| {
            fs::remove_file(root.join("soft")).unwrap();
            symlink("d/two", root.join("soft")).unwrap();
            settle(root);
        });
        differs("missing", &|root| {
            fs::remove_file(root.join("single")).unwrap();
            settle_all_but(root, "single");
        });
        differs("which it had not", &|root| {
            fs::create_dir(root.join("more")).unwrap();
            settle(root);
        });
        differs("hard link", &|root| {
            fs::remove_file(root.join("linked")).unwrap();
            fs::copy(root.join("d/one"), root.join("linked")).unwrap();
            settle(root);
            let file = fs::OpenOptions::new().write(true).open(root.join("linked")).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 123_456_789)).unwrap();
        });
        differs("is a Directory", &|root| {
            fs::remove_file(root.join("single")).unwrap();
            fs::create_dir(root.join("single")).unwrap();
            settle(root);
        });
    }

    fn settle_all_but(root: &Path, _: &str) {
        let opened = fs::OpenOptions::new().read(true).open(root).unwrap();
        opened.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 123_456_789)).unwrap();
    }

    #[test]
    fn what_changed_since_is_named_and_not_judged() {
        let work = tempfile::tempdir().unwrap();
        let pair = Pair { source: work.path().join("a"), restored: work.path().join("b") };
        tree(&pair.source);
        tree(&pair.restored);
        fs::remove_file(pair.restored.join("single")).unwrap();
        let found = compare(&HostFiles::new(), vec![pair.clone()], &Problems::default(), UnixMillis(0));
        assert_eq!(found.differences.count, 0, "{found:?}");
        assert!(found.excluded.named.iter().any(|(path, _)| path.ends_with("/single")), "{found:?}");
    }
}

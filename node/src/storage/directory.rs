//! Buckets and objects as directories and files.
//!
//! Layout: `lock`, `drafts/<number>`, `buckets/<bucket>/<key>=`. The final `=`,
//! which no key contains, tells the object `a` from the directory of `a/b`.
//!
//! Invariant: every name below `buckets` was checked by `Key` or `is_bucket`, so
//! nothing leads out of the directory; and every file there is complete.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use protocol::{
    limits::{OBJECT_PATH_BYTES_MAX, STORAGE_PATH_DEPTH_MAX},
    names::is_path,
};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use super::draft::Draft;
use crate::{
    env::{FileLock, lock_file, private_dir, sync_dir},
    store::is_bucket,
};

/// Ends the name of every object's file.
const OBJECT: &str = "=";
/// Longest segment of a key, in bytes: what a file name holds beside the `=`.
const SEGMENT_BYTES_MAX: usize = 254;

/// The key of an object that this storage can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Checks a key; None if it cannot be kept here.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() <= OBJECT_PATH_BYTES_MAX
            && is_path(text)
            && text.split('/').count() <= STORAGE_PATH_DEPTH_MAX
            && text.split('/').all(|segment| segment.len() <= SEGMENT_BYTES_MAX);
        fits.then(|| Self(text.to_string()))
    }
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its length in bytes.
    pub len: u64,
    /// When it was written.
    pub written: SystemTime,
}

impl Facts {
    fn of(metadata: &fs::Metadata) -> io::Result<Self> {
        Ok(Self { len: metadata.len(), written: metadata.modified()? })
    }

    /// What tells it from another object that once had its name.
    pub fn tag(&self) -> String {
        let written = self.written.duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{:x}-{:x}", written.as_nanos(), self.len)
    }
}

/// What a listing asks for.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// What keys start with.
    pub prefix: String,
    /// Only keys behind this one.
    pub after: String,
    /// How many keys at most.
    pub max: usize,
}

impl Query {
    /// Whether an object of this key is wanted, or, if it ends with a slash, perhaps one in
    /// the directory.
    fn may_list(&self, key: &str) -> bool {
        let is_directory = key.ends_with('/');
        let matches = key.starts_with(&self.prefix) || (is_directory && self.prefix.starts_with(key));
        let behind = key > self.after.as_str() || (is_directory && self.after.starts_with(key));
        matches && behind
    }
}

/// One page of a listing, in the order of the keys' bytes.
#[derive(Debug, Default)]
pub struct Page {
    /// Keys and facts.
    pub objects: Vec<(String, Facts)>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// The directory of one storage. All its functions block.
#[derive(Debug)]
pub struct Directory {
    buckets: PathBuf,
    drafts: PathBuf,
    drafts_made: AtomicU64,
    // Who opens the directory removes all drafts: there must be only one.
    _lock: FileLock,
}

impl Directory {
    /// Opens a directory and removes what a crash left unfinished. `WouldBlock` if
    /// someone else has it open.
    pub fn open(path: &Path) -> io::Result<Self> {
        private_dir(path)?;
        let lock = lock_file(&path.join("lock"))?;
        let (buckets, drafts) = (path.join("buckets"), path.join("drafts"));
        private_dir(&buckets)?;
        private_dir(&drafts)?;
        for draft in fs::read_dir(&drafts)? {
            fs::remove_file(draft?.path())?;
        }
        Ok(Self { buckets, drafts, drafts_made: AtomicU64::new(0), _lock: lock })
    }

    /// Makes a bucket; false if it exists.
    pub fn create_bucket(&self, bucket: &str) -> io::Result<bool> {
        let path = self.bucket(bucket)?;
        if path.is_dir() {
            return Ok(false);
        }
        private_dir(&path)?;
        Ok(true)
    }

    /// Whether a bucket exists.
    pub fn has_bucket(&self, bucket: &str) -> bool {
        self.bucket(bucket).is_ok_and(|path| path.is_dir())
    }

    /// Starts an object that nobody sees yet.
    pub fn draft(&self) -> io::Result<Draft> {
        let number = self.drafts_made.fetch_add(1, Relaxed);
        Draft::create(self.drafts.join(number.to_string()))
    }

    /// Makes a draft an object. `AlreadyExists` if there is one of that name; it stays as it is.
    pub fn publish(&self, draft: Draft, bucket: &str, key: &Key) -> io::Result<()> {
        let path = self.object(bucket, key)?;
        let directory = parent(&path)?;
        draft.sync()?;
        match draft.link(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.has_bucket(bucket) => {
                private_dir(directory)?;
                draft.link(&path)?;
            }
            linked => linked?,
        }
        sync_dir(directory)
    }

    /// What is known of an object; `NotFound` if there is none.
    pub fn facts(&self, bucket: &str, key: &Key) -> io::Result<Facts> {
        Facts::of(&fs::symlink_metadata(self.object(bucket, key)?)?)
    }

    /// Opens an object for reading; `NotFound` if there is none.
    pub fn open_object(&self, bucket: &str, key: &Key) -> io::Result<(File, Facts)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(self.object(bucket, key)?, flags, Mode::empty())?);
        let facts = Facts::of(&file.metadata()?)?;
        Ok((file, facts))
    }

    /// Deletes an object, durably. It is no error if there is none.
    pub fn delete(&self, bucket: &str, key: &Key) -> io::Result<()> {
        let path = self.object(bucket, key)?;
        match rustix::fs::unlink(&path) {
            Ok(()) => sync_dir(parent(&path)?),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists objects.
    pub fn list(&self, bucket: &str, query: &Query) -> io::Result<Page> {
        let mut page = Page::default();
        walk(&self.bucket(bucket)?, "", query, &mut page)?;
        Ok(page)
    }

    fn bucket(&self, bucket: &str) -> io::Result<PathBuf> {
        if is_bucket(bucket) {
            Ok(self.buckets.join(bucket))
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{bucket:?} is not a bucket name")))
        }
    }

    fn object(&self, bucket: &str, key: &Key) -> io::Result<PathBuf> {
        Ok(self.bucket(bucket)?.join(format!("{}{OBJECT}", key.0)))
    }
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Adds to `page` what stands in the directory `path`, whose keys start with `above`.
fn walk(path: &Path, above: &str, query: &Query, page: &mut Page) -> io::Result<()> {
    // With a slash behind each directory, the order of these is the order of the keys.
    let mut entries: Vec<Reverse<String>> = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let key = match name.strip_suffix(OBJECT) {
            _ if entry.file_type()?.is_dir() => format!("{above}{name}/"),
            Some(name) => format!("{above}{name}"),
            None => continue,
        };
        if query.may_list(&key) {
            entries.push(Reverse(key));
        }
    }
    // Each page reads its directories anew, and needs few of very many: the rest is not sorted.
    let mut entries = BinaryHeap::from(entries);
    while let Some(Reverse(entry)) = entries.pop()
        && !page.more
    {
        let name = &entry[above.len()..];
        if let Some(name) = name.strip_suffix('/') {
            walk(&path.join(name), &entry, query, page)?;
            continue;
        }
        if page.objects.len() == query.max {
            page.more = true;
            break;
        }
        match fs::symlink_metadata(path.join(format!("{name}{OBJECT}"))) {
            Ok(metadata) => page.objects.push((entry, Facts::of(&metadata)?)),
            // Deleted since its directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(directory: &Directory, key: &str) -> io::Result<()> {
        let mut draft = directory.draft()?;
        draft.write(&[bytes::Bytes::copy_from_slice(key.as_bytes())])?;
        directory.publish(draft, "bucket", &Key::parse(key).unwrap())
    }

    #[test]
    fn keys_lead_nowhere_else() {
        let long = "a".repeat(SEGMENT_BYTES_MAX + 1);
        let deep = "a/".repeat(STORAGE_PATH_DEPTH_MAX) + "a";
        for key in [
            "", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a/.", "a\0b", "a=", "a b", "ä", "a\\b", "a%2fb", &long,
            &deep,
        ] {
            assert_eq!(Key::parse(key), None, "{key:?}");
        }
        assert!(Key::parse(".hidden/..two/three...").is_some());
        let root = tempfile::TempDir::new().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        for bucket in ["", "..", "../a", "a/b", "A", "ab", ".abc"] {
            assert!(directory.create_bucket(bucket).is_err(), "{bucket:?}");
            assert!(!directory.has_bucket(bucket));
        }
    }

    #[test]
    fn every_page_size_lists_the_same_in_order() {
        let root = tempfile::TempDir::new().unwrap();
        let directory = Directory::open(root.path()).unwrap();
        assert!(directory.create_bucket("bucket").unwrap());
        let mut keys = ["a", "a-", "a/b", "a/b/c", "a/b0", "a0", "b/x/y/z", "b/x/y0", "c"];
        for key in keys.iter().rev() {
            put(&directory, key).unwrap();
            assert_eq!(put(&directory, key).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        // Directories stay when what was in them is deleted, and are no reason to end a page.
        for gone in ["a/a/b", "a/b/a/a", "b/w/z"] {
            put(&directory, gone).unwrap();
            directory.delete("bucket", &Key::parse(gone).unwrap()).unwrap();
        }
        keys.sort_unstable();
        for prefix in ["", "a", "a/", "a/b", "b/x", "b/x/y/", "z"] {
            let expected: Vec<&str> = keys.iter().copied().filter(|key| key.starts_with(prefix)).collect();
            for max in 1..=keys.len() {
                let mut query = Query { prefix: prefix.into(), after: String::new(), max };
                let mut listed = Vec::new();
                loop {
                    let page = directory.list("bucket", &query).unwrap();
                    assert!(page.objects.len() <= max);
                    listed.extend(page.objects.into_iter().map(|(key, _)| key));
                    if !page.more {
                        break;
                    }
                    query.after = listed.last().unwrap().clone();
                }
                assert_eq!(listed, expected, "{prefix:?} in pages of {max}");
            }
        }
        assert_eq!(fs::read_dir(root.path().join("drafts")).unwrap().count(), 0);
    }
}

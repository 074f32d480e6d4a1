//! Trees: what a directory holds.
//!
//! A directory is a stream of entries sorted by name, cut into nodes at entries
//! whose name says so, so that a huge directory never has to fit in memory and an
//! edit changes one node. Each node is a chunk under the client's own key.
//!
//! Invariant: names in a node are single path components, strictly ascending;
//! decoding refuses everything else, so that a damaged tree can never name a path
//! outside the directory that it is restored to.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    codec::{self, DecodeError},
    format::{self, Magic, content::Content},
    limits,
    time::FileTime,
};

const MAGIC: Magic = Magic { bytes: b"nuthtree", name: "tree node" };
/// A node is not cut before it has this many bytes.
const NODE_BYTES_MIN: usize = 32 << 10;
/// A node is cut when it has this many bytes.
pub const NODE_BYTES_MAX: usize = 512 << 10;
/// One name in 512 ends a node. With the usual 190 bytes for each entry this
/// makes nodes of 128 KiB on average.
const NODE_MASK: u32 = 511;

/// Bytes that are written and read in one piece.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob(pub Vec<u8>);

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Blob;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name: a single path component, any bytes but `/` and NUL.
    pub name: Blob,
    /// What `lstat` said.
    pub attributes: Attributes,
    /// Whether the file was still changing when it was read, or had changed less
    /// than two seconds before: the next backup reads it again, whatever its attributes.
    pub unsettled: bool,
    /// Extended attributes, POSIX ACLs and capabilities among them, by name; at most
    /// `limits::XATTRS_BYTES_MAX` bytes of them.
    pub xattrs: Vec<Xattr>,
    /// What it is.
    pub what: What,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Xattr {
    /// Its name with its namespace, as `user.comment`.
    pub name: Blob,
    /// Its value.
    pub value: Blob,
}

impl Xattr {
    /// Bytes of name and value.
    pub fn len(&self) -> usize {
        self.name.0.len() + self.value.0.len()
    }

    /// Whether it has neither name nor value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Refuses extended attributes that no writer makes.
fn check_xattrs(xattrs: &[Xattr]) -> Result<(), DecodeError> {
    let sorted = xattrs.is_sorted_by(|a, b| a.name < b.name);
    let named = xattrs.iter().all(|xattr| !xattr.name.0.is_empty() && !xattr.name.0.contains(&0));
    if sorted && named && xattrs.iter().map(Xattr::len).sum::<usize>() <= limits::XATTRS_BYTES_MAX {
        return Ok(());
    }
    Err(DecodeError::Malformed { what: MAGIC.name, reason: "an entry's extended attributes are malformed".into() })
}

/// The attributes of an entry of any kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky: the low 12 bits of `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of content.
    pub mtime: FileTime,
    /// Last change of content or attributes.
    pub ctime: FileTime,
    /// Which file it is on its file system.
    pub inode: u64,
    /// Which file system it is on.
    pub device: u64,
    /// How many names it has. Files of more than one name with the same device and
    /// inode are hard links of each other.
    pub links: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A regular file.
    File {
        /// Length in bytes.
        len: u64,
        /// Its chunks.
        content: Content,
    },
    /// A directory.
    Directory {
        /// Its nodes.
        content: Content,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as it stands.
        target: Blob,
    },
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice {
        /// Which.
        rdev: u64,
    },
    /// A block device.
    BlockDevice {
        /// Which.
        rdev: u64,
    },
}

/// Why a name cannot stand in a tree.
pub fn check_name(name: &[u8]) -> Result<(), DecodeError> {
    let refuse = |reason: &str| Err(DecodeError::Malformed { what: MAGIC.name, reason: reason.into() });
    match name {
        b"" => refuse("an entry has no name"),
        b"." | b".." => refuse("an entry is named like a directory's own links"),
        _ if name.len() > limits::NAME_BYTES_MAX => refuse("an entry's name is too long"),
        _ if name.contains(&b'/') || name.contains(&0) => refuse("an entry's name has a slash or a NUL in it"),
        _ => Ok(()),
    }
}

/// Gathers the entries of one directory into nodes.
#[derive(Debug)]
pub struct NodeBuilder {
    bytes: Vec<u8>,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self { bytes: format::begin(MAGIC, 0) }
    }
}

impl NodeBuilder {
    /// Adds the next entry, in order of names. Returns a whole node if it ends here.
    pub fn push(&mut self, entry: &Entry) -> Option<Vec<u8>> {
        self.bytes.extend_from_slice(&codec::encode(entry));
        let len = self.bytes.len();
        let ends = len >= NODE_BYTES_MAX || len >= NODE_BYTES_MIN && ends_node(&entry.name.0);
        if ends { self.finish() } else { None }
    }

    /// The last node, if there is anything in it.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        if self.bytes.len() == format::HEADER_LEN {
            return None;
        }
        let mut node = std::mem::replace(&mut self.bytes, format::begin(MAGIC, 0));
        format::finish(&mut node);
        Some(node)
    }
}

fn ends_node(name: &[u8]) -> bool {
    let [a, b, c, d, ..] = *blake3::hash(name).as_bytes();
    u32::from_le_bytes([a, b, c, d]) & NODE_MASK == 0
}

/// Reads a node: at least one entry, names strictly ascending.
pub fn decode_node(bytes: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    let what = MAGIC.name;
    let mut rest = format::body(MAGIC, bytes)?;
    let mut entries: Vec<Entry> = Vec::new();
    while !rest.is_empty() {
        let (entry, after): (Entry, _) = postcard::take_from_bytes(rest)
            .map_err(|error| DecodeError::Malformed { what, reason: error.to_string() })?;
        check_name(&entry.name.0)?;
        check_xattrs(&entry.xattrs)?;
        match &entry.what {
            What::File { content, .. } => content.check(what)?,
            What::Directory { content } => content.check_directory(what)?,
            _ => {}
        }
        if entries.last().is_some_and(|last| last.name >= entry.name) {
            return Err(DecodeError::Malformed { what, reason: "its names are not in order".into() });
        }
        entries.push(entry);
        rest = after;
    }
    if entries.is_empty() {
        return Err(DecodeError::Malformed { what, reason: "it has no entries".into() });
    }
    Ok(entries)
}

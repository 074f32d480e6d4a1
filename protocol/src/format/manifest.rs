//! The manifest of a snapshot: what a person wants to know of it, and its root.
//!
//! `header ‖ object id ‖ sealed postcard`; the key is derived from the client's
//! own secret and the random object id.

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, DecodeError},
    format::{self, Fields, Magic, content::Content, keys, tree::Blob},
    sealed,
    time::UnixMillis,
};

const MAGIC: Magic = Magic { bytes: b"nuthmani", name: "manifest" };

/// What a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The machine.
    pub host: String,
    /// What was backed up: absolute paths.
    pub paths: Vec<Blob>,
    /// When the backup began, by the client's clock.
    pub started: UnixMillis,
    /// When it ended.
    pub finished: UnixMillis,
    /// For people.
    pub description: String,
    /// For people and policies.
    pub tags: Vec<String>,
    /// What was left out on purpose, for people: patterns, and options of the command line.
    pub excludes: Vec<String>,
    /// The program and version that wrote it.
    pub program: String,
    /// The nodes of the root directory, `/`.
    pub root: Content,
    /// What it came to.
    pub stats: Stats,
}

/// What a backup came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Regular files.
    pub files: u64,
    /// Of them: taken over from the parent snapshot without being opened.
    pub files_unchanged: u64,
    /// Directories.
    pub directories: u64,
    /// Symbolic links, pipes, sockets and devices.
    pub others: u64,
    /// Length of all files, hard links counted once.
    pub bytes_source: u64,
    /// Bytes that were read from files.
    pub bytes_read: u64,
    /// Chunks that were not stored before, of files and of trees.
    pub chunks_new: u64,
    /// Their plaintext.
    pub bytes_new: u64,
    /// Bytes of packs, index segments and reference-list pages that were written.
    pub bytes_stored: u64,
    /// Packs that were written.
    pub packs: u64,
    /// Files that could not be read, or changed while they were.
    pub problems: u64,
    /// Names that were left out on purpose. What is below a directory is not counted.
    pub excluded: u64,
    /// Names that were gone when it was their turn.
    pub vanished: u64,
}

impl Manifest {
    /// Seals it under the client's secret and a random id.
    pub fn seal(&self, client_secret: &[u8; 32], object_id: &[u8; 32]) -> Vec<u8> {
        let mut plain = codec::encode(self);
        sealed::seal_in_place(&keys::manifest_key(client_secret, object_id), &sealed::nonce(0), b"", &mut plain);
        let mut bytes = format::begin(MAGIC, object_id.len() + plain.len());
        bytes.extend_from_slice(object_id);
        bytes.extend_from_slice(&plain);
        format::finish(&mut bytes);
        bytes
    }

    /// Opens a sealed manifest.
    pub fn open(bytes: &[u8], client_secret: &[u8; 32]) -> Result<Self, DecodeError> {
        let what = MAGIC.name;
        let mut fields = Fields::new(what, format::body(MAGIC, bytes)?);
        let object_id = fields.array()?;
        let mut plain = fields.rest().to_vec();
        sealed::open_in_place(
            what,
            &keys::manifest_key(client_secret, &object_id),
            &sealed::nonce(0),
            b"",
            &mut plain,
        )?;
        let manifest: Self = codec::decode(what, &plain)?;
        manifest.root.check_directory(what)?;
        Ok(manifest)
    }
}

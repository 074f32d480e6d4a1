//! What a verification found.

/// Something damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The object, as it is named in the storage, or what could not be found.
    pub object: String,
    /// What is wrong with it.
    pub reason: String,
    /// Which files need it: the first of them.
    pub files: Vec<String>,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Entries of all trees.
    pub entries: u64,
    /// Tree chunks read and opened.
    pub trees: u64,
    /// Chunks of files resolved, each once.
    pub chunks: u64,
    /// Packs whose table of contents was read.
    pub packs: u64,
    /// Bytes of file data read and opened.
    pub bytes_read: u64,
    /// How many objects are damaged or missing.
    pub damages_count: u64,
    /// The first of them.
    pub damages: Vec<Damage>,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damages_count == 0
    }
}

//! Paths as the components that trees store.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Component, Path, PathBuf},
};

use protocol::format::tree::Blob;

use crate::error::RepoError;

/// The components of an absolute path. `..` is refused: what it means depends on
/// links that only the file system knows.
pub fn components(path: &Path) -> Result<Vec<Blob>, RepoError> {
    let refuse = || RepoError::invalid(format!("{} is not an absolute path without \"..\"", path.display()));
    if !path.is_absolute() {
        return Err(refuse());
    }
    path.components()
        .filter_map(|component| match component {
            Component::RootDir | Component::CurDir => None,
            Component::Normal(name) => Some(Ok(blob(name))),
            Component::ParentDir | Component::Prefix(_) => Some(Err(refuse())),
        })
        .collect()
}

/// A name as trees store it.
pub fn blob(name: &OsStr) -> Blob {
    Blob(name.as_bytes().to_vec())
}

/// A stored name as the file system takes it.
pub fn os(name: &Blob) -> OsString {
    OsString::from_vec(name.0.clone())
}

/// `directory/name`.
pub fn join(directory: &Path, name: &Blob) -> PathBuf {
    directory.join(OsStr::from_bytes(&name.0))
}

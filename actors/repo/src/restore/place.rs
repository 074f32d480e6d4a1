//! Names beside a file, and what is done with what is there already.
//!
//! Invariant: what has a name is replaced by one rename, when its successor is whole;
//! nothing that other names share is changed through this one.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use env::{
    Files,
    files::{Attributes, Kind, Metadata},
};

use super::rights::Rights;

/// Longest name of most file systems, in bytes.
const NAME_MAX: usize = 255;
const DRAFT: &str = ".nuthatch-restore-";
const DAMAGED: &str = ".nuthatch-damaged";

/// Where something is made while another has its name, or before it is whole: always
/// the same place, so that the next restore replaces what a killed one left.
pub fn draft_of(path: &Path) -> PathBuf {
    path.with_file_name(format!("{DRAFT}{}", short_hash(path)))
}

/// Where the rest of a file goes that could not be restored whole.
pub fn damaged_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    if name.len() + DAMAGED.len() > NAME_MAX {
        return path.with_file_name(format!("{}{DAMAGED}", short_hash(path)));
    }
    let mut damaged = OsString::from(name);
    damaged.push(DAMAGED);
    path.with_file_name(damaged)
}

fn short_hash(path: &Path) -> String {
    blake3::hash(path.as_os_str().as_bytes()).to_hex()[..16].into()
}

/// Removes what an earlier restore left at a place of ours.
pub fn clear(files: &dyn Files, path: &Path) -> io::Result<()> {
    match files.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes something at `path` by `make`, in place of what is `found` there.
pub fn replace(
    files: &dyn Files,
    path: &Path,
    found: Option<Kind>,
    make: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    match found {
        None => make(path),
        Some(Kind::Directory) => {
            files.remove(path).map_err(in_the_way)?;
            make(path)
        }
        Some(_) => {
            let draft = draft_of(path);
            clear(files, &draft)?;
            let made = make(&draft).and_then(|()| files.rename(&draft, path));
            if made.is_err() {
                // The draft is of no use; that it stays if it cannot be removed harms nobody.
                let _ = files.remove(&draft);
            }
            made
        }
    }
}

/// What to say when a directory cannot make room.
pub fn in_the_way(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::DirectoryNotEmpty => io::Error::new(
            error.kind(),
            "a directory with something in it is in the way: remove it, or restore to another place",
        ),
        _ => error,
    }
}

/// Whether what is `found` at `path` has these attributes.
pub fn has_attributes(
    files: &dyn Files,
    rights: &Rights,
    path: &Path,
    found: &Metadata,
    wanted: &Attributes,
) -> io::Result<bool> {
    let mode = wanted.kind == Kind::Symlink || found.mode == wanted.mode;
    let owner = wanted.owner.is_none_or(|owner| owner == (found.uid, found.gid));
    if !mode || !owner || found.mtime != wanted.mtime {
        return Ok(false);
    }
    let there = files.xattrs(path)?;
    Ok(there.iter().filter(|xattr| rights.may_set(&xattr.name)).eq(&wanted.xattrs))
}

/// Sets attributes where they differ; returns whether they did.
pub fn adjust(
    files: &dyn Files,
    rights: &Rights,
    path: &Path,
    found: &Metadata,
    wanted: &Attributes,
) -> io::Result<bool> {
    let differ = !has_attributes(files, rights, path, found, wanted)?;
    if differ {
        files.set_attributes(path, wanted)?;
    }
    Ok(differ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beside_a_file_fit_the_file_system() {
        assert_eq!(damaged_of("/a/b".as_ref()), Path::new("/a/b.nuthatch-damaged"));
        let long = PathBuf::from(format!("/a/{}", "x".repeat(255)));
        for path in [damaged_of(&long), draft_of(&long)] {
            assert_eq!(path.parent(), Some(Path::new("/a")));
            assert!(path.file_name().unwrap().len() <= NAME_MAX);
        }
        assert!(damaged_of(&long).to_string_lossy().ends_with(DAMAGED));
        assert_ne!(draft_of("/a/b".as_ref()), draft_of("/a/c".as_ref()));
    }
}

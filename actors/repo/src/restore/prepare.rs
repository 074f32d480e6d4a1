//! Getting the target ready.
//!
//! Invariant: without leave to overwrite, nothing is restored into a directory that
//! has anything in it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use env::{
    Files,
    files::{Kind, Metadata},
};

use super::{Overwrite, place, rights::Rights};
use crate::error::RepoError;

/// The target, ready to be restored into.
pub struct Prepared {
    /// What this process may do there.
    pub rights: Rights,
    /// What the target was before. None: nothing was there.
    pub found: Option<Metadata>,
    /// Whether nothing is in it.
    pub is_empty: bool,
}

/// Makes the target directory, or checks that what is there may be used. A dry run
/// makes nothing.
pub fn prepare(
    files: &Arc<dyn Files>,
    target: &Path,
    overwrite: Overwrite,
    is_dry: bool,
) -> Result<Prepared, RepoError> {
    let fail = |error: io::Error| {
        RepoError::invalid(format!("cannot restore to {}: {error}", target.display())).because(error)
    };
    let found = match files.metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found.map_err(fail)?),
    };
    let mut is_empty = true;
    match &found {
        Some(found) if found.kind != Kind::Directory => {
            return Err(RepoError::invalid(format!("{} exists and is not a directory", target.display())));
        }
        Some(_) => {
            is_empty = files.read_dir(target).map_err(fail)?.is_empty();
            if !is_empty && overwrite == Overwrite::Refuse {
                return Err(RepoError::invalid(format!(
                    "{} exists and is not empty: restore to another place, or say with --overwrite what to do with what is there",
                    target.display()
                )));
            }
        }
        None if is_dry => {}
        None => {
            let missing: Vec<&Path> =
                target.ancestors().take_while(|ancestor| files.metadata(ancestor).is_err()).collect();
            missing.iter().rev().try_for_each(|ancestor| files.create_dir(ancestor)).map_err(fail)?;
        }
    }
    let rights = rights(&**files, target, is_dry).map_err(fail)?;
    Ok(Prepared { rights, found, is_empty })
}

fn rights(files: &dyn Files, target: &Path, is_dry: bool) -> io::Result<Rights> {
    let all = files.may_set_owner();
    if all || is_dry {
        return Ok(Rights { all, own: (0, 0) });
    }
    // Who owns what is made here is seen by making something.
    let probe: PathBuf = place::draft_of(&target.join("probe"));
    place::clear(files, &probe)?;
    drop(files.create_file(&probe)?);
    let made = files.metadata(&probe);
    files.remove(&probe)?;
    let made = made?;
    Ok(Rights { all, own: (made.uid, made.gid) })
}

//! Directories as a comparison sees them: their files, their size, and whether two are equal.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

const MIB: usize = 1 << 20;

/// The paths of all regular files below `root`, relative to it, sorted.
pub fn files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Bytes in all files below `root`.
pub fn bytes(root: &Path) -> io::Result<u64> {
    files(root)?.iter().map(|path| fs::symlink_metadata(root.join(path)).map(|found| found.len())).sum()
}

/// Reads every file, so that all who come after find them in the page cache.
pub fn warm(root: &Path) -> io::Result<()> {
    let mut buffer = vec![0; MIB];
    for path in files(root)? {
        let mut file = File::open(root.join(path))?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}

/// Gives back the space of every file that may be written, and leaves the files.
pub fn empty(root: &Path) -> io::Result<()> {
    for path in files(root)? {
        if let Ok(file) = File::options().write(true).open(root.join(path)) {
            file.set_len(0)?;
        }
    }
    Ok(())
}

/// What is different in two trees of files, if anything: names, then contents.
pub fn difference(one: &Path, other: &Path) -> io::Result<Option<String>> {
    let (names, others) = (files(one)?, files(other)?);
    if names != others {
        let missing = names.iter().find(|name| others.binary_search(name).is_err());
        let more = others.iter().find(|name| names.binary_search(name).is_err());
        return Ok(Some(format!("missing: {missing:?}, surplus: {more:?}")));
    }
    let mut buffers = (vec![0; MIB], vec![0; MIB]);
    for name in names {
        let mut pair = (File::open(one.join(&name))?, File::open(other.join(&name))?);
        loop {
            let (read, also) = (fill(&mut pair.0, &mut buffers.0)?, fill(&mut pair.1, &mut buffers.1)?);
            if buffers.0[..read] != buffers.1[..also] {
                return Ok(Some(format!("{} has other bytes", name.display())));
            }
            if read == 0 {
                break;
            }
        }
    }
    Ok(None)
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
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
    use super::*;

    #[test]
    fn differences_of_names_and_bytes_are_seen() {
        let work = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| work.path().join(name));
        for root in [&a, &b] {
            fs::create_dir_all(root.join("d")).unwrap();
            fs::write(root.join("d/file"), "text").unwrap();
        }
        assert_eq!(difference(&a, &b).unwrap(), None);
        assert_eq!(bytes(&a).unwrap(), 4);
        fs::write(b.join("d/file"), "tExt").unwrap();
        assert!(difference(&a, &b).unwrap().unwrap().contains("other bytes"));
        empty(&b).unwrap();
        assert_eq!((bytes(&b).unwrap(), files(&b).unwrap().len()), (0, 1));
        fs::rename(b.join("d/file"), b.join("d/moved")).unwrap();
        assert!(difference(&a, &b).unwrap().unwrap().contains("moved"));
    }
}

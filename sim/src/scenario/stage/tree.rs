//! The files that clients back up.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use env::{
    Files,
    files::{Attributes, FileTime, Kind},
};

use crate::{
    env::files::{Entry, SimFiles},
    kernel::rng::Stream,
};

/// Where they are.
pub const SOURCE: &str = "/data";
/// Below it they are restored.
pub const TARGET: &str = "/restored";

/// What is in a tree.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// Stands in no object's name and no object's bytes.
pub const MARKED_NAME: &str = "the-marked-file";
/// Likewise. Long enough to survive in a compressed chunk, were it not sealed.
pub const MARKED_CONTENT: &str = "content-that-nobody-else-may-read-0123456789";

const DIRECTORIES: u64 = 6;
const FILES_PER_DIRECTORY: u64 = 12;

/// Makes small and larger files, empty ones, links of both kinds, odd names and modes.
pub fn plant(files: &SimFiles, stream: &mut Stream) -> anyhow::Result<()> {
    let root = Path::new(SOURCE);
    files.create_dir_all(root)?;
    for directory in 0..DIRECTORIES {
        let directory = root.join(format!("d{directory}"));
        files.create_dir_all(&directory)?;
        for file in 0..FILES_PER_DIRECTORY {
            let len = match stream.below(10) {
                0 => 0,
                1 => 300_000 + stream.below(900_000),
                _ => stream.below(20_000),
            };
            files.write(directory.join(format!("f{file}")), &bytes(stream, len))?;
        }
    }
    files.create_dir_all(root.join("empty"))?;
    files.write(root.join(MARKED_NAME), MARKED_CONTENT.as_bytes())?;
    files.symlink("d0/f1".as_ref(), &root.join("link"))?;
    files.hard_link(&root.join("d0/f2"), &root.join("d1/other name of f2"))?;
    let attributes = Attributes {
        kind: Kind::File,
        mode: 0o4750,
        owner: Some((1000, 100)),
        mtime: FileTime { secs: 981_173_106, nanos: 123_456_789 },
        xattrs: Vec::new(),
    };
    files.set_attributes(&root.join("d0/f3"), &attributes)?;
    Ok(())
}

/// Makes a small file and nothing else, for whoever only has to back up.
pub fn plant_little(files: &SimFiles, content: &str) -> anyhow::Result<()> {
    let root = Path::new(SOURCE);
    files.create_dir_all(root)?;
    Ok(files.write(root.join("note"), content.as_bytes())?)
}

/// A day's work: one file goes, two come, one of them large.
pub fn edit(files: &dyn Files, day: usize, salt: &[u8; 32]) -> std::io::Result<()> {
    let root = Path::new(SOURCE);
    files.remove(&root.join(format!("d2/f{day}")))?;
    let large: Vec<u8> = salt.iter().cycle().zip(0_u64..400_000).map(|(byte, at)| byte ^ (at >> 7) as u8).collect();
    for (name, content) in [("small", salt.as_slice()), ("large", &large)] {
        let mut file = files.create_file(&root.join(format!("d3/{name}{day}")))?;
        file.write_at(0, content)?;
        let mtime = FileTime { secs: 1_700_000_000 + day as i64, nanos: 7 };
        let attributes = Attributes { kind: Kind::File, mode: 0o644, owner: None, mtime, xattrs: Vec::new() };
        file.finish(content.len() as u64, &attributes)?;
    }
    Ok(())
}

/// Half text-like, half not.
fn bytes(stream: &mut Stream, len: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len as usize + 8);
    let text = stream.chance(500_000);
    while (bytes.len() as u64) < len {
        let word = stream.number();
        if text {
            bytes.extend_from_slice(format!("word{} ", word % 97).as_bytes());
        } else {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }
    bytes.truncate(len as usize);
    bytes
}

/// One more file, for each round of a person who backs up again and again.
pub fn add(files: &dyn Files, round: u64) -> std::io::Result<()> {
    let content = format!("round {round}");
    let mut file = files.create_file(&Path::new(SOURCE).join(format!("round{round}")))?;
    file.write_at(0, content.as_bytes())?;
    let mtime = FileTime { secs: 1_700_000_000, nanos: 7 };
    let attributes = Attributes { kind: Kind::File, mode: 0o644, owner: None, mtime, xattrs: Vec::new() };
    file.finish(content.len() as u64, &attributes)
}

/// Says what differs between what was backed up and what was restored, if anything does.
pub fn compare(before: &Tree, after: &Tree) -> anyhow::Result<()> {
    let told = |entry: &Entry| (entry.metadata.mode, entry.metadata.mtime, entry.metadata.links, entry.content.len());
    for (path, entry) in before {
        let restored = after.get(path).with_context(|| format!("{} was not restored", path.display()))?;
        let same = entry.content == restored.content && told(entry) == told(restored);
        let (entry, restored) = (told(entry), told(restored));
        ensure!(same, "{} is not what was backed up: {entry:?} became {restored:?}", path.display());
    }
    let extra = after.keys().find(|path| !before.contains_key(*path));
    ensure!(extra.is_none(), "{extra:?} was restored but never there");
    Ok(())
}

/// The same for a machine's tree as it is, and what was restored of it.
pub fn compare_restored(files: &SimFiles) -> anyhow::Result<()> {
    compare(&files.entries(SOURCE)?, &files.entries(format!("{TARGET}{SOURCE}"))?)
}

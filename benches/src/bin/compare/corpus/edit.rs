//! A day's work on a corpus.
//!
//! In a tree one file in a hundred is rewritten in part, 40 are renamed, 40 are
//! deleted and 40 are new. In an image up to 4 KiB are inserted in 20 places, so
//! that everything behind them moves.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use super::{IMAGE, MIB, Part, draws::Draws};

/// Files that are renamed; as many are deleted, and as many are new.
const FILES_MOVED: usize = 40;
/// Insertions into an image.
const INSERTIONS: usize = 20;

/// Edits a part that was made with this seed.
pub fn edit(part: Part, root: &Path, seed: u64) -> io::Result<()> {
    let mut draws = Draws::new(seed, "edit");
    match part {
        Part::Tree => edit_tree(root, &mut draws),
        Part::Big => edit_image(&root.join(IMAGE), &mut draws),
    }
}

fn edit_tree(root: &Path, draws: &mut Draws) -> io::Result<()> {
    let paths: Vec<PathBuf> = crate::tree::files(root)?.into_iter().map(|path| root.join(path)).collect();
    for path in draws.sample(&paths, paths.len() / 100) {
        let mut content = fs::read(&path)?;
        let start = draws.between(0, content.len());
        let end = (start + 40).min(content.len());
        content.splice(start..end, draws.noise(60));
        fs::write(&path, content)?;
    }
    let chosen = draws.sample(&paths, 3 * FILES_MOVED);
    for (number, path) in chosen.iter().enumerate() {
        match number / FILES_MOVED {
            0 => fs::rename(path, path.with_extension("txt.moved"))?,
            1 => fs::remove_file(path)?,
            _ => {
                let len = draws.between(10, 90_000);
                fs::write(path.with_extension("txt.new"), draws.noise(len))?;
            }
        }
    }
    Ok(())
}

fn edit_image(path: &Path, draws: &mut Draws) -> io::Result<()> {
    let len = fs::metadata(path)?.len() as usize;
    let mut places: Vec<usize> = (0..INSERTIONS).map(|_| draws.below(len)).collect();
    places.sort_unstable();
    let edited = path.with_extension("edited");
    let (mut from, mut to) = (File::open(path)?, File::create_new(&edited)?);
    let mut buffer = vec![0; MIB];
    let mut at = 0;
    for place in places.into_iter().map(Some).chain([None]) {
        let until = place.unwrap_or(len);
        while at < until {
            let piece = &mut buffer[..MIB.min(until - at)];
            from.read_exact(piece)?;
            to.write_all(piece)?;
            at += piece.len();
        }
        if place.is_some() {
            let inserted = draws.between(1, 4096);
            to.write_all(&draws.noise(inserted))?;
        }
    }
    fs::rename(edited, path)
}

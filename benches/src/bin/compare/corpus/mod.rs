//! What is backed up: made from a seed, byte for byte the same on every machine.
//!
//! Two shapes. *Tree*: 60,000 files whose lengths are log-normal (median 3.6 KB, at
//! most 400 KB, 510 MB in all, 620 MB of blocks), 400 to a module and 40 to a
//! directory; most are text with a few bytes of their own in every 200, one in ten
//! is noise, one in twenty is the start of a text that many share. *Big*: one image
//! of 2 GiB in runs of 1 to 24 MiB: noise, text, zeros, and earlier runs again at
//! another offset.

mod draws;
mod edit;

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
};

use self::draws::Draws;
pub use self::edit::edit;

const MIB: usize = 1 << 20;
/// Files of a tree at scale 1.
const FILES: f64 = 60_000.0;
/// Mebibytes of an image at scale 1.
const IMAGE_MIB: f64 = 2048.0;
/// The longest file of a tree.
const FILE_LEN_MAX: usize = 400_000;
/// Texts that files are cut from.
const TEXTS: usize = 24;
const TEXT_LEN: usize = 256 << 10;
/// Runs of an image that may come again.
const RUNS_REPEATED: usize = 8;
/// The image's name in its directory.
const IMAGE: &str = "image.raw";

/// Which shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Part {
    /// Many small files.
    Tree,
    /// One large image.
    Big,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tree => "tree",
            Self::Big => "big",
        })
    }
}

/// Makes one part in the directory `root`, which does not exist yet.
pub fn make(part: Part, root: &Path, seed: u64, scale: f64) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let mut draws = Draws::new(seed, "texts");
    let words = words(&mut draws);
    let texts: Vec<Vec<u8>> = (0..TEXTS).map(|_| text(&mut draws, &words)).collect();
    match part {
        Part::Tree => make_tree(root, &mut Draws::new(seed, "tree"), &texts, (FILES * scale) as usize),
        Part::Big => make_image(&root.join(IMAGE), &mut Draws::new(seed, "big"), &texts, (IMAGE_MIB * scale) as usize),
    }
}

/// A vocabulary.
fn words(draws: &mut Draws) -> Vec<Vec<u8>> {
    let letters = b"abcdefghijklmnopqrstuvwxyz_";
    (0..6000)
        .map(|_| {
            let len = draws.between(2, 11);
            (0..len).map(|_| *draws.pick(letters)).collect()
        })
        .collect()
}

/// A text that compresses about as source code does.
fn text(draws: &mut Draws, words: &[Vec<u8>]) -> Vec<u8> {
    let mut text = Vec::with_capacity(TEXT_LEN + 256);
    while text.len() < TEXT_LEN {
        let indent = 4 * draws.between(0, 4);
        text.resize(text.len() + indent, b' ');
        for place in 0..draws.between(2, 11) {
            if place > 0 {
                text.push(b' ');
            }
            text.extend_from_slice(draws.pick::<Vec<u8>>(words));
        }
        if draws.unit() < 0.15 {
            text.extend_from_slice(format!(" = 0x{:08x};", draws.number() as u32).as_bytes());
        }
        text.push(b'\n');
    }
    text.truncate(TEXT_LEN);
    text
}

/// `len` bytes of a text from `start` on, around its end if need be.
fn cut(text: &[u8], start: usize, len: usize) -> Vec<u8> {
    let mut piece = Vec::with_capacity(len);
    let mut from = start;
    while piece.len() < len {
        let until = text.len().min(from + len - piece.len());
        piece.extend_from_slice(&text[from..until]);
        from = 0;
    }
    piece
}

fn make_tree(root: &Path, draws: &mut Draws, texts: &[Vec<u8>], files: usize) -> io::Result<()> {
    for number in 0..files {
        let directory = root.join(format!("m{:03}/s{:02}", number / 400, number / 40 % 10));
        if number % 40 == 0 {
            fs::create_dir_all(&directory)?;
        }
        let len = (draws.log_normal(8.2, 1.3) as usize).clamp(1, FILE_LEN_MAX);
        let kind = draws.unit();
        let content = if kind < 0.85 {
            let start = draws.below(TEXT_LEN);
            let mut content = cut(draws.pick::<Vec<u8>>(texts), start, len);
            for _ in 0..if len > 64 { 1 + len / 200 } else { 0 } {
                let place = draws.below(len);
                content[place] = draws.between(32, 126) as u8;
            }
            content
        } else if kind < 0.95 {
            draws.noise(len)
        } else {
            cut(&texts[number % TEXTS], 0, len)
        };
        fs::write(directory.join(format!("f{number:05}.txt")), content)?;
    }
    Ok(())
}

/// Writes the image a mebibyte at a time: what measures must itself stay small.
fn make_image(path: &Path, draws: &mut Draws, texts: &[Vec<u8>], mebibytes: usize) -> io::Result<()> {
    let mut image = File::options().read(true).write(true).create_new(true).open(path)?;
    let mut runs: Vec<(u64, usize)> = Vec::new();
    let (mut at, end) = (0u64, (mebibytes * MIB) as u64);
    while at < end {
        let kind = draws.unit();
        let len = (draws.between(1, 24) * MIB).min((end - at) as usize);
        let start = at;
        if kind >= 0.85 && !runs.is_empty() {
            let shift = draws.between(1, 5000);
            let (from, run_len) = *draws.pick(&runs);
            image.write_all(&draws.noise(shift))?;
            at += shift as u64 + repeat(&mut image, from, run_len.min(len - shift))?;
        } else {
            for _ in 0..len / MIB {
                let piece = match kind {
                    _ if (0.45..0.75).contains(&kind) => texts_of_a_mebibyte(draws, texts),
                    _ if (0.75..0.85).contains(&kind) => vec![0; MIB],
                    _ => draws.noise(MIB),
                };
                image.write_all(&piece)?;
                at += piece.len() as u64;
            }
            // The end of an image that repeats shifted runs is no whole mebibyte.
            let rest = len % MIB;
            image.write_all(&draws.noise(rest))?;
            at += rest as u64;
        }
        if runs.len() < RUNS_REPEATED {
            runs.push((start, (at - start) as usize));
        }
    }
    Ok(())
}

fn texts_of_a_mebibyte(draws: &mut Draws, texts: &[Vec<u8>]) -> Vec<u8> {
    let mut piece = Vec::with_capacity(MIB);
    while piece.len() < MIB {
        let start = draws.below(TEXT_LEN);
        piece.extend(cut(draws.pick::<Vec<u8>>(texts), start, TEXT_LEN));
    }
    piece
}

/// Appends `len` bytes of the image from `from` on to it.
fn repeat(image: &mut File, from: u64, len: usize) -> io::Result<u64> {
    let mut piece = vec![0; MIB];
    let mut done = 0;
    while done < len {
        let piece = &mut piece[..MIB.min(len - done)];
        image.read_exact_at(piece, from + done as u64)?;
        image.write_all(piece)?;
        done += piece.len();
    }
    Ok(done as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
        let names = crate::tree::files(root).unwrap();
        names.into_iter().map(|path| (path.display().to_string(), fs::read(root.join(&path)).unwrap())).collect()
    }

    #[test]
    fn one_seed_makes_one_corpus_and_one_edit() {
        let work = tempfile::tempdir().unwrap();
        for (part, scale) in [(Part::Tree, 0.01), (Part::Big, 0.004)] {
            let made = ["a", "b", "c"].map(|name| {
                let root = work.path().join(format!("{part}-{name}"));
                make(part, &root, if name == "c" { 2 } else { 1 }, scale).unwrap();
                root
            });
            let before = files(&made[0]);
            assert!(before == files(&made[1]), "{part}");
            assert!(before != files(&made[2]), "{part}");
            edit(part, &made[0], 1).unwrap();
            edit(part, &made[1], 1).unwrap();
            assert!(files(&made[0]) == files(&made[1]), "{part}");
            assert!(files(&made[0]) != before, "{part}");
        }
    }

    #[test]
    fn a_tree_is_what_it_is_said_to_be() {
        let work = tempfile::tempdir().unwrap();
        make(Part::Tree, &work.path().join("tree"), 1, 0.05).unwrap();
        let files = files(&work.path().join("tree"));
        let mut lengths: Vec<usize> = files.values().map(Vec::len).collect();
        lengths.sort_unstable();
        assert_eq!(lengths.len(), 3000);
        assert!((3200..4100).contains(&lengths[1500]), "median {}", lengths[1500]);
        let mean = lengths.iter().sum::<usize>() / lengths.len();
        assert!((7400..9600).contains(&mean), "mean {mean}");
        assert!(lengths[2999] <= FILE_LEN_MAX);
    }

    #[test]
    fn an_image_has_its_length_and_repeats_itself() {
        let work = tempfile::tempdir().unwrap();
        make(Part::Big, &work.path().join("big"), 1, 0.05).unwrap();
        let image = fs::read(work.path().join("big").join(IMAGE)).unwrap();
        assert_eq!(image.len(), 102 * MIB);
        let zeros = image.chunks(4096).filter(|block| block.iter().all(|byte| *byte == 0)).count();
        assert!(zeros > 0, "no zeros");
    }
}

//! A tree to try a backup on: the same at every run, and as odd as real ones are.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use env::{
    Files,
    files::{Attributes, FileTime, Kind},
};

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Small files that read like text.
    pub documents: u32,
    /// Files of 4 MB that read like logs.
    pub logs: u32,
    /// Files of 12 MB that cannot be compressed.
    pub media: u32,
}

/// About 100 MB.
pub const WHOLE: Size = Size { documents: 3000, logs: 8, media: 3 };
/// Beside a tree of the person's own.
pub const SMALL: Size = Size { documents: 24, logs: 0, media: 0 };

const LOG_BYTES: usize = 4 << 20;
const MEDIA_BYTES: usize = 12 << 20;
const WORDS: &str = "backup chunk pack index tree snapshot commit lease epoch ticket node role peer roster keyset mark \
    ledger forget purge sweep verify restore enroll token redeem revoke record log storage client cluster domain and \
    or but when then where who what how why the a an of to in on with by from is was will be not never always every";

/// Makes the tree below `root`, which does not exist.
pub fn make(files: &dyn Files, root: &Path, size: Size) -> io::Result<()> {
    let maker = Maker { files };
    maker.directory(root)?;
    for number in 0..size.documents {
        let directory = root.join(format!("documents/{:02}", number / 100));
        if number % 100 == 0 {
            maker.directories(&directory)?;
        }
        let len = 200 + (u64::from(number) * 7919 % 16_000) as usize;
        let mode = [0o644, 0o600, 0o640, 0o444][number as usize % 4];
        maker.file(&directory.join(format!("document-{number:04}.txt")), &prose(number, len), mode, number)?;
    }
    if size.logs > 0 {
        maker.directories(&root.join("logs"))?;
    }
    for number in 0..size.logs {
        maker.file(&root.join(format!("logs/service-{number}.log")), &log(number), 0o640, number)?;
    }
    if size.media > 0 {
        maker.directories(&root.join("media"))?;
    }
    for number in 0..size.media {
        maker.file(&root.join(format!("media/film-{number}.bin")), &noise(number, MEDIA_BYTES), 0o644, number)?;
    }
    if size.media > 0 {
        // Nearly a copy: what deduplication is for.
        let mut cut = noise(0, MEDIA_BYTES);
        cut.splice(5_000_000..5_000_000, *b"a few bytes more in the middle");
        maker.file(&root.join("media/film-0 (cut).bin"), &cut, 0o644, 1)?;
    }
    maker.oddities(&root.join("odd"))
}

/// A small change: one file longer, one gone, one new, one with another mode, one
/// with another name.
pub fn change(files: &dyn Files, root: &Path) -> io::Result<()> {
    let maker = Maker { files };
    let document = |number: u32| root.join(format!("documents/00/document-{number:04}.txt"));
    let mut longer = prose(1, 5000);
    longer.extend_from_slice(b"\nOne line more.\n");
    files.remove(&document(1))?;
    maker.file(&document(1), &longer, 0o644, 90)?;
    files.remove(&document(2))?;
    maker.file(&root.join("documents/00/new.txt"), &prose(77_777, 9000), 0o644, 91)?;
    maker.attributes(&document(3), Kind::File, 0o755, 3)?;
    files.hard_link(&document(4), &root.join("documents/00/renamed.txt"))?;
    files.remove(&document(4))
}

struct Maker<'a> {
    files: &'a dyn Files,
}

impl Maker<'_> {
    /// What is hard to keep: names, kinds, modes and times that programs get wrong.
    fn oddities(&self, root: &Path) -> io::Result<()> {
        self.directory(root)?;
        self.file(&root.join("empty"), b"", 0o644, 5)?;
        self.file(&root.join("one byte"), b"x", 0o644, 6)?;
        self.file(&root.join("set-user-id"), b"#!/bin/sh\n", 0o4755, 7)?;
        self.file(&root.join("owner only reads"), b"secret\n", 0o400, 8)?;
        self.file(&root.join("from before 1970"), b"old\n", 0o644, 9)?;
        self.times(&root.join("from before 1970"), FileTime { secs: -86_400, nanos: 1 })?;
        self.file(&root.join("far future"), b"new\n", 0o644, 9)?;
        self.times(&root.join("far future"), FileTime { secs: 4_102_444_800, nanos: 999_999_999 })?;
        for name in [
            &b"caf\xe9 in Latin-1"[..],
            b"\xff\xfe",
            "caf\u{e9} in UTF-8".as_bytes(),
            b"line\nbreak",
            b" ",
            b"-rf",
            b"...",
        ] {
            self.file(&root.join(OsStr::from_bytes(name)), name, 0o644, 10)?;
        }
        self.file(&root.join(OsString::from("n".repeat(255))), b"a long name\n", 0o644, 11)?;
        let links: [(&str, &[u8]); 4] = [
            ("relative", b"empty"),
            ("dangling", b"nowhere/at all"),
            ("absolute", b"/etc/hostname"),
            ("latin", b"caf\xe9 in Latin-1"),
        ];
        for (name, target) in links {
            self.files.symlink(OsStr::from_bytes(target), &root.join(name))?;
            self.attributes(&root.join(name), Kind::Symlink, 0o777, 12)?;
        }
        self.directory(&root.join("links"))?;
        self.file(&root.join("first name"), &prose(500, 20_000), 0o644, 13)?;
        self.files.hard_link(&root.join("first name"), &root.join("second name"))?;
        self.files.hard_link(&root.join("first name"), &root.join("links/third name"))?;
        let mut deep = root.join("deep");
        for _ in 0..30 {
            self.directory(&deep)?;
            deep.push("er");
        }
        self.file(&deep.with_file_name("bottom"), b"down here\n", 0o644, 14)?;
        for (name, mode) in [("empty directory", 0o755), ("shared", 0o1777), ("group's", 0o2750), ("private", 0o700)] {
            self.directory(&root.join(name))?;
            self.attributes(&root.join(name), Kind::Directory, mode, 15)?;
        }
        self.attributes(&root.join("links"), Kind::Directory, 0o755, 16)
    }

    fn directory(&self, path: &Path) -> io::Result<()> {
        self.files.create_dir(path)
    }

    /// With those above it.
    fn directories(&self, path: &Path) -> io::Result<()> {
        if let (Some(above), true) = (path.parent(), self.files.metadata(path).is_err()) {
            self.directories(above)?;
            self.files.create_dir(path)?;
        }
        Ok(())
    }

    fn file(&self, path: &Path, bytes: &[u8], mode: u32, age: u32) -> io::Result<()> {
        let mut file = self.files.create_file(path)?;
        file.write_at(0, bytes)?;
        file.finish(bytes.len() as u64, &attributes(Kind::File, mode, age))
    }

    fn attributes(&self, path: &Path, kind: Kind, mode: u32, age: u32) -> io::Result<()> {
        self.files.set_attributes(path, &attributes(kind, mode, age))
    }

    fn times(&self, path: &Path, mtime: FileTime) -> io::Result<()> {
        self.files.set_attributes(path, &Attributes { mtime, ..attributes(Kind::File, 0o644, 0) })
    }
}

/// A date in 2020, to the nanosecond.
fn attributes(kind: Kind, mode: u32, age: u32) -> Attributes {
    let mtime = FileTime { secs: 1_577_836_800 + i64::from(age) * 3607, nanos: 123_456_789 + age };
    Attributes { kind, mode, owner: None, mtime, xattrs: Vec::new() }
}

/// Bytes that look random, the same for the same number.
fn noise(number: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new_derive_key("nuthatch 2026 sample tree")
        .update(&number.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Words.
fn prose(number: u32, len: usize) -> Vec<u8> {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = Vec::with_capacity(len + 16);
    // A word takes more than one byte, so this is enough of them.
    for (place, choice) in noise(number ^ 0x7000_0000, len / 2 + 1).into_iter().enumerate() {
        if text.len() >= len {
            break;
        }
        text.extend_from_slice(words[choice as usize % words.len()].as_bytes());
        text.push(if place % 12 == 11 { b'\n' } else { b' ' });
    }
    text.truncate(len);
    text
}

/// Lines that resemble each other.
fn log(number: u32) -> Vec<u8> {
    let mut text = Vec::with_capacity(LOG_BYTES + 128);
    for (line, choice) in noise(number ^ 0x3000_0000, LOG_BYTES / 32).chunks(2).enumerate() {
        if text.len() >= LOG_BYTES {
            break;
        }
        let [one, other] = [choice[0], choice.get(1).copied().unwrap_or_default()];
        let entry = format!(
            "2020-01-01T{:02}:{:02}:{:02} service-{number} request {line} took {one} ms, status {}\n",
            line / 3600 % 24,
            line / 60 % 60,
            line % 60,
            200 + u32::from(other % 5) * 100
        );
        text.extend_from_slice(entry.as_bytes());
    }
    text
}

/// Where the demo's own tree lies, by what it is.
pub fn place(work: &Path, alone: bool) -> PathBuf {
    work.join(if alone { "sample" } else { "beside" })
}

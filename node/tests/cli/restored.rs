//! What comes back, on a real file system: every kind of file, over what is there, in parts.

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use serde_json::Value;

use super::fleet::{Fleet, put};

fn meta(path: &Path) -> fs::Metadata {
    fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn new_file(path: &Path) -> fs::File {
    fs::OpenOptions::new().create(true).truncate(true).write(true).open(path).unwrap()
}

/// What rsync would still change: nothing, if the trees are the same.
fn rsync(from: &Path, to: &Path) -> Option<String> {
    let from = format!("{}/", from.display());
    let done = Command::new("rsync")
        .args(["-aHAXSn", "--specials", "--devices", "--checksum", "--delete", "--itemize-changes", &from])
        .arg(to)
        .output()
        .ok()?;
    assert!(done.status.success(), "{done:?}");
    Some(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[test]
fn every_kind_of_file_comes_back() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = fleet.path("source");
    put(&source.join("plain"), "plain\n");
    put(&source.join("locked/inside"), "in a directory that its owner may not write\n");
    let sparse = new_file(&source.join("sparse"));
    sparse.set_len(256 << 20).unwrap();
    sparse.write_all_at(&[7; 70_000], 100 << 20).unwrap();
    drop(sparse);
    let allocated = meta(&source.join("sparse")).blocks() * 512;
    rustix::fs::mknodat(CWD, source.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    rustix::fs::mknodat(CWD, source.join("socket"), FileType::Socket, Mode::from_raw_mode(0o600), 0).unwrap();
    symlink("nowhere/at all", source.join("link")).unwrap();
    for name in ["plain", "pipe", "link"] {
        let further = source.join(format!("{name}-too"));
        rustix::fs::linkat(CWD, source.join(name), CWD, further, rustix::fs::AtFlags::empty()).unwrap();
    }
    put(&source.join("setuid"), "#!\n");
    fs::set_permissions(source.join("setuid"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::create_dir(source.join("sticky")).unwrap();
    fs::set_permissions(source.join("sticky"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(source.join("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    put(&source.join("labelled"), "labelled\n");
    // Not every file system has them.
    let labels = rustix::fs::setxattr(source.join("labelled"), "user.nest", b"a \0 value", XattrFlags::empty()).is_ok();
    let root = rustix::process::geteuid().is_root();
    if root {
        let device = rustix::fs::makedev(1, 3);
        rustix::fs::mknodat(CWD, source.join("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), device)
            .unwrap();
        rustix::fs::chown(source.join("plain"), Some(rustix::fs::Uid::from_raw(12345)), None).unwrap();
    }

    fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]).well();
    let target = fleet.path("target");
    let from = format!("latest:{}", source.display());
    let done = fleet.client("c", &["restore", &from, target.to_str().unwrap()]).well();
    assert_eq!((&done["problems"], &done["owners_left"]), (&0.into(), &0.into()), "{done}");

    assert!(meta(&target.join("pipe")).file_type().is_fifo());
    assert!(meta(&target.join("socket")).file_type().is_socket());
    for name in ["plain", "pipe", "link"] {
        assert_eq!(meta(&target.join(name)).ino(), meta(&target.join(format!("{name}-too"))).ino(), "{name}");
    }
    let modes = ["setuid", "sticky", "locked", "pipe"].map(|name| meta(&target.join(name)).mode() & 0o7777);
    assert_eq!(modes, [0o6755, 0o1777, 0o555, 0o640]);
    let restored = meta(&target.join("sparse"));
    assert!(restored.len() == 256 << 20 && restored.blocks() * 512 <= allocated + (64 << 10), "{restored:?}");
    if labels {
        let mut value = [0; 64];
        let len = rustix::fs::getxattr(target.join("labelled"), "user.nest", &mut value).unwrap();
        assert_eq!(&value[..len], b"a \0 value");
    }
    if root {
        assert_eq!(meta(&target.join("null")).rdev(), rustix::fs::makedev(1, 3));
        assert_eq!(meta(&target.join("plain")).uid(), 12345);
    }
    if let Some(differences) = rsync(&source, &target) {
        assert_eq!(differences, "");
    }

    // Once more over it: nothing is written, and the locked directory is no obstacle.
    let before = meta(&target.join("plain")).ino();
    fs::set_permissions(target.join("locked"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(target.join("locked/inside")).unwrap();
    fs::set_permissions(target.join("locked"), fs::Permissions::from_mode(0o555)).unwrap();
    let done = fleet.client("c", &["restore", &from, target.to_str().unwrap(), "--overwrite", "always"]).well();
    assert_eq!((&done["files"], &done["unchanged"], &done["problems"]), (&1.into(), &4.into(), &0.into()), "{done}");
    assert_eq!(meta(&target.join("plain")).ino(), before);
    if let Some(differences) = rsync(&source, &target) {
        assert_eq!(differences, "");
    }
}

#[test]
fn a_path_of_four_thousand_bytes_comes_back() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = fleet.path("source");
    fs::create_dir(&source).unwrap();
    // Longer in the target than any call takes.
    let name = "d".repeat(200);
    let mut at = rustix::fs::open(&source, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..20 {
        rustix::fs::mkdirat(&at, name.as_str(), Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, name.as_str(), rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = rustix::fs::openat(&at, "file", flags, Mode::RUSR | Mode::WUSR).unwrap();
    rustix::io::write(&file, b"deep down").unwrap();
    fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]).well();
    let target = fleet.path("a-target-with-a-longer-name");
    let done = fleet.client("c", &["restore", "latest", target.to_str().unwrap()]).well();
    assert_eq!((&done["files"], &done["problems"]), (&1.into(), &0.into()), "{done}");
    let below = target.join(source.strip_prefix("/").unwrap());
    let mut at = rustix::fs::open(&below, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..20 {
        at = rustix::fs::openat(&at, name.as_str(), rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let file = rustix::fs::openat(&at, "file", rustix::fs::OFlags::RDONLY, Mode::empty()).unwrap();
    let mut bytes = [0; 64];
    let len = rustix::io::read(&file, &mut bytes).unwrap();
    assert_eq!(&bytes[..len], b"deep down");
}

#[test]
fn a_restore_never_leads_out_of_its_target() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let (source, target, outside) = (fleet.path("source"), fleet.path("target"), fleet.path("outside"));
    put(&source.join("dir/file"), "new\n");
    put(&source.join("file"), "new\n");
    fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]).well();
    let from = format!("latest:{}", source.display());
    for (mode, problems) in [("never", 1), ("if-newer", 0), ("if-changed", 0), ("always", 0)] {
        put(&outside.join("file"), "precious\n");
        fs::create_dir_all(&target).unwrap();
        let _ = fs::remove_dir_all(target.join("dir"));
        let _ = fs::remove_file(target.join("file"));
        symlink(&outside, target.join("dir")).unwrap();
        symlink(outside.join("file"), target.join("file")).unwrap();
        // Old enough that `if-newer` replaces them.
        for name in ["dir", "file"] {
            let past = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: past, last_modification: past };
            rustix::fs::utimensat(CWD, target.join(name), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        let done = fleet.client("c", &["restore", &from, target.to_str().unwrap(), "--overwrite", mode]);
        assert_eq!(done.json()["problems"], problems, "{mode}: {done:?}");
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "precious\n", "{mode}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{mode}");
        assert_eq!(meta(&target.join("dir")).is_dir(), mode != "never");
    }
}

#[test]
fn parts_are_chosen_listed_and_compared() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = fleet.path("source");
    for name in ["notes/a.txt", "notes/b.log", "music/c.ogg"] {
        put(&source.join(name), &format!("{name}\n"));
    }
    let path = source.to_str().unwrap();
    let first = fleet.client("c", &["snapshot", "create", path]).well()["snapshot"].as_str().unwrap().to_owned();
    fs::remove_file(source.join("music/c.ogg")).unwrap();
    put(&source.join("notes/a.txt"), "changed\n");
    fs::set_permissions(source.join("notes/b.log"), fs::Permissions::from_mode(0o600)).unwrap();
    put(&source.join("new"), "new\n");
    fleet.client("c", &["snapshot", "create", path]).well();

    let done = fleet.client("c", &["snapshot", "diff", &first[..12], "latest"]);
    let lines: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<(String, String)> = lines[..lines.len() - 1]
        .iter()
        .map(|line| {
            let below = line["path"].as_str().unwrap().strip_prefix(path).unwrap();
            (line["change"].as_str().unwrap().to_owned(), below.to_owned())
        })
        .collect();
    let expected =
        [("removed", "/music/c.ogg"), ("added", "/new"), ("modified", "/notes/a.txt"), ("metadata", "/notes/b.log")];
    assert_eq!(told, expected.map(|(change, path)| (change.to_owned(), path.to_owned())));
    let summary = done.well();
    assert_eq!(
        (&summary["added"], &summary["bytes_added"], &summary["bytes_removed"]),
        (&1.into(), &12.into(), &24.into())
    );
    let same = fleet.client("c", &["snapshot", "diff", "latest", "latest", &format!("{path}/notes")]).well();
    assert_eq!(same["modified"], 0);

    let from = format!("{}:{path}", &first[..12]);
    let part = fleet.path("part");
    let to = part.to_str().unwrap();
    let done = fleet.client("c", &["restore", &from, to, "--include", "*.txt", "--include", "/music/"]).well();
    assert_eq!(done["files"], 2, "{done}");
    assert!(
        part.join("notes/a.txt").exists() && part.join("music/c.ogg").exists() && !part.join("notes/b.log").exists()
    );
    fleet.client("c", &["restore", &from, to, "--path", "nothing", "--overwrite", "never"]).fails(
        1,
        "not_found",
        &["nothing"],
    );
    fleet.client("c", &["restore", &from, to, "--include", "a{b", "--overwrite", "never"]).fails(
        1,
        "invalid",
        &["a{b"],
    );

    let done = fleet.client("c", &["restore", &from, to, "--dry-run", "--overwrite", "if-changed"]);
    let would: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(would[0], serde_json::json!({ "deed": "make", "path": part.join("notes/b.log") }), "{done:?}");
    assert_eq!((would.len(), &done.well()["files"]), (2, &1.into()));
    assert!(!part.join("notes/b.log").exists());
}

#[test]
fn what_cannot_be_read_back_is_no_success() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = fleet.path("source");
    put(&source.join("one"), &"one\n".repeat(10_000));
    fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]).well();
    let objects: Vec<PathBuf> = below(&fleet.path("storage/objects"));
    let sample = fleet.client("c", &["verify", "--read-data", "--sample", "1/20"]).well();
    assert_eq!((&sample["packs_read"], sample["pack_list"].as_array().unwrap().len()), (&1.into(), 1), "{sample}");
    for wrong in ["0%", "5", "1/0"] {
        fleet.client("c", &["verify", "--read-data", "--sample", wrong]).fails(2, "usage", &[wrong]);
    }
    let packs: Vec<_> =
        objects.iter().filter(|path| path.as_os_str().as_bytes().windows(6).any(|part| part == b"/pack/")).collect();
    assert_eq!(packs.len(), 2);
    packs.iter().for_each(|pack| fs::remove_file(pack).unwrap());
    let _ = fs::remove_dir_all(fleet.path("c/cache"));
    let done = fleet.client("c", &["restore", "latest", fleet.path("target").to_str().unwrap()]);
    done.fails(1, "corrupt", &["nothing"]);
    let report = fleet.client("c", &["verify"]);
    report.fails(1, "corrupt", &["found"]);
}

fn below(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(below(&path)) } else { found.push(path) }
    }
    found
}

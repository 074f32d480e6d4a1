//! What a machine does to its own files: damage, full and read-only disks. Each a
//! clear error that names the file, and nothing is lost.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use super::fleet::{Fleet, put};

/// A small file system of its own, mounted on a directory until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None where this process may not mount, as in most containers.
    fn mount(path: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(&path).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(path));
        }
        eprintln!("not tried: this process may not mount a file system");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A fleet with one client `c` that has one snapshot, and what was backed up.
fn backed_up() -> (Fleet, PathBuf) {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = fleet.path("source");
    put(&source.join("large"), &"a line that is stored once\n".repeat(400_000));
    put(&source.join("small"), "small\n");
    fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]).well();
    (fleet, source)
}

/// Changes a file's bytes in place and hands back what they were.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let before = fs::read(path).unwrap();
    let mut bytes = before.clone();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
    before
}

#[test]
fn damaged_keys_are_named_and_not_replaced() {
    let (fleet, source) = backed_up();
    let file = fleet.path("c/client");
    type Change = fn(&mut Vec<u8>);
    let changes: [Change; 5] = [
        Vec::clear,
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.fill(0),
        |bytes| bytes.push(0),
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        },
    ];
    for change in changes {
        let before = damage(&file, change);
        let damaged = fs::read(&file).unwrap();
        for command in [&["snapshot", "list"][..], &["snapshot", "create", source.to_str().unwrap()], &["verify"]] {
            fleet.client("c", command).fails(1, "corrupt", &["the file client", fleet.path("c").to_str().unwrap()]);
        }
        assert_eq!(fs::read(&file).unwrap(), damaged, "a damaged file of keys was written over");
        fs::write(&file, before).unwrap();
    }
    fleet.client("c", &["verify", "--read-data"]).well();
}

#[test]
fn a_damaged_cache_costs_time_only() {
    let (fleet, source) = backed_up();
    let mut files = super::main_job::files_below(&fleet.path("c/cache"));
    files.retain(|file| fs::metadata(file).unwrap().len() > 0);
    assert!(!files.is_empty(), "the client keeps no cache");
    for round in 0..2 {
        for path in &files {
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            let len = file.metadata().unwrap().len();
            match round {
                // Junk over the first pages and the middle, where entries are.
                0 => [0, 4096, len / 2].iter().for_each(|at| file.write_all_at(&[0xa5; 3000], *at).unwrap()),
                _ => file.set_len(len / 3).unwrap(),
            }
        }
        put(&source.join("small"), &format!("round {round}\n"));
        fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]).well();
        fleet.client("c", &["verify", "--read-data"]).well();
    }
}

#[test]
fn a_target_without_room_keeps_what_fits_and_says_so() {
    let (fleet, _) = backed_up();
    let target = fleet.path("target");
    let Some(_disk) = SmallDisk::mount(target.clone(), "1m") else { return };
    let done = fleet.client("c", &["restore", "latest", target.to_str().unwrap()]);
    assert_eq!(done.code, 3, "{done:?}");
    let said = done.json().to_string();
    assert!(said.contains("large") && said.contains("No space left"), "{said}");
    let small = super::main_job::files_below(&target).into_iter().find(|path| path.ends_with("source/small"));
    assert_eq!(fs::read_to_string(small.unwrap()).unwrap(), "small\n");
}

#[test]
fn a_client_whose_own_disk_is_full_still_backs_up_and_restores() {
    let fleet = Fleet::ready();
    let Some(_disk) = SmallDisk::mount(fleet.path("c"), "8m") else { return };
    fleet.enroll("c", &fleet.token(&[])).well();
    put(&fleet.path("source/file"), "content\n");
    fs::write(fleet.path("c/filler"), vec![1; 16 << 20]).unwrap_err();
    let source = fleet.path("source");
    let done = fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]);
    assert!(!done.stderr.contains("panicked"), "{done:?}");
    if done.code != 0 {
        done.fails(1, "internal", &["No space left", fleet.path("c").to_str().unwrap()]);
        fs::remove_file(fleet.path("c/filler")).unwrap();
        fleet.client("c", &["snapshot", "create", source.to_str().unwrap()]).well();
    }
    fleet.client("c", &["restore", "latest", fleet.path("target").to_str().unwrap()]).well();
}

#[test]
fn a_target_that_cannot_be_written_is_named() {
    let (fleet, _) = backed_up();
    // Nobody, not even root, makes a directory there.
    fleet.client("c", &["restore", "latest", "/proc/restored"]).fails(1, "invalid", &["/proc/restored"]);
    let file = fleet.path("in-the-way");
    put(&file, "mine\n");
    fleet.client("c", &["restore", "latest", file.to_str().unwrap()]).fails(1, "invalid", &["in-the-way"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine\n");
}

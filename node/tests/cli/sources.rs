//! What is backed up, and what is left out: patterns, caches, links, streams.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, symlink},
    path::Path,
    process::Stdio,
};

use serde_json::Value;

use super::fleet::{Done, Fleet, nuthatch, put, run};

/// The paths in the newest snapshot, below a directory.
fn stored(fleet: &Fleet, below: &Path) -> Vec<String> {
    let listed = fleet.client("c", &["snapshot", "ls", "latest", below.to_str().unwrap(), "--recursive"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    let lines = listed.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let paths = lines.map(|object| object["path"].as_str().unwrap().to_owned());
    paths.map(|path| path.strip_prefix(below.to_str().unwrap()).unwrap().to_owned()).collect()
}

fn piped(fleet: &Fleet, args: &[&str], input: &[u8]) -> Done {
    let mut command = fleet.client_command("c", args);
    let mut child =
        command.arg("--json").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn what_is_asked_to_be_left_out_is() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let source = fleet.path("source");
    let cache = "Signature: 8a477f597d28d172789f06886806bc55\n";
    for (path, text) in [
        ("kept.txt", "kept"),
        ("a.tmp", "x"),
        ("important.tmp", "x"),
        ("target/junk", "x"),
        ("deep/target/kept", "x"),
        ("cache/CACHEDIR.TAG", cache),
        ("cache/junk", "x"),
        ("quiet/.nobackup", ""),
        ("quiet/junk", "x"),
        ("own/.nuthatchignore", "junk\n"),
        ("own/junk", "x"),
    ] {
        put(&source.join(path), text);
    }
    let list = fleet.path("patterns");
    put(&list, "# by hand\n*.tmp\n\n/target/\n");
    let path = source.to_str().unwrap();
    let create = ["snapshot", "create", path, "--exclude-file", list.to_str().unwrap(), "--exclude", "!important.tmp"];
    let more = ["--exclude-caches", "--exclude-if-present", ".nobackup", "--one-file-system"];
    let made = fleet.client("c", &[&create[..], &more[..]].concat()).well();
    assert_eq!((&made["excluded"], &made["files"]), (&5.into(), &6.into()), "{made}");
    let kept = ["/cache", "/cache/CACHEDIR.TAG", "/deep", "/deep/target", "/deep/target/kept", "/important.tmp"];
    let kept = [&kept[..], &["/kept.txt", "/own", "/own/.nuthatchignore", "/quiet", "/quiet/.nobackup"]].concat();
    assert_eq!(stored(&fleet, &source), kept);
    let shown = fleet.client("c", &["snapshot", "show", "latest"]).well();
    let excludes = [
        "*.tmp",
        "/target/",
        "!important.tmp",
        "--one-file-system",
        "--exclude-caches",
        "--exclude-if-present .nobackup",
    ];
    assert_eq!(shown["excludes"], Value::from(excludes.as_slice()));
    fleet.client("c", &["snapshot", "create", path, "--exclude", "a{b"]).fails(2, "usage", &["a{b"]);
    let absent = fleet.path("no-such-list");
    fleet.client("c", &["snapshot", "create", path, "--exclude-file", absent.to_str().unwrap()]).fails(
        1,
        "not_found",
        &["no-such-list"],
    );
}

#[test]
fn links_as_sources_holes_and_labels() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let (real, link) = (fleet.path("real"), fleet.path("link"));
    put(&real.join("file"), "content");
    symlink(&real, &link).unwrap();
    let shown = run(fleet.client_command("c", &["snapshot", "create"]).arg(&link));
    assert!(shown.code == 0 && shown.stderr.contains("is a symbolic link"), "{shown:?}");
    assert_eq!(stored(&fleet, &link), [""]);
    fleet.client("c", &["snapshot", "create", &format!("{}/", link.display())]).well();
    assert_eq!(stored(&fleet, &real), ["/file"]);

    let sparse = real.join("sparse");
    let file = fs::OpenOptions::new().create_new(true).write(true).open(&sparse).unwrap();
    file.set_len(100 << 30).unwrap();
    let labelled = rustix::fs::lsetxattr(&sparse, "user.label", b"kept", rustix::fs::XattrFlags::empty()).is_ok();
    // With slashes behind it a directory is itself.
    let made = fleet.client("c", &["snapshot", "create", &format!("{}//", real.display())]).well();
    assert_eq!(made["bytes_source"], (100u64 << 30) + 7);
    assert!(made["bytes_read"].as_u64().unwrap() <= 7, "{made}");
    let target = fleet.path("target");
    fleet.client("c", &["restore", &format!("latest:{}", real.display()), target.to_str().unwrap()]).well();
    let restored = fs::metadata(target.join("sparse")).unwrap();
    assert_eq!((restored.len(), restored.blocks() < 100), (100 << 30, true));
    if labelled {
        let mut value = [0; 16];
        let len = rustix::fs::lgetxattr(target.join("sparse"), "user.label", &mut value).unwrap();
        assert_eq!(&value[..len], b"kept");
    } else {
        eprintln!("SKIPPED: the file system for temporary files has no extended attributes");
    }
}

#[test]
fn streams_are_backed_up_if_they_end_well() {
    let fleet = Fleet::ready();
    fleet.enroll("c", &fleet.token(&[])).well();
    let input: Vec<u8> =
        (0..3_000_000u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let made = piped(&fleet, &["snapshot", "create", "--stdin", "--stdin-filename", "db.sql"], &input).well();
    assert_eq!((&made["files"], &made["bytes_source"]), (&1.into(), &input.len().into()), "{made}");
    let again = piped(&fleet, &["snapshot", "create", "--stdin", "--stdin-filename", "db.sql"], &input).well();
    assert!(again["bytes_new"].as_u64().unwrap() < 100_000, "{again}");
    let target = fleet.path("target");
    fleet.client("c", &["restore", "latest:/db.sql", target.to_str().unwrap()]).well();
    assert!(fs::read(target.join("db.sql")).unwrap() == input);

    let output_of = |script: &str| {
        let mut command = nuthatch();
        command.args(["snapshot", "create", "--json", "--data-dir"]).arg(fleet.path("c"));
        run(command.args(["--stdin-filename", "out", "--stdin-from-command", "--", "sh", "-c", script]))
    };
    output_of("printf all").well();
    assert_eq!(stored(&fleet, Path::new("/")), ["out"]);
    let count = || fleet.client("c", &["snapshot", "list"]).well()["snapshots"].as_array().unwrap().len();
    let before = count();
    output_of("printf half; exit 7").fails(1, "invalid", &["exit status: 7"]);
    assert_eq!(count(), before, "half of an output is no snapshot");
    fleet.client("c", &["snapshot", "create", "--stdin", "--stdin-filename", "a/b"]).fails(2, "usage", &["a/b"]);
    fleet.client("c", &["snapshot", "create"]).fails(2, "usage", &["PATH"]);
}

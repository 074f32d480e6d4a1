//! What lies in `deploy/` names commands, files and directories that exist.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use node::{cli, settings::Settings};

use super::fleet::{nuthatch, put, run};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").canonicalize().unwrap()
}

/// The units, by file name.
fn units() -> Vec<(String, String)> {
    let mut units: Vec<(String, String)> = std::fs::read_dir(deploy().join("systemd"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    units.sort();
    units
}

fn value<'a>(unit: &'a str, key: &str) -> Option<&'a str> {
    unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[test]
fn units_run_commands_that_there_are_with_examples_that_fit() {
    let units = units();
    assert_eq!(units.len(), 5, "{units:?}");
    for (name, unit) in units.iter().filter(|(name, _)| name.ends_with(".service")) {
        let command = value(unit, "ExecStart").unwrap();
        let words: Vec<OsString> = command.split(' ').map(|word| word.replace("%f", "/home").into()).collect();
        cli::parse(words).unwrap_or_else(|_| panic!("{name}: {command:?} is not a command"));
        assert_eq!(value(unit, "NoNewPrivileges"), Some("yes"), "{name}");
        let Some(config) = command.split_once("--config ").map(|(_, path)| path) else { continue };
        let example = deploy().join("examples").join(Path::new(config).file_name().unwrap());
        let settings = Settings::load(&example).unwrap();
        let state = Path::new("/var/lib").join(value(unit, "StateDirectory").unwrap());
        assert_eq!(settings.data_dir, state, "{name}: the example has another data directory");
        assert_eq!(value(unit, "Restart"), Some("on-failure"), "{name}");
    }
}

/// systemd's own opinion, where it is installed.
#[test]
fn systemd_takes_the_units() {
    let dir = tempfile::tempdir().unwrap();
    for (name, unit) in units() {
        // It looks for the program, which is not installed here.
        let unit = unit.replace("/usr/local/bin/nuthatch", env!("CARGO_BIN_EXE_nuthatch"));
        put(&dir.path().join(name.replace("@.", "@home.")), &unit);
    }
    let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(files).output();
    let Ok(verified) = verify else { return };
    let said = String::from_utf8_lossy(&verified.stderr);
    // Other units of this machine may be in disorder.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("nuthatch")).collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let done = run(nuthatch().args(["completions", shell]));
        assert!(done.code == 0 && done.stdout.contains("orchestrator"), "{shell}: {done:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man");
    let done = run(nuthatch().args(["man", "--json"]).arg(&pages)).well();
    let page = std::fs::read_to_string(pages.join("nuthatch-cluster-init.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("orchestrator"), "{page}");
    assert_eq!(done["pages"], std::fs::read_dir(&pages).unwrap().count());
}

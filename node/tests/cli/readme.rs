//! The README's walk, typed as it stands there: `machine$ command`, and what is printed.
//!
//! All machines are directories of one test; addresses, keys, the storage and the paths
//! of people's files are put in place of those that the README names. Lines that the
//! README shows must be printed, in that order, with numbers and ids of their own.

use std::{
    collections::BTreeMap,
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use super::fleet::{Node, put};

const README: &str = include_str!("../../../README.md");

/// What is typed or happens, in order.
#[derive(Debug)]
enum Step {
    Type { machine: String, command: String, shown: Vec<String> },
    Lose(String),
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut typed = false;
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        if let Some(lost) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" is lost -->")) {
            steps.push(Step::Lose(lost.into()));
        }
        if line.starts_with("```") {
            typed = line == "```console";
        } else if let Some((machine, first)) = line.split_once("$ ").filter(|_| typed) {
            let mut command = first.to_owned();
            while let Some(begun) = command.strip_suffix('\\') {
                command = format!("{begun}{}", lines.next().unwrap().trim_start());
            }
            steps.push(Step::Type { machine: machine.into(), command, shown: Vec::new() });
        } else if typed && !line.is_empty() {
            match steps.last_mut() {
                Some(Step::Type { shown, .. }) => shown.push(line.to_owned()),
                _ => panic!("{line:?} is printed by nobody"),
            }
        }
    }
    steps
}

/// The machines of the walk.
struct Walk {
    dir: TempDir,
    storage: Node,
    nodes: BTreeMap<String, Node>,
}

impl Walk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let secrets =
            [("access-key", "the-access-key\n"), ("secret-key", "the-secret-key\n"), ("passphrase", "horse\n")];
        for (machine, (name, secret)) in ["you", "store"].iter().flat_map(|machine| secrets.map(|one| (machine, one))) {
            let path = at(machine).join(name);
            put(&path, secret);
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        let config = at("store").join("storage.toml");
        put(
            &config,
            &format!(
                "data_dir = {:?}\nroles = [\"storage\"]\n[storage]\nlisten = \"127.0.0.1:0\"\nbucket = \"backups\"\naccess_key_file = {:?}\nsecret_key_file = {:?}\n",
                at("store"),
                at("store/access-key"),
                at("store/secret-key")
            ),
        );
        for machine in ["laptop", "desk"] {
            put(&at(machine).join("ada/thesis/chapter"), &format!("{machine} says something\n"));
        }
        let storage = Node::start(&config, &["serving "]);
        Self { dir, storage, nodes: BTreeMap::new() }
    }

    fn home(&self, machine: &str) -> PathBuf {
        let home = self.dir.path().join(machine);
        std::fs::create_dir_all(&home).unwrap();
        home
    }

    /// A node of a machine, with the example's settings but for where it listens.
    fn start(&mut self, machine: &str) -> String {
        let home = self.home(machine);
        let example = include_str!("../../../deploy/examples/orchestrator.toml");
        let config = example
            .replace("/var/lib/nuthatch-orchestrator", home.join("data").to_str().unwrap())
            .replace("0.0.0.0:7300", "127.0.0.1:0");
        put(&home.join("orchestrator.toml"), &config);
        let node = Node::start(&home.join("orchestrator.toml"), &["listening on ", "key "]);
        let said = format!("listening on {}\nkey {}\n", node.said[0], node.said[1]);
        self.nodes.insert(machine.into(), node);
        said
    }

    /// The command as it is typed here.
    fn here(&self, machine: &str, command: &str) -> String {
        let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        for word in &mut words {
            if let Some((name, _)) = word.split_once("=192.0.2.") {
                let node = &self.nodes[name];
                *word = format!("{name}={}#{}", node.said[0], node.said[1]);
            }
        }
        let mut command = words
            .join(" ")
            .replace("https://s3.example.org", &self.storage.said[0])
            .replace("/tmp/", &format!("{}/", self.home(machine).display()))
            .replace("/home/ada", self.home(machine).join("ada").to_str().unwrap());
        if let Some((file, to)) = command.strip_prefix("scp ").and_then(|rest| rest.split_once(' ')) {
            command = format!("cp {file} {}/", self.home(to.trim_end_matches(':')).display());
        }
        if ["cluster init", "orchestrator add", "orchestrator remove"].iter().any(|asks| command.contains(asks)) {
            command += " --passphrase-file passphrase";
        }
        command
    }

    /// Everything that is printed.
    fn type_in(&self, machine: &str, command: &str) -> String {
        let home = self.home(machine);
        let program = Path::new(env!("CARGO_BIN_EXE_nuthatch")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let command = self.here(machine, command);
        let once = || {
            let done = Command::new("sh")
                .args(["-c", &format!("exec 2>&1; {command}")])
                .current_dir(&home)
                .env("PATH", &path)
                .env("HOME", &home)
                .env("USER", "you")
                .env_remove("XDG_CONFIG_HOME")
                .env_remove("NUTHATCH_HOME")
                .env_remove("NUTHATCH_LOG")
                .env("NUTHATCH_DATA_DIR", home.join("data"))
                .stdin(Stdio::null())
                .output()
                .unwrap();
            (done.status.success(), String::from_utf8(done.stdout).unwrap())
        };
        // On a busy machine the orchestrators may be about to choose who leads.
        let chooses = |(well, said): &(bool, String)| !well && said.contains("No majority agrees on who leads");
        let mut looks = std::iter::repeat_with(once).take(60);
        let (well, said) = looks.find(|look| !chooses(look)).expect("nobody ever leads");
        assert!(well, "{machine}$ {command}\n{said}");
        said
    }
}

/// A line without what is different each time: addresses, ids, times, counts, paths,
/// and how wide the columns are.
fn form(line: &str) -> String {
    let word = |word: &str| {
        let end = word.trim_end_matches(['.', ',', ':']);
        let bare = end.trim_matches(['"', '(', ')']);
        let is_id = bare.len() >= 8 && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
        let differs = is_id || bare.starts_with('/') || bare.bytes().any(|byte| byte.is_ascii_digit());
        // Whoever leads is nobody's choice.
        let leads = ["leader", "follower"].contains(&word);
        if differs || leads { "#".to_owned() } else { word.to_owned() }
    };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_walk_of_the_readme_works_as_it_is_printed() {
    let mut walk = Walk::new();
    let steps = steps();
    assert!(steps.len() > 20, "{steps:?}");
    for step in &steps {
        match step {
            Step::Lose(machine) => drop(walk.nodes.remove(machine).unwrap()),
            Step::Type { machine, command, shown } => {
                let said = match command.starts_with("nuthatch node run") {
                    true => walk.start(machine),
                    false => walk.type_in(machine, command),
                };
                println!("{machine}$ {command}\n{said}");
                let mut printed = said.lines().map(form);
                for line in shown {
                    let line_form = form(line);
                    assert!(printed.any(|other| other == line_form), "{machine}$ {command}\n{line}\nis not in\n{said}");
                }
            }
        }
    }
    let restored = walk.home("laptop").join("thesis");
    let found = Command::new("find").arg(&restored).args(["-name", "chapter"]).output().unwrap();
    assert!(!found.stdout.is_empty(), "nothing was restored to {}", restored.display());
}

//! One orchestrator, a storage, and whoever a test needs, in a directory of the test's own.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Done {
    /// Its exit code.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// The object on the last line of stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The object of a command that went well.
    #[track_caller]
    pub fn well(&self) -> Value {
        let json = self.json();
        assert!(self.code == 0 && json["ok"] == true, "{self:?}");
        json
    }

    /// Checks that it failed with this code and words.
    #[track_caller]
    pub fn fails(&self, exit: i32, code: &str, words: &[&str]) {
        let json = self.json();
        assert_eq!(
            (self.code, &json["ok"], &json["code"]),
            (exit, &Value::Bool(false), &Value::from(code)),
            "{self:?}"
        );
        let said = [&json["message"], &json["hint"]].map(|text| text.as_str().unwrap_or_default()).join(" ");
        words.iter().for_each(|word| assert!(said.contains(word), "{word:?} is not said: {said}"));
    }
}

pub fn nuthatch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuthatch"));
    for name in ["NUTHATCH_HOME", "NUTHATCH_DATA_DIR", "NUTHATCH_LOG"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

pub fn run(command: &mut Command) -> Done {
    let output = command.output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// What the node of a configuration wrote to its log.
fn told(config: &Path) -> String {
    std::fs::read_to_string(config.with_extension("log")).unwrap()
}

/// A node that runs until it is dropped.
pub struct Node {
    child: Child,
    /// What it said at its start, without the first word.
    pub said: Vec<String>,
}

impl Node {
    /// Starts a node and waits for one line that starts with each of `words`.
    pub fn start(config: &Path, words: &[&str]) -> Self {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(config.with_extension("log")).unwrap();
        let mut child = nuthatch()
            .args(["node", "run", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = words.iter().map(|word| {
            let line = lines.next().unwrap_or_else(|| panic!("the node ended: {}", told(config))).unwrap();
            line.strip_prefix(word).unwrap_or_else(|| panic!("{line:?}")).trim().to_owned()
        });
        Self { said: said.collect(), child }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Kills it; when this returns it holds nothing any more.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

pub struct Fleet {
    pub orchestrator: Node,
    pub storage: Node,
    pub dir: TempDir,
}

impl Fleet {
    /// Nodes that wait to be made a cluster.
    pub fn waiting() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        put(&at("access"), "the-access-key\n");
        put(&at("secret"), "the-secret-key\n");
        put(&at("passphrase"), "correct horse battery staple\n");
        put(
            &at("orchestrator.toml"),
            &format!("data_dir = {:?}\nroles = [\"orchestrator\"]\nlisten = \"127.0.0.1:0\"\n", at("orchestrator")),
        );
        put(
            &at("storage.toml"),
            &format!(
                "data_dir = {:?}\nroles = [\"storage\"]\n[storage]\nlisten = \"127.0.0.1:0\"\nbucket = \"bucket\"\naccess_key_file = {:?}\nsecret_key_file = {:?}\n",
                at("storage"),
                at("access"),
                at("secret")
            ),
        );
        let orchestrator = Node::start(&at("orchestrator.toml"), &["listening on ", "key "]);
        let storage = Node::start(&at("storage.toml"), &["serving "]);
        stay(&at("storage.toml"), storage.said[0].trim_start_matches("http://"));
        Self { orchestrator, storage, dir }
    }

    /// A cluster with a storage and a domain.
    pub fn ready() -> Self {
        let fleet = Self::waiting();
        fleet.init(&fleet.orchestrator.said[1]).well();
        fleet.add_storage("main", &[]).well();
        fleet.operator(&["domain", "create", "laptops", "--storage", "main"]).well();
        fleet
    }

    /// Kills the storage, and starts it again.
    pub fn restart_storage(&mut self) {
        self.storage.signal(rustix::process::Signal::KILL);
        self.storage = Node::start(&self.path("storage.toml"), &["serving "]);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn init(&self, key: &str) -> Done {
        let address = format!("a={}#{key}", self.orchestrator.said[0]);
        let passphrase = self.path("passphrase");
        self.operator(&[
            "cluster",
            "init",
            "--name",
            "test",
            "--orchestrator",
            &address,
            "--passphrase-file",
            passphrase.to_str().unwrap(),
        ])
    }

    pub fn add_storage(&self, name: &str, more: &[&str]) -> Done {
        let (access, secret) = (self.path("access"), self.path("secret"));
        let mut args = vec!["storage", "add", name, "--bucket", "bucket", "--prefix", "fleet"];
        args.extend(["--access-key-file", access.to_str().unwrap(), "--secret-key-file", secret.to_str().unwrap()]);
        if !more.contains(&"--endpoint") {
            args.extend(["--endpoint", &self.storage.said[0]]);
        }
        args.extend(more);
        self.operator(&args)
    }

    /// A command of the operator, for scripts.
    pub fn operator(&self, args: &[&str]) -> Done {
        run(nuthatch().args(args).arg("--json").arg("--home").arg(self.path("home")))
    }

    /// A command of a client, for scripts.
    pub fn client(&self, name: &str, args: &[&str]) -> Done {
        run(self.client_command(name, args).arg("--json"))
    }

    pub fn client_command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = nuthatch();
        command.args(args).arg("--data-dir").arg(self.path(name));
        command
    }

    pub fn token(&self, more: &[&str]) -> String {
        let made = self.operator(&[&["token", "create", "--domain", "laptops"], more].concat()).well();
        made["token"].as_str().unwrap().to_owned()
    }

    /// Joins with a token on standard input.
    pub fn enroll(&self, name: &str, token: &str) -> Done {
        let mut command = self.client_command(name, &["enroll", "--json", "--name", name]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may have ended before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(token.as_bytes());
        let output = child.wait_with_output().unwrap();
        Done {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Where a node listens once, it listens whenever it starts again.
pub fn stay(config: &Path, address: &str) {
    let text = std::fs::OpenOptions::new().read(true).open(config).and_then(std::io::read_to_string).unwrap();
    put(config, &text.replacen("127.0.0.1:0", address, 1));
}

/// Makes a file as any program would.
pub fn put(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

//! Several orchestrators: some come, some go, and backups go on.

use serde_json::{Value, json};

use super::fleet::{Done, Fleet, Node, put, stay};

/// How often a status is asked for: each time it looks for some seconds by itself.
const LOOKS_MAX: usize = 60;

/// A fleet whose cluster has several orchestrators.
pub struct Cluster {
    pub fleet: Fleet,
    nodes: Vec<(String, Node)>,
}

impl Cluster {
    /// Three orchestrators, a storage and a domain.
    pub fn of_three() -> Self {
        let mut cluster = Self { fleet: Fleet::waiting(), nodes: Vec::new() };
        let named: Vec<String> = ["one", "two", "three"].map(|name| cluster.start(name)).to_vec();
        let mut args = vec!["cluster", "init", "--name", "test", "--passphrase-file"];
        let passphrase = cluster.passphrase();
        args.push(&passphrase);
        named.iter().for_each(|name| args.extend(["--orchestrator", name]));
        cluster.fleet.operator(&args).well();
        cluster.fleet.add_storage("main", &[]).well();
        cluster.fleet.operator(&["domain", "create", "laptops", "--storage", "main"]).well();
        cluster
    }

    pub fn passphrase(&self) -> String {
        self.fleet.path("passphrase").to_str().unwrap().to_owned()
    }

    /// Starts a node that waits to be adopted; `NAME=ADDRESS#KEY`.
    pub fn start(&mut self, name: &str) -> String {
        let config = self.fleet.path(&format!("{name}.toml"));
        let data = self.fleet.path(name);
        put(&config, &format!("data_dir = {data:?}\nroles = [\"orchestrator\"]\nlisten = \"127.0.0.1:0\"\n"));
        let node = Node::start(&config, &["listening on ", "key "]);
        stay(&config, &node.said[0]);
        let named = format!("{name}={}#{}", node.said[0], node.said[1]);
        self.nodes.push((name.to_owned(), node));
        named
    }

    /// Kills a node, and starts it again.
    pub fn restart(&mut self, name: &str) {
        let config = self.fleet.path(&format!("{name}.toml"));
        let (_, node) = self.nodes.iter_mut().find(|(other, _)| other == name).unwrap();
        node.kill();
        *node = Node::start(&config, &["listening on ", "key "]);
    }

    /// Kills a node.
    pub fn stop(&mut self, name: &str) {
        self.nodes.retain(|(other, _)| other != name);
    }

    /// Starts a node that was stopped.
    pub fn again(&mut self, name: &str) -> String {
        let config = self.fleet.path(&format!("{name}.toml"));
        let node = Node::start(&config, &["listening on ", "key "]);
        let named = format!("{name}={}#{}", node.said[0], node.said[1]);
        self.nodes.push((name.to_owned(), node));
        named
    }

    /// Asks for the status until something is so.
    #[track_caller]
    pub fn wait_status(&self, reached: impl Fn(&Value) -> bool) -> Value {
        let mut looks = (0..10 * LOOKS_MAX).map(|_| self.fleet.operator(&["cluster", "status"]).json());
        let found = looks.find(|status| reached(status));
        found.unwrap_or_else(|| panic!("{:?}", self.fleet.operator(&["cluster", "status"])))
    }

    /// Asks for the status until one of its warnings is about this orchestrator, and says this.
    #[track_caller]
    pub fn status_warning(&self, name: &str, says: &str) -> String {
        for _ in 0..LOOKS_MAX {
            let status = self.fleet.operator(&["cluster", "status"]).json();
            let warnings = status["warnings"].as_array().unwrap().clone();
            let texts = warnings.iter().filter_map(Value::as_str);
            if let Some(found) = texts.into_iter().find(|text| text.starts_with(name) && text.contains(says)) {
                return found.to_owned();
            }
        }
        panic!("no warning about {name} says {says:?}: {:?}", self.fleet.operator(&["cluster", "status"]));
    }

    /// Asks for the status until nothing is wrong.
    #[track_caller]
    pub fn wait_well(&self) {
        let well = |status: &Value| status["problems"] == json!([]) && status["warnings"] == json!([]);
        let mut looks = (0..LOOKS_MAX).map(|_| self.fleet.operator(&["cluster", "status"]).json());
        assert!(looks.any(|status| well(&status)), "{:?}", self.fleet.operator(&["cluster", "status"]));
    }

    /// Kills a node, and its disk is gone.
    pub fn lose(&mut self, name: &str) {
        self.nodes.retain(|(other, _)| other != name);
        std::fs::remove_dir_all(self.fleet.path(name)).unwrap();
    }

    /// An operator's command that needs the root key.
    pub fn rooted(&self, args: &[&str]) -> Done {
        let passphrase = self.passphrase();
        self.fleet.operator(&[args, &["--passphrase-file", &passphrase]].concat())
    }

    fn voters(&self) -> Vec<String> {
        let listed = self.fleet.operator(&["orchestrator", "list"]).well();
        let nodes = listed["orchestrators"].as_array().unwrap().clone();
        let votes = nodes.iter().filter(|node| node["voter"] == true);
        votes.map(|node| node["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn orchestrators_come_and_go_and_nothing_is_lost() {
    let mut cluster = Cluster::of_three();
    let early = cluster.fleet.token(&["--uses", "2"]);
    cluster.fleet.enroll("c", &early).well();
    let source = cluster.fleet.path("source");
    put(&source.join("file"), "first\n");
    let source = source.to_str().unwrap().to_owned();
    let first = cluster.fleet.client("c", &["snapshot", "create", &source]).well();

    let four = cluster.start("four");
    let added = cluster.rooted(&["orchestrator", "add", &four]).well();
    assert_eq!((&added["name"], &added["voters"], &added["keyset"]), (&json!("four"), &json!(4), &json!(2)));
    // The same again finds that all is done.
    let again = cluster.rooted(&["orchestrator", "invite", &four]).well();
    assert_eq!((&again["voters"], &again["keyset"]), (&json!(4), &json!(2)));
    assert_eq!(cluster.voters(), ["one", "two", "three", "four"]);

    // One that is lost leaves without being asked, and only when that was confirmed.
    cluster.lose("one");
    let shown = cluster.rooted(&["orchestrator", "remove", "one"]).well();
    assert_eq!(shown["acted"], false, "{shown}");
    assert_eq!(cluster.voters(), ["one", "two", "three", "four"]);
    let removed = cluster.rooted(&["orchestrator", "remove", "one", "--yes"]).well();
    assert_eq!((&removed["acted"], &removed["voters"]), (&json!(true), &json!(3)));
    cluster.rooted(&["orchestrator", "remove", "one", "--yes"]).fails(1, "not_found", &["one", "orchestrator list"]);

    // Now the newcomer is needed for every decision: three of the first are left, less two.
    cluster.lose("two");
    let refused = ["three", "two", "no majority", "nothing was changed"];
    cluster.rooted(&["orchestrator", "remove", "three", "--yes"]).fails(1, "invalid", &refused);
    put(&cluster.fleet.path("source/file"), "second\n");
    cluster.fleet.client("c", &["snapshot", "create", &source]).well();
    // A token that was made before the newcomer came.
    cluster.fleet.enroll("d", &early).well();

    let five = cluster.start("five");
    let replace = ["orchestrator", "add", &five, "--replace", "two"];
    assert_eq!(cluster.rooted(&replace).well()["acted"], false);
    let replaced = cluster.rooted(&[&replace[..], &["--yes"]].concat()).well();
    assert_eq!((&replaced["replaced"], &replaced["voters"]), (&json!("two"), &json!(3)));
    assert_eq!(cluster.voters(), ["three", "four", "five"]);

    // The last of the first three goes: only newcomers know how to reach the storage.
    cluster.rooted(&["orchestrator", "remove", "three", "--yes"]).well();
    assert_eq!(cluster.voters(), ["four", "five"]);
    let log = cluster.fleet.path("three.log");
    let heard = || std::fs::read_to_string(&log).unwrap().contains("the cluster has removed this orchestrator");
    while !heard() {
        assert_eq!(cluster.voters(), ["four", "five"]);
    }
    let target = cluster.fleet.path("target");
    let id = first["snapshot"].as_str().unwrap();
    cluster.fleet.client("c", &["restore", id, target.to_str().unwrap()]).well();
    let restored = target.join(source.trim_start_matches('/')).join("file");
    assert_eq!(std::fs::read_to_string(restored).unwrap(), "first\n");
    cluster.fleet.client("d", &["snapshot", "create", &source]).well();

    let status = cluster.fleet.operator(&["cluster", "status"]).well();
    assert_eq!((&status["keyset"], &status["problems"], &status["warnings"]), (&json!(5), &json!([]), &json!([])));
    let refused = ["five", "add another one"];
    cluster.rooted(&["orchestrator", "remove", "five", "--yes"]).fails(1, "invalid", &refused);
    // Who was removed may be taken back as it is.
    let three = cluster.nodes.iter().find(|(name, _)| name == "three").unwrap().1.said.clone();
    cluster.rooted(&["orchestrator", "add", &format!("three={}#{}", three[0], three[1])]).well();
    assert_eq!(cluster.voters(), ["four", "five", "three"]);
}

#[test]
fn a_status_says_what_is_wrong_and_what_to_do() {
    let mut cluster = Cluster::of_three();
    // Until then, whoever is lost also holds back the log's next level.
    let well = cluster.wait_status(|status| status["level"] == 2);
    assert_eq!((&well["problems"], &well["warnings"]), (&json!([]), &json!([])), "{well}");

    cluster.lose("two");
    let status = cluster.fleet.operator(&["cluster", "status"]).well();
    let warning = status["warnings"][0].as_str().unwrap();
    assert!(warning.contains("two does not answer") && warning.contains("--replace two"), "{status}");

    cluster.lose("three");
    let status = cluster.fleet.operator(&["cluster", "status"]);
    status.fails(1, "retry", &["1 of 3"]);
    assert_eq!(status.json()["warnings"].as_array().map(Vec::len), Some(2), "{status:?}");
    let reachable = |node: &Value| node["reachable"].as_bool().unwrap();
    assert_eq!(status.json()["orchestrators"].as_array().unwrap().iter().filter(|node| reachable(node)).count(), 1);
    // A newcomer cannot be admitted by a minority: nothing is signed.
    let four = cluster.start("four");
    cluster.rooted(&["orchestrator", "add", &four]).fails(1, "retry", &["only 1 of 3"]);
    assert_eq!(cluster.fleet.operator(&["cluster", "status"]).json()["keyset"], 1);
}

#[test]
fn newcomers_that_make_no_sense_are_refused() {
    let mut cluster = Cluster::of_three();
    let two = cluster.nodes[1].1.said.clone();
    let four = cluster.start("four");
    let (_, address) = four.split_once('=').unwrap();
    let (bare, key) = address.split_once('#').unwrap();
    cluster.rooted(&["orchestrator", "add", &format!("two={address}")]).fails(1, "invalid", &["\"two\"", "--replace"]);
    let wrong = format!("four={bare}#{}", two[1]);
    cluster.rooted(&["orchestrator", "add", &wrong]).fails(1, "denied", &[bare, key, &two[1]]);
    cluster.rooted(&["orchestrator", "add", "four=127.0.0.1:1"]).fails(1, "retry", &["127.0.0.1:1"]);
    let garbled = cluster.rooted(&["orchestrator", "add", &format!("four={bare}#{}", &key[1..])]);
    garbled.fails(2, "usage", &["is not a key", "64 hexadecimal digits"]);
    put(&cluster.fleet.path("passphrase"), "wrong\n");
    cluster.rooted(&["orchestrator", "add", &four]).fails(1, "denied", &["passphrase"]);
    assert_eq!(cluster.voters(), ["one", "two", "three"]);
}

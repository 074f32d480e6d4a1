//! A cluster, and the operator who rules it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use actors::{
    client::Trust as Trusted,
    operator::{NewToken, Operator, init},
};
use benches::{
    cluster::{Nodes, credential},
    machine::{Machine, Seeded},
    trouble::Trouble,
};
use env::Env;
use protocol::{
    ids::RepositoryId,
    records::{Codec, Domain, Payload, Subject, Trust},
    sign::Signer,
    token::Token,
};

const TOKEN_SECS: u64 = 86_400;
/// How long a fleet that is starting may take to be connected.
const CONNECT_PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(500);

/// A cluster that runs.
pub struct Cluster {
    /// The world of this program.
    pub env: Env,
    /// Lets the whole fleet join.
    pub token: Token,
    /// The fleet's domain.
    pub domain: Domain,
    operator: Operator,
    nodes: Nodes,
    _machine: Machine,
}

impl Cluster {
    /// Starts the nodes, and makes a cluster of them with a token for so many clients.
    pub async fn found(program: &Path, work: &Path, seed: u64, clients: u32) -> Result<Self, Trouble> {
        let machine = Machine::open(work, Seeded::new(seed, "operator")).await?;
        let env = machine.env();
        let nodes = Nodes::start(program, work)?;
        let candidates = nodes.candidates();
        let root = Signer::from_seed(&env.rng.array());
        let admin_seed: [u8; 32] = env.rng.array();
        let keyset = init(&env, "load", &candidates, &root, admin_seed, "operator").await?;
        let addresses = candidates.into_iter().map(|candidate| candidate.address).collect();
        let trust = Trusted { root: root.public(), keyset_floor: keyset.version(), addresses };
        let operator = Operator::new(&env, admin_seed, trust)?;
        let storage = nodes.storage(RepositoryId(env.rng.array()));
        let storage = operator.add_storage(storage, &credential(), false).await?;
        let secrets = operator.make_secrets();
        let domain = operator.add_domain("fleet", &storage, Trust::Trusting, &secrets).await?;
        let expires = env.clock.now().plus_secs(TOKEN_SECS);
        let new = NewToken { name: "fleet".into(), uses: clients, expires, domain: domain.id, tags: Vec::new() };
        let token = operator.add_token(new, &secrets).await?;
        Ok(Self { env, token, domain, operator, nodes, _machine: machine })
    }

    /// The processes of the orchestrators.
    pub fn orchestrators(&self) -> Vec<u32> {
        self.nodes.orchestrators()
    }

    /// Clients with an open connection, by what the orchestrators say.
    pub async fn connected(&self) -> Result<u64, Trouble> {
        let mut sum = 0;
        for (orchestrator, status) in self.operator.status().await? {
            let status = status.map_err(|failure| Trouble(format!("orchestrator {}: {failure}", orchestrator.name)))?;
            sum += status.clients_connected;
        }
        Ok(sum)
    }

    /// Waits until so many clients are connected.
    pub async fn await_connected(&self, clients: u32) -> Result<(), Trouble> {
        let began = Instant::now();
        loop {
            let connected = self.connected().await?;
            if connected >= u64::from(clients) {
                return Ok(());
            }
            if began.elapsed() > CONNECT_PATIENCE {
                return Err(Trouble(format!("only {connected} of {clients} live clients are connected")));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Signs another record of the domain, as an operator does who changes something.
    /// Returns its version.
    pub async fn change_policy(&self, number: u32) -> Result<u64, Trouble> {
        // Levels 1 to 9, each another one than before.
        let codec = Codec::Zstd(i32::try_from(number % 9).unwrap_or_default() + 1);
        self.operator.submit(vec![Payload::Domain(Domain { codec, ..self.domain.clone() })]).await?;
        let records = self.operator.records(vec![Subject::Domain(self.domain.id)]).await?;
        let version = records.first().map(|record| record.version());
        version.ok_or_else(|| Trouble("the domain that was just changed is not there".into()))
    }
}

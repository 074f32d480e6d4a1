//! Mutual TLS 1.3 as the product speaks it, between nodes with keys of one day.

use std::{sync::Arc, time::Duration};

use actors::{identity::Identity, net::tls::Credentials};
use env::Env;

/// How long a silent connection lives: a dead peer is noticed within it.
const IDLE: Duration = Duration::from_secs(6);

/// What a node needs to accept and make connections, with a new key and certificate.
pub fn identity(env: &Env) -> anyhow::Result<(quinn::ServerConfig, quinn::ClientConfig)> {
    let credentials = Credentials::new(&Identity::of_client(env.rng.array(), env.rng.array()))?;
    let mut transport = quinn::TransportConfig::default();
    transport.max_idle_timeout(Some(IDLE.try_into()?));
    transport.keep_alive_interval(Some(IDLE / 3));
    let transport = Arc::new(transport);
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(credentials.server()?));
    server.transport_config(Arc::clone(&transport));
    let mut client = quinn::ClientConfig::new(Arc::new(credentials.client(None)?));
    client.transport_config(transport);
    Ok((server, client))
}

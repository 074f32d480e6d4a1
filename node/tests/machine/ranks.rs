//! What becomes of connections when it changes who their callers are.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actors::{
    identity::Identity,
    net::{Connections, Endpoint, Incoming, Pace, Peer, Rank, Ranks, Service},
};
use async_trait::async_trait;
use node::env::{CacheSettings, EnvSettings, RealEnv};
use protocol::{
    failure::{Code, Failure},
    ids::PublicKey,
    wire::{self, Answer},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers every call in the same way, and says of everyone the same.
struct Desk(Mutex<Option<Rank>>);

impl Ranks for Desk {
    fn rank(&self, _: &PublicKey) -> Option<Rank> {
        *self.0.lock().unwrap()
    }
}

#[async_trait]
impl Service for Desk {
    async fn answer(&self, _: Incoming) -> Answer {
        Err(Failure::retry("answered"))
    }
    fn gossip(&self, _: &PublicKey, _: Vec<u8>) {}
    fn left(&self, _: &PublicKey, _: u64) {}
}

async fn is_answered(peer: &Peer) -> bool {
    peer.call(wire::Status {}, PATIENCE).await.unwrap_err().message == "answered"
}

#[tokio::test]
async fn a_member_stays_while_nobody_can_tell_who_it_is_and_goes_when_it_is_one_no_more() {
    let home = tempfile::tempdir().unwrap();
    let cache = CacheSettings { directory: None, memory_bytes: 1 << 20, disk_bytes: 0 };
    let settings = EnvSettings { data: home.path().join("data"), cache };
    let real = RealEnv::open(&settings).await.unwrap();
    let env = real.env();
    let identity = Identity::load_or_create(&*env.disk, &*env.rng).unwrap();
    let bind = |identity: &Identity| Endpoint::bind(env, identity, "127.0.0.1:0".parse().unwrap(), true).unwrap();
    let (here, there) = (bind(&identity), bind(&Identity::of_operator([7; 32])));

    let (desk, connections) = (Arc::new(Desk(Mutex::new(Some(Rank::Member)))), Connections::default());
    let becomes = |rank: Option<Rank>| {
        *desk.0.lock().unwrap() = rank;
        connections.review(&*desk);
    };
    let serving = tokio::spawn(actors::net::server::serve(here.clone(), desk.clone(), connections.clone()));
    let address = here.address().unwrap().to_string();
    let peer = there.dial(&address, Some(identity.key()), Pace::Busy, PATIENCE).await.unwrap();
    assert!(is_answered(&peer).await);

    // An orchestrator that starts again, or was removed, has no records to look into.
    becomes(None);
    assert!(is_answered(&peer).await);
    becomes(Some(Rank::Member));
    assert!(is_answered(&peer).await);

    becomes(Some(Rank::Stranger));
    let refused = peer.call(wire::Status {}, PATIENCE).await.unwrap_err();
    assert_eq!(refused.code, Code::Denied, "{refused}");
    assert!(refused.message.contains("a newer keyset does not name it"), "{refused}");

    here.close().await;
    serving.await.unwrap();
    real.close().await;
}

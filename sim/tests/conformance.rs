//! The simulated storage does what every storage has to do: it passes the same
//! checks as real ones.
#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use conformance::{Raw, Subject};
use env::Clock;
use protocol::{
    ids::RepositoryId,
    records::{Storage, StorageCredential},
    wire::PutTicket,
};
use sim::{
    env::store::{ObjectStore, Request, ticket},
    kernel::fault::{Method, Node},
    world::{Machine, Options, World},
};

/// Hands requests to the storage past every carrier.
struct SimRaw {
    store: Arc<ObjectStore>,
    clock: Arc<dyn Clock>,
    host: String,
}

impl SimRaw {
    fn status(&self, request: Request) -> Option<u16> {
        self.store.execute(Node(0), request, self.clock.now()).map(|reply| reply.status)
    }
}

#[async_trait]
impl Raw for SimRaw {
    async fn put(&self, ticket: &PutTicket, body: Bytes) -> Option<u16> {
        let (target, headers) = (format!("{}{}", self.host, ticket.path), ticket.headers.clone());
        self.status(Request { method: Method::Put, target, query: None, headers, body, range: None })
    }

    async fn get(&self, url: &str) -> u16 {
        let (target, query) = match ticket::parse_url(url) {
            Some((target, query)) => (target, Some(query)),
            None => (url.split_once("://").unwrap().1.to_owned(), None),
        };
        let request =
            Request { method: Method::Get, target, query, headers: Vec::new(), body: Bytes::new(), range: None };
        self.status(request).unwrap()
    }
}

#[test]
fn the_simulated_storage_conforms() {
    let storage = Storage {
        repository: RepositoryId([1; 16]),
        name: "under test".into(),
        endpoint: "http://storage:9000".into(),
        region: "sim".into(),
        bucket: "backups".into(),
        prefix: "some/prefix".into(),
        virtual_host: false,
        authorities: Vec::new(),
    };
    let credential = StorageCredential::new("owner", "the owner's secret");
    let mut world = World::new(1, Options::default()).unwrap();
    let store = world.store().clone();
    store.allow(&credential, true);
    world.add_node(Machine::new("tester", Ipv4Addr::new(10, 0, 0, 1).into()), move |env, info| {
        let (store, storage, credential) = (store.clone(), storage.clone(), credential.clone());
        async move {
            anyhow::ensure!(info.life == 1, "the checks have failed before");
            let raw = Box::new(SimRaw { store, clock: env.clock.clone(), host: "storage:9000".into() });
            conformance::run(Subject { storages: env.storages, clock: env.clock, raw, storage, credential }).await;
            Ok(())
        }
    });
    world.boot_all();
    assert!(world.run_until(Duration::from_secs(600), |world| !world.exits().is_empty()), "it did not end");
    assert!(world.panics().is_empty(), "{:?}", world.panics());
    assert_eq!(world.exits()[0].error, None);
}

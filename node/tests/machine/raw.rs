//! Sends requests that a carrier refuses to send.

use async_trait::async_trait;
use bytes::Bytes;
use conformance::Raw;
use protocol::{records::Storage, wire::PutTicket};
use reqx::{
    TlsRootStore,
    prelude::{Client, RedirectPolicy, RetryPolicy, StatusPolicy},
};

/// A sender without scruples, for one server.
pub struct HttpRaw(Client);

impl HttpRaw {
    pub fn new(storage: &Storage) -> Self {
        let mut client = Client::builder(&storage.endpoint)
            .retry_policy(RetryPolicy::disabled())
            .redirect_policy(RedirectPolicy::none())
            .default_status_policy(StatusPolicy::Response);
        for authority in &storage.authorities {
            client = client.tls_root_store(TlsRootStore::Specific).tls_root_ca_der(authority.clone());
        }
        Self(client.build().unwrap())
    }
}

#[async_trait]
impl Raw for HttpRaw {
    async fn put(&self, ticket: &PutTicket, body: Bytes) -> Option<u16> {
        let mut request = self.0.put(ticket.path.clone());
        for (name, value) in &ticket.headers {
            request = request.try_header(name, value).unwrap();
        }
        Some(request.body(body).send_response().await.ok()?.status().as_u16())
    }

    async fn get(&self, url: &str) -> u16 {
        self.0.get(url.to_string()).send_response().await.unwrap().status().as_u16()
    }
}

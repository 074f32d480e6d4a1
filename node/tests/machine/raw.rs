//! Sends requests that a carrier refuses to send.

use bytes::Bytes;
use protocol::wire::PutTicket;
use reqx::prelude::{Client, RedirectPolicy, RetryPolicy, StatusPolicy};

/// A sender without scruples, for one server.
pub struct Raw(Client);

impl Raw {
    pub fn new(origin: &str) -> Self {
        let client = Client::builder(origin)
            .retry_policy(RetryPolicy::disabled())
            .redirect_policy(RedirectPolicy::none())
            .default_status_policy(StatusPolicy::Response)
            .build()
            .unwrap();
        Self(client)
    }

    /// Sends `body` with exactly the path and headers of `ticket`, and returns the
    /// status; None if the server cut the connection instead.
    pub async fn put(&self, ticket: &PutTicket, body: impl Into<Bytes>) -> Option<u16> {
        let mut request = self.0.put(ticket.path.clone());
        for (name, value) in &ticket.headers {
            request = request.try_header(name, value).unwrap();
        }
        Some(request.body(body).send_response().await.ok()?.status().as_u16())
    }

    /// Sends a GET and returns the status.
    pub async fn get(&self, url: &str) -> u16 {
        self.0.get(url.to_string()).send_response().await.unwrap().status().as_u16()
    }
}

/// The ticket with one header set, added or, with None, dropped.
pub fn with_header(ticket: &PutTicket, name: &str, value: Option<&str>) -> PutTicket {
    let mut changed = ticket.clone();
    changed.headers.retain(|(given, _)| given != name);
    changed.headers.extend(value.map(|value| (name.to_string(), value.to_string())));
    changed
}

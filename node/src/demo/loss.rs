//! The loss of an orchestrator, in the middle of a backup.
//!
//! The moment is chosen by what was stored, not by a clock: once the first packs
//! are stored, the next upload waits until the orchestrator that the client is
//! using is dead. A backup that is too small for that loses it at the latest before
//! its commit object, which still needs an orchestrator to become a snapshot.
//! Nothing else about the uploads changes.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use actors::client::Link;
use async_trait::async_trait;
use bytes::Bytes;
use env::{Carrier, Clock, Steward, Storages, store::StoreError};
use protocol::{
    records::{Storage, StorageCredential},
    wire::{PutTicket, ReadTicket},
};
use tokio::sync::{Mutex, oneshot};

use super::stage::Stage;
use crate::cli::Trouble;

/// How long the client may be between two orchestrators when it is to lose one.
const ATTEMPTS_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// Tells when the moment has come; goes on when the answer is dropped.
type Ask = oneshot::Sender<oneshot::Sender<()>>;

/// Bytes stored before the loss: four packs, or less of a small source.
const BYTES_STORED: u64 = 64 << 20;
/// Of a small source: what it comes to in the storage is often half of it, so this is the middle.
const SOURCE_SHARE: u64 = 5;

/// When an orchestrator is lost.
pub struct Moment {
    bytes_min: u64,
    stored: AtomicU64,
    ask: Mutex<Option<Ask>>,
}

impl Moment {
    /// Somewhere in the backup of a source of this many bytes. The receiver hears of it.
    pub fn new(bytes_source: u64) -> (Arc<Self>, oneshot::Receiver<oneshot::Sender<()>>) {
        let (ask, asked) = oneshot::channel();
        let bytes_min = BYTES_STORED.min(bytes_source / SOURCE_SHARE);
        (Arc::new(Self { bytes_min, stored: AtomicU64::new(0), ask: Mutex::new(Some(ask)) }), asked)
    }

    async fn before_upload(&self, path: &str) {
        let stored = self.stored.load(Relaxed);
        let middle = stored > 0 && stored >= self.bytes_min;
        if !middle && !path.contains("/snapshot/") {
            return;
        }
        // Held until it is done, so that no upload slips past.
        let mut ask = self.ask.lock().await;
        if let Some(ask) = ask.take() {
            let (done, wait) = oneshot::channel();
            if ask.send(done).is_ok() {
                // Dropped by whoever was asked is as good as an answer.
                let _ = wait.await;
            }
        }
    }

    /// Bytes stored so far.
    pub fn stored(&self) -> u64 {
        self.stored.load(Relaxed)
    }
}

/// Storages whose uploads tell the moment.
pub struct WatchedStorages {
    /// The real ones.
    pub inner: Arc<dyn Storages>,
    /// What is told.
    pub moment: Arc<Moment>,
}

impl Storages for WatchedStorages {
    fn carrier(&self, storage: &Storage) -> Result<Arc<dyn Carrier>, StoreError> {
        Ok(Arc::new(WatchedCarrier { inner: self.inner.carrier(storage)?, moment: self.moment.clone() }))
    }
    fn steward(&self, storage: &Storage, credential: &StorageCredential) -> Result<Arc<dyn Steward>, StoreError> {
        self.inner.steward(storage, credential)
    }
}

struct WatchedCarrier {
    inner: Arc<dyn Carrier>,
    moment: Arc<Moment>,
}

#[async_trait]
impl Carrier for WatchedCarrier {
    async fn put(&self, ticket: &PutTicket, body: Bytes) -> Result<(), StoreError> {
        self.moment.before_upload(&ticket.path).await;
        self.inner.put(ticket, body).await?;
        self.moment.stored.fetch_add(ticket.len, Relaxed);
        Ok(())
    }
    async fn get(&self, ticket: &ReadTicket, range: Option<Range<u64>>) -> Result<Bytes, StoreError> {
        self.inner.get(ticket, range).await
    }
}

/// An orchestrator that was killed.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// When, by the monotonic clock.
    pub at: Duration,
    /// Bytes that the backup had stored by then.
    pub bytes_stored: u64,
}

/// Waits for the moment, and kills the orchestrator that the client is using.
pub async fn lose(
    asked: oneshot::Receiver<oneshot::Sender<()>>,
    moment: &Moment,
    link: &Link,
    stage: &mut Stage,
    clock: &dyn Clock,
) -> Result<Option<Loss>, Trouble> {
    let Ok(_done) = asked.await else { return Ok(None) };
    for _ in 0..ATTEMPTS_MAX {
        if let Some(orchestrator) = link.report().connected {
            let at = clock.monotonic();
            let killed = stage.kill_orchestrator(&orchestrator.key)?;
            return Ok(killed.map(|(name, address)| Loss {
                name,
                address: address.to_string(),
                at,
                bytes_stored: moment.stored(),
            }));
        }
        clock.sleep(PAUSE).await;
    }
    Ok(None)
}

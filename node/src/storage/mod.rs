//! The built-in storage: one directory with an S3 face, for a first try.
//!
//! Invariant: an object is visible only when its bytes have the length and hash
//! that its ticket signed, and are on the disk; it never changes afterwards. What
//! a request asks for that this storage does not have is refused, never ignored.
//!
//! `StorageActor` owns the listener. `gate` refuses requests by their headers,
//! the `s3s` crate checks signatures and speaks S3, `face` answers, and
//! `directory` keeps the objects.

mod directory;
mod draft;
mod face;
mod gate;
mod listener;
mod tls;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use ::env::{Blocking, Clock, run_blocking};
use protocol::records::StorageCredential;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};

#[cfg(fuzzing)]
pub use self::gate::check as check_request;
pub use self::tls::TlsFiles;
use self::{directory::Directory, listener::Listener};

/// How long requests that are being served may take to finish when the storage stops.
const GRACE: Duration = Duration::from_secs(5);
/// How often a directory that is in use is tried, and the pause between two tries.
const OPEN_TRIES: usize = 10;
const OPEN_PAUSE: Duration = Duration::from_millis(100);

/// What the storage serves, and where.
#[derive(Debug, Clone)]
pub struct StorageSettings {
    /// Where the objects lie. Made, for its owner only, if it does not exist.
    pub directory: PathBuf,
    /// A loopback address, or with TLS any; port 0 takes any free one.
    pub listen: SocketAddr,
    /// With what it speaks TLS. They are read at every start, so a restart renews them.
    pub tls: Option<TlsFiles>,
    /// A bucket that exists from the start.
    pub bucket: String,
    /// Who may do everything here.
    pub credential: StorageCredential,
}

/// What a `StorageActor` is started with.
pub struct StorageArguments {
    /// What to serve.
    pub settings: StorageSettings,
    /// For the disk's work.
    pub blocking: Arc<dyn Blocking>,
    /// For pauses.
    pub clock: Arc<dyn Clock>,
}

/// What a `StorageActor` can be told.
#[derive(Debug)]
pub enum StorageMessage {
    /// Tells the address that clients connect to.
    Address(RpcReplyPort<SocketAddr>),
    /// The listener ended by itself: the actor fails, for its supervisor to see.
    Ended,
}

/// What a `StorageActor` remembers.
pub struct StorageState {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    // Ends the listener, and with it all connections, when it is dropped.
    listener: JoinSet<()>,
}

/// Serves one directory. It starts only when it is ready to be connected to; when
/// it is stopped it finishes what it is doing, when it is killed nothing goes on.
#[derive(Debug)]
pub struct StorageActor;

impl Actor for StorageActor {
    type Msg = StorageMessage;
    type State = StorageState;
    type Arguments = StorageArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<StorageMessage>,
        arguments: StorageArguments,
    ) -> Result<StorageState, ActorProcessingErr> {
        let StorageArguments { settings, blocking, clock } = arguments;
        if settings.tls.is_none() && !settings.listen.ip().is_loopback() {
            let reason = format!(
                "a storage that speaks plain HTTP listens on loopback only, not on {}: use 127.0.0.1, or give it a certificate",
                settings.listen
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason).into());
        }
        let files = settings.tls.clone();
        let tls = run_blocking(&*blocking, move || files.map(|files| files.acceptor()).transpose()).await?;
        let directory = open_patiently(&settings, &*blocking, &*clock).await?;
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let listener = Listener {
            listener,
            tls,
            service: face::service(Arc::new(directory), blocking, &settings.credential),
            clock,
            stopping,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            listener.serve(GRACE).await;
            // An actor that is gone needs no news.
            let _ = myself.send_message(StorageMessage::Ended);
        });
        tracing::info!(%address, directory = %settings.directory.display(), "the storage serves");
        Ok(StorageState { address, stop, listener: tasks })
    }

    async fn handle(
        &self,
        _: ActorRef<StorageMessage>,
        message: StorageMessage,
        state: &mut StorageState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            StorageMessage::Address(reply) => {
                // Whoever asked may have gone.
                let _ = reply.send(state.address);
                Ok(())
            }
            StorageMessage::Ended => Err("the storage's listener has ended".into()),
        }
    }

    async fn post_stop(&self, _: ActorRef<StorageMessage>, state: &mut StorageState) -> Result<(), ActorProcessingErr> {
        let _ = state.stop.send(true);
        if timeout(GRACE * 2, state.listener.join_next()).await.is_err() {
            tracing::warn!("the storage's connections did not end in time; they are cut");
        }
        Ok(())
    }
}

/// Opens the directory. Disk work that an actor before this one had started still
/// holds it until it is done, so one that is in use is tried again a few times.
async fn open_patiently(
    settings: &StorageSettings,
    blocking: &dyn Blocking,
    clock: &dyn Clock,
) -> io::Result<Directory> {
    let mut tries = 0;
    loop {
        let (path, bucket) = (settings.directory.clone(), settings.bucket.clone());
        let opened = run_blocking(blocking, move || {
            let directory = Directory::open(&path)?;
            directory.create_bucket(&bucket)?;
            io::Result::Ok(directory)
        });
        tries += 1;
        let place = settings.directory.display();
        match opened.await {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(error.kind(), format!("{place} cannot hold a storage: {error}")));
            }
            Err(error) if tries == OPEN_TRIES => {
                return Err(io::Error::new(error.kind(), format!("another process serves {place} already")));
            }
            Err(_) => clock.sleep(OPEN_PAUSE).await,
            Ok(directory) => return Ok(directory),
        }
    }
}

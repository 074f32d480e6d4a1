//! The converging records of an orchestrator: kept on disk, and reconciled with a
//! peer that has others.
//!
//! Invariant: a record is on disk before anyone is told that it was taken, and what it
//! replaced is gone with the same transaction. This actor is the only writer of the
//! shared set.

mod exchange;

use std::{collections::BTreeSet, sync::Arc};

use control::{
    reconcile::Direction,
    records::{RecordSet, Sifted},
};
use env::{Blocking, Env, run_blocking};
use probe::Plant;
use protocol::{
    codec,
    failure::Failure,
    ids::{ClusterId, Hash, NodeId, PublicKey},
    limits,
    reconcile::{Part, Prefix},
    records::Record,
    sign::Signed,
    wire,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort};
use redb::{Durability, ReadableTable, TableDefinition};
use tokio::sync::watch;

use self::exchange::Exchange;
use crate::{
    db::{self, Db},
    net::Peers,
    shared::Shared,
    tasks::Tasks,
};

const DATABASE: db::What = db::What {
    name: "records",
    remedy: "stop this node, move the file away and start it again: it then fetches the records from the other \
             orchestrators. If there is no other, restore the data directory from a copy",
};
/// Hash of a record to the record: `Signed` in postcard.
const RECORDS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("records");

/// A handle to the records. Clones are cheap.
#[derive(Clone)]
pub struct Records {
    set: Shared<RecordSet>,
    cluster: ClusterId,
    blocking: Arc<dyn Blocking>,
    actor: ActorRef<Message>,
    changed: watch::Receiver<u64>,
}

impl Records {
    /// Takes over what `load` has read, and starts the actor.
    pub async fn start(
        env: &Env,
        loaded: Loaded,
        me: NodeId,
        peers: Peers,
        supervisor: &ActorCell,
    ) -> Result<Self, Failure> {
        let (change, changed) = watch::channel(0);
        let Loaded { set, database, cluster } = loaded;
        let state =
            State { set: set.clone(), database, me, peers, exchanging: BTreeSet::new(), change, tasks: Tasks::new() };
        let blocking = env.blocking.clone();
        let keeper = Keeper { cluster, blocking: blocking.clone(), changed: changed.clone() };
        let (actor, _) = Actor::spawn_linked(None, keeper, state, supervisor.clone())
            .await
            .map_err(|error| Failure::internal(format!("cannot start the records: {error}")))?;
        Ok(Self { set, cluster, blocking, actor, changed })
    }

    /// The set, for readers.
    pub fn set(&self) -> &Shared<RecordSet> {
        &self.set
    }

    /// Counts changes of the set.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// Checks records from outside. All are good, or none is taken.
    pub fn open(&self, records: Vec<Signed>) -> Result<Vec<Record>, Failure> {
        open(records, &self.cluster)
    }

    /// Adds records. They are on disk when this returns.
    pub async fn insert(&self, records: Vec<Record>) -> Result<(), Failure> {
        ractor::call!(self.actor, |reply| Message::Insert(records, reply))
            .map_err(|_| Failure::retry("the records are restarting on this orchestrator: try again"))?
    }

    /// Checks and adds the records of a peer: all, or none. Its signatures are checked
    /// off the asynchronous threads, and only those of records that are not here yet.
    pub async fn take(&self, mut records: Vec<Signed>) -> Result<(), Failure> {
        {
            let set = self.set.read();
            records.retain(|signed| set.get(&signed.hash()).is_none());
        }
        let cluster = self.cluster;
        let records = run_blocking(&*self.blocking, move || open(records, &cluster)).await?;
        if records.is_empty() { Ok(()) } else { self.insert(records).await }
    }

    /// Answers a peer that compares its records with those here.
    pub fn answer(&self, call: &wire::Reconcile) -> Result<Vec<Part>, Failure> {
        self.set.read().by_hash().answer(&call.probes)
    }

    /// Gives a peer the records that it asks for.
    pub fn give(&self, call: &wire::Fetch) -> Result<Vec<Signed>, Failure> {
        if call.hashes.len() > limits::RECORDS_PER_FRAME_MAX {
            return Err(Failure::invalid(format!("{} records at once are too many", call.hashes.len())));
        }
        Ok(self.set.read().fetch(&call.hashes).map(|record| record.signed().clone()).collect())
    }

    /// Fetches what a peer has more in these ranges, and pushes what it has less. One
    /// at a time with each peer: while one is under way, this does nothing.
    pub fn reconcile(&self, peer: NodeId, ranges: Vec<Prefix>) {
        let _ = self.actor.cast(Message::Reconcile(peer, ranges));
    }
}

fn open(records: Vec<Signed>, cluster: &ClusterId) -> Result<Vec<Record>, Failure> {
    if records.len() > limits::RECORDS_PER_FRAME_MAX {
        return Err(Failure::invalid(format!("{} records at once are too many", records.len())));
    }
    records.into_iter().map(|signed| Ok(Record::open(signed, cluster)?)).collect()
}

/// The records as read from disk, before the actor runs.
pub struct Loaded {
    /// The set.
    pub set: Shared<RecordSet>,
    database: Db,
    cluster: ClusterId,
}

impl Loaded {
    /// Reads the records of the cluster with this root key.
    pub async fn load(env: &Env, root: PublicKey) -> Result<Self, Failure> {
        let cluster = ClusterId::of_root(&root);
        let database = Db::open(env, DATABASE).await?;
        let read = move |transaction: &redb::WriteTransaction| {
            let mut set = RecordSet::new(cluster, root);
            for entry in transaction.open_table(RECORDS)?.iter()? {
                let (hash, bytes) = entry?;
                let record = codec::decode::<Signed>("record", bytes.value())
                    .and_then(|signed| Record::reopen(signed, &cluster))
                    .map_err(|error| redb::Error::Corrupted(error.to_string()))?;
                if record.hash().0 != *hash.value() {
                    return Err(redb::Error::Corrupted("a record is not the one that was kept".into()));
                }
                set.insert(record);
            }
            Ok(set)
        };
        // A write transaction, since the first one makes the table.
        let set = database.write(Durability::Immediate, read).await.map_err(|error| database.failure(&error))?;
        Ok(Self { set: Shared::new(set), database, cluster })
    }
}

pub enum Message {
    Insert(Vec<Record>, RpcReplyPort<Result<(), Failure>>),
    Reconcile(NodeId, Vec<Prefix>),
    Reconciled(NodeId),
}

struct Keeper {
    cluster: ClusterId,
    blocking: Arc<dyn Blocking>,
    changed: watch::Receiver<u64>,
}

struct State {
    set: Shared<RecordSet>,
    database: Db,
    me: NodeId,
    peers: Peers,
    /// The peers with which an exchange is under way.
    exchanging: BTreeSet<NodeId>,
    change: watch::Sender<u64>,
    tasks: Tasks,
}

impl Actor for Keeper {
    type Msg = Message;
    type State = State;
    type Arguments = State;

    async fn pre_start(&self, _: ActorRef<Message>, state: State) -> Result<State, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Insert(records, reply) => {
                state.keep(records).await?;
                let _ = reply.send(Ok(()));
            }
            Message::Reconcile(peer, ranges) => {
                if state.exchanging.insert(peer) {
                    let records = Records {
                        set: state.set.clone(),
                        cluster: self.cluster,
                        blocking: self.blocking.clone(),
                        actor: myself.clone(),
                        changed: self.changed.clone(),
                    };
                    // The two may find out at the same moment: they walk towards each other.
                    let direction = if state.me < peer { Direction::Up } else { Direction::Down };
                    let exchange = Exchange { records, peers: state.peers.clone(), peer };
                    state.tasks.spawn(async move {
                        exchange.run(ranges, direction).await;
                        let _ = myself.cast(Message::Reconciled(peer));
                    });
                }
            }
            Message::Reconciled(peer) => _ = state.exchanging.remove(&peer),
        }
        Ok(())
    }
}

impl State {
    /// Writes records that are new to disk, then adds them to the set. A failed write
    /// ends the actor.
    async fn keep(&mut self, records: Vec<Record>) -> Result<(), ActorProcessingErr> {
        let Sifted { fresh, replaced } = self.set.read().sift(records);
        if fresh.is_empty() {
            return Ok(());
        }
        let rows: Vec<(Hash, Vec<u8>)> =
            fresh.iter().map(|record| (*record.hash(), codec::encode(record.signed()))).collect();
        let write = move |transaction: &redb::WriteTransaction| {
            let mut table = transaction.open_table(RECORDS)?;
            for hash in &replaced {
                table.remove(&hash.0)?;
            }
            for (hash, bytes) in &rows {
                table.insert(&hash.0, bytes.as_slice())?;
            }
            Ok(())
        };
        let durability = if probe::planted(Plant::RecordsUnsynced) { Durability::None } else { Durability::Immediate };
        let written = self.database.write(durability, write).await;
        written.map_err(|error| self.database.failure(&error).message)?;
        self.set.write(|set| {
            fresh.into_iter().for_each(|record| _ = set.insert(record));
        });
        self.change.send_modify(|count| *count += 1);
        Ok(())
    }
}

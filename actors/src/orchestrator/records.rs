//! The converging records of an orchestrator: kept on disk, and pulled when a peer
//! has others.
//!
//! Invariant: a record is on disk before anyone is told that it was taken. This
//! actor is the only writer of the shared set.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use control::records::{Inserted, RecordSet};
use env::{Env, run_blocking};
use protocol::{
    codec,
    failure::Failure,
    ids::{ClusterId, Hash, NodeId, PublicKey},
    limits,
    records::Record,
    sign::Signed,
    wire,
};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, RpcReplyPort};
use redb::{Database, ReadableTable, TableDefinition};
use tokio::sync::watch;

use crate::{db, net::Peers, shared::Shared, tasks::Tasks};

const NAME: &str = "records";
/// Hash of a record to the record: `Signed` in postcard.
const RECORDS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("records");
/// How long a pull may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A handle to the records. Clones are cheap.
#[derive(Clone)]
pub struct Records {
    set: Shared<RecordSet>,
    cluster: ClusterId,
    actor: ActorRef<Message>,
    changed: watch::Receiver<u64>,
}

impl Records {
    /// Takes over what `load` has read, and starts the actor.
    pub async fn start(env: &Env, loaded: Loaded, peers: Peers, supervisor: &ActorCell) -> Result<Self, Failure> {
        let (change, changed) = watch::channel(0);
        let Loaded { set, database, cluster } = loaded;
        let state = State {
            env: env.clone(),
            set: set.clone(),
            database: Arc::new(database),
            cluster,
            peers,
            pulling: BTreeSet::new(),
            change,
            tasks: Tasks::new(),
        };
        let (actor, _) = Actor::spawn_linked(None, Keeper, state, supervisor.clone())
            .await
            .map_err(|error| Failure::internal(format!("cannot start the records: {error}")))?;
        Ok(Self { set, cluster, actor, changed })
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
        if records.len() > limits::RECORDS_PER_FRAME_MAX {
            return Err(Failure::invalid(format!("{} records at once are too many", records.len())));
        }
        records.into_iter().map(|signed| Ok(Record::open(signed, &self.cluster)?)).collect()
    }

    /// Adds records. They are on disk when this returns.
    pub async fn insert(&self, records: Vec<Record>) -> Result<(), Failure> {
        ractor::call!(self.actor, |reply| Message::Insert(records, reply))
            .map_err(|_| Failure::retry("the records are restarting on this orchestrator: try again"))?
    }

    /// Fetches what a peer has more in these shards.
    pub fn pull(&self, peer: NodeId, shards: Vec<u8>) {
        let _ = self.actor.cast(Message::Pull(peer, shards));
    }
}

/// The records as read from disk, before the actor runs.
pub struct Loaded {
    /// The set.
    pub set: Shared<RecordSet>,
    database: Database,
    cluster: ClusterId,
}

impl Loaded {
    /// Reads the records of the cluster with this root key.
    pub fn load(env: &Env, root: PublicKey) -> Result<Self, Failure> {
        let cluster = ClusterId::of_root(&root);
        let database = db::open(&*env.disk, NAME)?;
        let mut set = RecordSet::new(cluster, root);
        let mut read = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            {
                let mut table = transaction.open_table(RECORDS)?;
                for entry in table.iter()? {
                    let record = codec::decode::<Signed>("record", entry?.1.value())
                        .and_then(|signed| Record::open(signed, &cluster))
                        .map_err(|error| redb::Error::Corrupted(error.to_string()))?;
                    set.insert(record);
                }
                // Superseded records are left in the table while the node runs.
                let kept: BTreeSet<Hash> = set.iter().map(|record| *record.hash()).collect();
                table.retain(|hash, _| kept.contains(&Hash(*hash)))?;
            }
            Ok(transaction.commit()?)
        };
        read().map_err(|error| db::failure(NAME, &*env.disk, &error))?;
        Ok(Self { set: Shared::new(set), database, cluster })
    }
}

pub enum Message {
    Insert(Vec<Record>, RpcReplyPort<Result<(), Failure>>),
    Pull(NodeId, Vec<u8>),
    Pulled(NodeId, Vec<Record>),
}

struct Keeper;

struct State {
    env: Env,
    set: Shared<RecordSet>,
    database: Arc<Database>,
    cluster: ClusterId,
    peers: Peers,
    pulling: BTreeSet<NodeId>,
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
            Message::Pull(peer, shards) => {
                // One at a time from each peer; the next gossip round asks again.
                if state.pulling.insert(peer) {
                    state.pull(myself, peer, shards);
                }
            }
            Message::Pulled(peer, records) => {
                state.pulling.remove(&peer);
                state.keep(records).await?;
            }
        }
        Ok(())
    }
}

impl State {
    /// Writes records that are new to disk, then adds them to the set. A failed write
    /// ends the actor.
    async fn keep(&mut self, records: Vec<Record>) -> Result<(), ActorProcessingErr> {
        let fresh: Vec<Record> = {
            let set = self.set.read();
            records.into_iter().filter(|record| set.judge(record) == Inserted::New).collect()
        };
        if fresh.is_empty() {
            return Ok(());
        }
        let rows: Vec<([u8; 32], Vec<u8>)> =
            fresh.iter().map(|record| (record.hash().0, codec::encode(record.signed()))).collect();
        let database = self.database.clone();
        let write = move || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            {
                let mut table = transaction.open_table(RECORDS)?;
                for (hash, bytes) in &rows {
                    table.insert(hash, bytes.as_slice())?;
                }
            }
            Ok(transaction.commit()?)
        };
        run_blocking(&*self.env.blocking, write).await?;
        self.set.write(|set| {
            for record in &fresh {
                set.insert(record.clone());
            }
        });
        self.change.send_modify(|count| *count += 1);
        Ok(())
    }

    fn pull(&self, myself: ActorRef<Message>, peer: NodeId, shards: Vec<u8>) {
        let (peers, set, cluster) = (self.peers.clone(), self.set.clone(), self.cluster);
        self.tasks.spawn(async move {
            let mut records = Vec::new();
            for shard in shards {
                let have = set.read().hashes(shard);
                let Ok(pulled) = peers.call(peer, wire::Pull { have, shard }, PATIENCE).await else { break };
                // A record that does not verify is left out: its sender is of no use to us.
                records.extend(pulled.into_iter().filter_map(|signed| Record::open(signed, &cluster).ok()));
            }
            let _ = myself.cast(Message::Pulled(peer, records));
        });
    }
}

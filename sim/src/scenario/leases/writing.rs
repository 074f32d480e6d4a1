//! What a client writes by hand: commit objects, packs and index segments.

use bytes::Bytes;
use protocol::{
    commands::Lease,
    format::{
        commit::{CommitBody, CommitObject},
        pack::PackWriter,
        segment::{self, PackRow, Row},
        tree::Blob,
    },
    ids::ChunkId,
    names::{ObjectKey, ObjectName, Place},
    wire,
};

use super::roles::Client;

impl Client {
    pub(super) fn body(&self, lease: &Lease) -> CommitBody {
        CommitBody {
            repository: lease.repository,
            domain: lease.domain,
            client: self.hand.enrollment.client,
            lease: lease.id,
            sequence: lease.sequence,
            previous: lease.previous,
            lineage: lease.lineage,
            complete: true,
            list: None,
            segments: Vec::new(),
            bytes_stored: 1,
            manifest: Blob(self.hand.env.rng.array::<32>().to_vec()),
        }
    }

    /// Stores a commit object; the call that would make it a snapshot. None if the lease
    /// has ended meanwhile.
    pub(super) async fn store_commit(
        &mut self,
        lease: &Lease,
        change: impl FnOnce(&mut CommitBody),
    ) -> anyhow::Result<Option<wire::Commit>> {
        let mut body = self.body(lease);
        change(&mut body);
        let bytes = CommitObject::seal(&body, &self.hand.profile.commit_signer());
        let key = self.hand.name(lease, Place::Snapshot(body.client), &bytes);
        if !self.store(lease, key, bytes).await? {
            return Ok(None);
        }
        Ok(Some(wire::Commit { repository: lease.repository, commit: body.facts(key.name) }))
    }

    /// Stores a pack with one chunk, and a segment of it that names a chunk more.
    pub(super) async fn store_segment(&mut self, lease: &Lease) -> anyhow::Result<Option<Vec<ObjectName>>> {
        let chunk: [u8; 48] = self.hand.env.rng.array();
        let (index_key, object_id) = (self.hand.index_key, self.hand.env.rng.array());
        let id = ChunkId(*blake3::hash(&chunk).as_bytes());
        let mut pack = PackWriter::new(chunk.len());
        pack.push(id, &chunk);
        let pack = pack.finish(&index_key, &object_id);
        let key = self.hand.name(lease, Place::Pack(lease.domain), &pack.bytes);
        let row = PackRow { name: key.name, len: pack.bytes.len() as u32, tail_len: pack.tail_len };
        let (offset, len) = (pack.rows[0].offset, pack.rows[0].len);
        if !self.store(lease, key, pack.bytes).await? {
            return Ok(None);
        }
        let popular = ChunkId(self.hand.env.rng.array());
        let mut rows = [id, popular].map(|id| Row { id, pack: 0, offset, len });
        rows.sort_unstable();
        let (signer, repository) = (self.hand.profile.commit_signer(), lease.repository);
        let object_id = self.hand.env.rng.array();
        let bytes = segment::encode(repository, lease.domain, &[row], &rows, &index_key, &object_id, &signer);
        let key = self.hand.name(lease, Place::Index(lease.domain), &bytes);
        Ok(self.store(lease, key, bytes).await?.then(|| vec![key.name]))
    }

    /// Stores an object. False if the lease has ended.
    async fn store(&mut self, lease: &Lease, key: ObjectKey, bytes: Vec<u8>) -> anyhow::Result<bool> {
        match self.hand.put(lease, key, &Bytes::from(bytes)).await {
            Ok(()) => Ok(true),
            Err(failure) => self.ended_by_time(failure).await.map(|()| false),
        }
    }
}

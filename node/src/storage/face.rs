//! The S3 face of the directory: what `s3s` calls once it has checked a signature.
//!
//! Invariant: memory per request is bounded by two buffers, whatever the object's
//! length. The length and hash of an upload are checked by the stream that `s3s`
//! hands over, which fails at its end; only then is the object published.

use std::{fs::File, io, os::unix::fs::FileExt as _, pin::Pin, sync::Arc, time::Duration};

use ::env::{Blocking, run_blocking};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::{StatusCode, body::Frame};
use protocol::{
    limits::{STORAGE_LIST_PAGE_MAX, STORE_STALL_SECS_MAX},
    records::StorageCredential,
};
use s3s::{
    Body, S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        CreateBucketInput, CreateBucketOutput, DeleteObjectInput, DeleteObjectOutput, ETag, GetObjectInput,
        GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input,
        ListObjectsV2Output, Object, PutObjectInput, PutObjectOutput, StreamingBlob,
    },
    s3_error,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::time::timeout;

use super::{
    directory::{Directory, Facts, Key, Query},
    draft::Draft,
};

/// Bytes gathered before they are written, and read at once: few enough hops
/// between threads that their cost vanishes beside the disk.
const BUFFER_BYTES: usize = 1 << 20;
const STALL: Duration = Duration::from_secs(STORE_STALL_SECS_MAX);

/// What answers requests for this directory, to whoever has the credential.
pub fn service(directory: Arc<Directory>, blocking: Arc<dyn Blocking>, credential: &StorageCredential) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Face { directory, blocking });
    builder.set_auth(SimpleAuth::from_single(&*credential.access_key, &*credential.secret_key));
    builder.build()
}

struct Face {
    directory: Arc<Directory>,
    blocking: Arc<dyn Blocking>,
}

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Face {
    /// Starts work on the directory at once; the result can be awaited later.
    fn start<T: Send + 'static>(&self, work: impl FnOnce(&Directory) -> T + Send + 'static) -> Pending<T> {
        let directory = self.directory.clone();
        run_blocking(&*self.blocking, move || work(&directory))
    }

    /// Does work on the directory; `bucket` is what it is about.
    async fn with<T: Send + 'static>(
        &self,
        bucket: &str,
        work: impl FnOnce(&Directory, &str) -> io::Result<T> + Send + 'static,
    ) -> S3Result<T> {
        let bucket = bucket.to_string();
        self.start(move |directory| match work(directory, &bucket) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !directory.has_bucket(&bucket) => {
                Err(s3_error!(NoSuchBucket, "there is no bucket {bucket}"))
            }
            done => done.map_err(failure),
        })
        .await
    }
}

#[async_trait]
impl S3 for Face {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let created = self.with(&request.input.bucket, Directory::create_bucket).await?;
        match created {
            true => Ok(S3Response::new(CreateBucketOutput::default())),
            false => Err(s3_error!(BucketAlreadyOwnedByYou)),
        }
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        let exists = self.with(&request.input.bucket, |directory, bucket| Ok(directory.has_bucket(bucket))).await?;
        match exists {
            true => Ok(S3Response::new(HeadBucketOutput::default())),
            false => Err(s3_error!(NoSuchBucket)),
        }
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = request.input;
        let key = key_of(&input.key)?;
        let body = input.body.ok_or_else(|| s3_error!(IncompleteBody))?;
        // The answer comes before the body, so that it need not be sent.
        let early = key.clone();
        let exists = self.with(&input.bucket, move |directory, bucket| match directory.facts(bucket, &early) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound && directory.has_bucket(bucket) => Ok(false),
            Err(error) => Err(error),
        });
        if exists.await? {
            return Err(exists_already());
        }
        let draft = self.receive(body).await?;
        self.with(&input.bucket, move |directory, bucket| directory.publish(draft, bucket, &key)).await?;
        Ok(S3Response::new(PutObjectOutput::default()))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        let conditions = [
            input.if_match.is_some(),
            input.if_none_match.is_some(),
            input.if_modified_since.is_some(),
            input.if_unmodified_since.is_some(),
            input.part_number.is_some(),
            input.version_id.is_some(),
        ];
        refuse_any(&conditions)?;
        let key = key_of(&input.key)?;
        let (file, facts) =
            self.with(&input.bucket, move |directory, bucket| directory.open_object(bucket, &key)).await?;
        let range = match input.range {
            None => 0..facts.len,
            Some(range) => range.check(facts.len)?,
        };
        let content_range = input.range.map(|_| format!("bytes {}-{}/{}", range.start, range.end - 1, facts.len));
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: Some(signed(range.end - range.start)),
            content_range,
            e_tag: Some(ETag::Strong(facts.tag())),
            last_modified: Some(facts.written.into()),
            body: Some(send(self.blocking.clone(), file, range)),
            ..Default::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let conditions = [
            input.if_match.is_some(),
            input.if_none_match.is_some(),
            input.if_modified_since.is_some(),
            input.if_unmodified_since.is_some(),
            input.part_number.is_some(),
            input.range.is_some(),
            input.version_id.is_some(),
        ];
        refuse_any(&conditions)?;
        let key = key_of(&input.key)?;
        let facts = self.with(&input.bucket, move |directory, bucket| directory.facts(bucket, &key)).await?;
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: Some(signed(facts.len)),
            e_tag: Some(ETag::Strong(facts.tag())),
            last_modified: Some(facts.written.into()),
            ..Default::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        refuse_any(&[input.version_id.is_some(), input.if_match.is_some()])?;
        let key = key_of(&input.key)?;
        self.with(&input.bucket, move |directory, bucket| directory.delete(bucket, &key)).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        refuse_any(&[input.delimiter.is_some()])?;
        let max = input.max_keys.map_or(STORAGE_LIST_PAGE_MAX, |max| usize::try_from(max).unwrap_or(0));
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            // A page goes on behind the last key of the one before, which is its token.
            after: input.continuation_token.clone().or(input.start_after).unwrap_or_default(),
            max: max.min(STORAGE_LIST_PAGE_MAX),
        };
        let max_keys = i32::try_from(query.max).ok();
        let page = self.with(&input.bucket, move |directory, bucket| directory.list(bucket, &query)).await?;
        let next = page.objects.last().filter(|_| page.more).map(|(key, _)| key.clone());
        let contents: Vec<Object> = page.objects.into_iter().map(listed).collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            max_keys,
            key_count: i32::try_from(contents.len()).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(next.is_some()),
            next_continuation_token: next,
            contents: Some(contents),
            encoding_type: input.encoding_type,
            ..Default::default()
        }))
    }
}

impl Face {
    /// Writes a body into a draft, the next bytes being received meanwhile.
    async fn receive(&self, mut body: StreamingBlob) -> S3Result<Draft> {
        let mut writing: Pending<io::Result<Draft>> = self.start(Directory::draft);
        loop {
            let pieces = gather(&mut body).await?;
            let mut draft = writing.await.map_err(failure)?;
            if pieces.is_empty() {
                return Ok(draft);
            }
            writing = self.start(move |_| draft.write(&pieces).map(|()| draft));
        }
    }
}

/// The next pieces of a body, about `BUFFER_BYTES` in all; none at its end, which
/// is reached only if length and hash are what was signed.
async fn gather(body: &mut StreamingBlob) -> S3Result<Vec<Bytes>> {
    let (mut pieces, mut len) = (Vec::new(), 0);
    while len < BUFFER_BYTES {
        match timeout(STALL, body.next()).await {
            Ok(Some(Ok(piece))) => {
                len += piece.len();
                pieces.push(piece);
            }
            Ok(Some(Err(error))) => {
                return Err(s3_error!(BadDigest, "the body is not what was signed: {error}"));
            }
            Ok(None) => break,
            Err(_) => return Err(s3_error!(RequestTimeout, "no byte came for {STORE_STALL_SECS_MAX} seconds")),
        }
    }
    Ok(pieces)
}

/// The bytes `range` of a file, read as they are taken.
fn send(blocking: Arc<dyn Blocking>, file: File, range: std::ops::Range<u64>) -> StreamingBlob {
    let frames = stream::try_unfold((Arc::new(file), range), move |(file, range)| {
        let blocking = blocking.clone();
        async move {
            if range.is_empty() {
                return Ok::<_, io::Error>(None);
            }
            let len = (range.end - range.start).min(BUFFER_BYTES as u64);
            let source = file.clone();
            let bytes = run_blocking(&*blocking, move || read(&source, range.start, len)).await?;
            Ok(Some((Frame::data(bytes), (file, range.start + len..range.end))))
        }
    });
    Body::http_body_unsync(StreamBody::new(frames)).into()
}

fn read(file: &File, offset: u64, len: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut buffer, offset)?;
    Ok(buffer.into())
}

fn listed((key, facts): (String, Facts)) -> Object {
    Object {
        e_tag: Some(ETag::Strong(facts.tag())),
        last_modified: Some(facts.written.into()),
        size: Some(signed(facts.len)),
        key: Some(key),
        ..Default::default()
    }
}

fn key_of(text: &str) -> S3Result<Key> {
    Key::parse(text).ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "keys here consist of letters, digits, '-', '.', '_', '~', and single slashes between them"
        )
    })
}

fn refuse_any(asked: &[bool]) -> S3Result<()> {
    match asked.contains(&true) {
        true => Err(s3_error!(NotImplemented, "this storage does not do what was asked for")),
        false => Ok(()),
    }
}

/// S3 writes lengths as signed numbers; no file is longer than those reach.
fn signed(len: u64) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

fn exists_already() -> S3Error {
    s3_error!(PreconditionFailed, "there is an object of that name")
}

/// What trouble with the disk means to a client. Paths stay here.
fn failure(error: io::Error) -> S3Error {
    match error.kind() {
        io::ErrorKind::NotFound => s3_error!(NoSuchKey, "there is no object of that name"),
        io::ErrorKind::AlreadyExists => exists_already(),
        io::ErrorKind::InvalidInput => s3_error!(InvalidBucketName),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let code = S3ErrorCode::Custom("InsufficientStorage".into());
            let mut full = S3Error::with_message(code, "the storage's disk is full");
            full.set_status_code(StatusCode::INSUFFICIENT_STORAGE);
            full
        }
        kind => {
            tracing::error!(%error, "the storage's disk failed");
            S3Error::with_message(S3ErrorCode::InternalError, format!("the storage's disk failed: {kind}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_a_status_of_its_own() {
        let error = failure(io::Error::from(rustix::io::Errno::NOSPC));
        assert_eq!(error.status_code(), Some(StatusCode::INSUFFICIENT_STORAGE));
        assert_eq!(
            failure(io::Error::from(rustix::io::Errno::DQUOT)).status_code(),
            Some(StatusCode::INSUFFICIENT_STORAGE)
        );
        assert_eq!(failure(io::Error::from(rustix::io::Errno::IO)).code().as_str(), "InternalError");
    }
}

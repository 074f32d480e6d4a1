//! Formats: golden bytes of version 1, round trips, and arbitrary bytes.
//!
//! The golden files were written by version 1 and never change: a test that fails
//! here means that what is stored already cannot be read any more. To add one,
//! run with `NUTHATCH_WRITE_GOLDEN=1`; existing files are not overwritten.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use std::{env, fs, path::PathBuf};

use proptest::prelude::*;
use protocol::{
    codec::DecodeError,
    format::{
        self,
        chunk::{self, ChunkRef, MessageKey, PayloadCodec, Under},
        commit::{CommitBody, CommitObject},
        content::{self, Content, ContentBuilder, Cursor, Next},
        filter::Filter,
        keys, ledger,
        list::{LeafBuilder, Page},
        manifest::{Manifest, Stats},
        marker,
        pack::{self, PackWriter},
        segment::{self, PackRow, Prefix, Segment},
        tree::{self, Attributes, Blob, Entry, NodeBuilder, What, Xattr},
    },
    ids::{ChunkId, ClientId, ClusterId, DomainId, LeaseId, LineageId, RepositoryId, Sha256, SnapshotId},
    ledger::Item,
    names::ObjectName,
    records::SecretId,
    sign::Signer,
    time::{FileTime, UnixMillis},
};

const INDEX_KEY: [u8; 32] = [6; 32];
const SECRET: [u8; 32] = [7; 32];
const OBJECT_ID: [u8; 32] = [8; 32];
const LEASE: LeaseId = LeaseId { incarnation: 1, index: 42 };

fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.v1"))
}

/// Compares with the bytes that version 1 wrote, and returns those.
fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = golden_path(name);
    if env::var_os("NUTHATCH_WRITE_GOLDEN").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::File::create_new(&path).and_then(|mut file| std::io::Write::write_all(&mut file, bytes)).unwrap();
    }
    let stored = read(&path).unwrap();
    assert!(stored == bytes, "{name} is written differently than version 1 wrote it");
    stored
}

fn read(path: &std::path::Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut fs::OpenOptions::new().read(true).open(path)?, &mut bytes)?;
    Ok(bytes)
}

fn name(byte: u8) -> ObjectName {
    ObjectName { lease: LEASE, hash: Sha256([byte; 32]) }
}

fn reference(number: u32) -> ChunkRef {
    let id = ChunkId(*blake3::hash(&number.to_le_bytes()).as_bytes());
    ChunkRef { id, key: MessageKey([9; 32]), len: 1000 + number, under: Under::Generation(3) }
}

fn xattrs() -> Vec<Xattr> {
    let xattr = |name: &[u8], value: &[u8]| Xattr { name: Blob(name.to_vec()), value: Blob(value.to_vec()) };
    vec![xattr(b"security.capability", &[1, 0, 0, 2]), xattr(b"user.comment", b"kept")]
}

fn attributes() -> Attributes {
    Attributes {
        mode: 0o4755,
        uid: 1000,
        gid: 100,
        mtime: FileTime { secs: -5, nanos: 999_999_999 },
        ctime: FileTime { secs: 1_800_000_000, nanos: 1 },
        inode: u64::MAX,
        device: 66,
        links: 2,
    }
}

fn entries() -> Vec<Entry> {
    let entry = |name: &[u8], what| Entry {
        name: Blob(name.to_vec()),
        attributes: attributes(),
        unsettled: false,
        xattrs: xattrs(),
        what,
    };
    let content = Content { depth: 0, refs: vec![reference(1), ChunkRef { under: Under::Own, ..reference(2) }] };
    vec![
        entry(b"a", What::File { len: 2003, content: content.clone() }),
        Entry { unsettled: true, ..entry(b"caf\xe9", What::File { len: 0, content: Content::default() }) },
        entry(b"dir", What::Directory { content: Content { depth: 2, ..content } }),
        entry(b"link", What::Symlink { target: Blob(b"../x\xff".to_vec()) }),
        entry(b"p", What::Fifo),
        entry(b"s", What::Socket),
        entry(b"tty", What::CharDevice { rdev: 5 }),
        entry(b"vda", What::BlockDevice { rdev: 254 << 8 }),
    ]
}

fn manifest() -> Manifest {
    Manifest {
        host: "nest".into(),
        paths: vec![Blob(b"/home/u\xff".to_vec())],
        started: UnixMillis(1_800_000_000_000),
        finished: UnixMillis(1_800_000_000_999),
        description: "before the holiday".into(),
        tags: vec!["daily".into()],
        excludes: vec!["*.tmp".into(), "--one-file-system".into()],
        program: "nuthatch 0.1.0".into(),
        root: Content { depth: 0, refs: vec![reference(1)] },
        stats: Stats {
            files: 1,
            files_unchanged: 2,
            directories: 3,
            others: 4,
            bytes_source: 5,
            bytes_read: 6,
            chunks_new: 7,
            bytes_new: 8,
            bytes_stored: 9,
            packs: 10,
            problems: 11,
            excluded: 12,
            vanished: 13,
        },
    }
}

fn commit() -> CommitBody {
    CommitBody {
        repository: RepositoryId([1; 16]),
        domain: DomainId([2; 16]),
        client: ClientId([3; 16]),
        lease: LEASE,
        sequence: 7,
        previous: Some(SnapshotId([4; 32])),
        lineage: LineageId([5; 16]),
        complete: true,
        list: Some(name(5)),
        segments: vec![name(6)],
        bytes_stored: 12_345,
        manifest: Blob(manifest().seal(&SECRET, &OBJECT_ID)),
    }
}

fn rows(count: u32) -> Vec<segment::Row> {
    let mut rows: Vec<_> = (0..count)
        .map(|number| segment::Row { id: reference(number).id, pack: number % 2, offset: 16 + number, len: 100 })
        .collect();
    rows.sort();
    rows
}

fn packs() -> Vec<PackRow> {
    vec![PackRow { name: name(1), len: 1 << 20, tail_len: 200 }, PackRow { name: name(2), len: 1 << 21, tail_len: 300 }]
}

fn segment(count: u32) -> Vec<u8> {
    let signer = Signer::from_seed(&[4; 32]);
    segment::encode(RepositoryId([1; 16]), DomainId([2; 16]), &packs(), &rows(count), &INDEX_KEY, &OBJECT_ID, &signer)
}

fn open_segment(bytes: &[u8]) -> Result<Segment, DecodeError> {
    let prefix = Prefix::decode(bytes)?;
    let head = prefix.head();
    Segment::open(prefix, bytes.get(head.start as usize..head.end as usize).unwrap_or_default(), &INDEX_KEY)
}

fn a_pack() -> pack::Pack {
    let mut writer = PackWriter::new(0);
    for number in 0..5u8 {
        let sealed = vec![number; 10 + usize::from(number)];
        writer.push(chunk::id_of(&sealed), &sealed);
    }
    writer.finish(&INDEX_KEY, &OBJECT_ID)
}

fn node(entries: &[Entry]) -> Vec<u8> {
    let mut builder = NodeBuilder::default();
    entries.iter().for_each(|entry| assert_eq!(builder.push(entry), None));
    builder.finish().unwrap()
}

#[test]
fn golden_marker() {
    let stored = golden("marker", &marker::encode(&RepositoryId([1; 16])));
    assert_eq!(marker::decode(&stored), Ok(RepositoryId([1; 16])));
}

#[test]
fn golden_chunk() {
    let chunk_key = keys::chunk_key(&[5; 32]);
    let mut sealed = vec![PayloadCodec::Raw as u8];
    sealed.extend_from_slice(b"hello");
    let (id, key) = chunk::seal(&chunk_key, &mut sealed, 0);
    let stored = golden("chunk", &sealed);
    let reference = ChunkRef { id, key, len: 5, under: Under::Generation(0) };
    let payload = chunk::open(&chunk_key, &stored, &reference).unwrap();
    assert_eq!(chunk::split_payload(&payload), Ok((PayloadCodec::Raw, &b"hello"[..])));
    assert_eq!(id.to_string(), "1cb6f1d9933651173f64878d4bf389c3cc96df5a5c620dc5951698fd24c985d8");
}

#[test]
fn golden_gear_table() {
    let bytes: Vec<u8> = keys::gear_table(&[5; 32]).iter().flat_map(|word| word.to_le_bytes()).collect();
    golden("gear", &bytes);
}

#[test]
fn golden_pack() {
    let pack = a_pack();
    let stored = golden("pack", &pack.bytes);
    assert_eq!(pack::open(&INDEX_KEY, &stored).unwrap(), pack.rows);
}

#[test]
fn golden_segment() {
    let stored = golden("segment", &segment(50));
    let segment = open_segment(&stored).unwrap();
    let table = segment.block_range(1).unwrap();
    assert_eq!(segment.open_packs(1, &stored[table.start as usize..table.end as usize]).unwrap(), packs());
    let range = segment.block_range(0).unwrap();
    assert_eq!(segment.open_block(0, &stored[range.start as usize..range.end as usize]).unwrap(), rows(50));
}

#[test]
fn golden_tree_node() {
    let stored = golden("tree", &node(&entries()));
    assert_eq!(tree::decode_node(&stored).unwrap(), entries());
}

#[test]
fn golden_reference_block() {
    let refs: Vec<ChunkRef> = (0..3).map(reference).collect();
    let stored = golden("references", &content::encode_block(&refs));
    assert_eq!(content::decode_block(&stored).unwrap(), refs);
}

#[test]
fn golden_list_pages() {
    let list_key = keys::list_key(&SECRET);
    let leaf = Page::Leaf((0..3).map(|number| reference(number).id).collect());
    let root = Page::Root(vec![name(1), name(2)]);
    assert_eq!(Page::open(&golden("leaf", &leaf.seal(&list_key)), &list_key), Ok(leaf));
    assert_eq!(Page::open(&golden("root", &root.seal(&list_key)), &list_key), Ok(root));
}

#[test]
fn golden_manifest() {
    let stored = golden("manifest", &manifest().seal(&SECRET, &OBJECT_ID));
    assert_eq!(Manifest::open(&stored, &SECRET), Ok(manifest()));
}

#[test]
fn golden_commit() {
    let signer = Signer::from_seed(&[4; 32]);
    let stored = golden("commit", &CommitObject::seal(&commit(), &signer));
    assert_eq!(CommitObject::open(&stored, &signer.public()), Ok(commit()));
    let other = Signer::from_seed(&[5; 32]).public();
    assert!(matches!(CommitObject::open(&stored, &other), Err(DecodeError::Forged { .. })));
}

const LEDGER_KEY: [u8; 32] = [10; 32];

fn ledger_head() -> ledger::Head {
    let root = Signer::from_seed(&[1; 32]);
    ledger::Head {
        cluster: ClusterId::of_root(&root.public()),
        incarnation: 2,
        applied: 300,
        keyset: 4,
        at: UnixMillis(1_700_000_000_000),
        clients: 1,
        snapshots: 5,
        parts: vec![name(11)],
        key: ledger::seal_key(&root.public(), &LEDGER_KEY, &mut |bytes| bytes.fill(9)).unwrap(),
    }
}

fn ledger_part() -> Vec<u8> {
    let own = Item::Own {
        repository: RepositoryId([1; 16]),
        domain: DomainId([2; 16]),
        client: ClientId([3; 16]),
        name: name(12),
    };
    let id = SecretId::DomainIndex(DomainId([2; 16]));
    ledger::seal_part(&LEDGER_KEY, 1, &[ledger::Kept::Secret { id, secret: vec![7; 32] }, ledger::Kept::Item(own)])
}

#[test]
fn golden_ledger_backup() {
    let (root, author) = (Signer::from_seed(&[1; 32]), Signer::from_seed(&[2; 32]));
    let stored = golden("ledger-head", &ledger_head().seal(&author));
    let (signed_by, head) = ledger::Head::open(&stored, &ledger_head().cluster).unwrap();
    assert_eq!((signed_by, &head), (author.public(), &ledger_head()));
    assert_eq!(head.open_key(&root.sealing()), Ok(LEDGER_KEY));
    head.open_key(&author.sealing()).unwrap_err();
    ledger::Head::open(&stored, &ClusterId([0; 32])).unwrap_err();
    let stored = golden("ledger-part", &ledger_part());
    let kept = ledger::open_part(&LEDGER_KEY, 1, &stored).unwrap();
    assert!(matches!(&kept[..], [ledger::Kept::Secret { secret, .. }, ledger::Kept::Item(_)] if secret == &[7; 32]));
    ledger::open_part(&LEDGER_KEY, 0, &stored).unwrap_err();
}

#[test]
fn an_unknown_version_is_named() {
    let signer = Signer::from_seed(&[4; 32]);
    let list_key = keys::list_key(&SECRET);
    let mut commit = CommitObject::seal(&commit(), &signer);
    let mut segment = segment(3);
    let mut node = node(&entries());
    let mut page = Page::Leaf(Vec::new()).seal(&list_key);
    let mut manifest = manifest().seal(&SECRET, &OBJECT_ID);
    let mut marker = marker::encode(&RepositoryId([1; 16]));
    let mut pack = a_pack().bytes;
    for bytes in [&mut commit, &mut segment, &mut node, &mut page, &mut manifest, &mut marker, &mut pack] {
        bytes[8] = 2;
    }
    let errors = [
        CommitObject::open(&commit, &signer.public()).unwrap_err(),
        Prefix::decode(&segment).unwrap_err(),
        tree::decode_node(&node).unwrap_err(),
        Page::open(&page, &list_key).unwrap_err(),
        Manifest::open(&manifest, &SECRET).unwrap_err(),
        marker::decode(&marker).unwrap_err(),
        pack::open(&INDEX_KEY, &pack).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, DecodeError::UnknownVersion { found: 2, known: 1, .. }), "{error:?}");
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let signer = Signer::from_seed(&[4; 32]);
    let list_key = keys::list_key(&SECRET);
    let page = Page::Leaf(vec![reference(1).id]).seal(&list_key);
    let (commit, manifest, pack, segment) =
        (CommitObject::seal(&commit(), &signer), manifest().seal(&SECRET, &OBJECT_ID), a_pack().bytes, segment(3));
    let chunks = 16..pack.len() - 64 - 5 * 36 - 16;
    let flipped = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 4;
        bytes
    };
    (0..commit.len())
        .for_each(|at| assert!(CommitObject::open(&flipped(&commit, at), &signer.public()).is_err(), "{at}"));
    (0..manifest.len()).for_each(|at| assert!(Manifest::open(&flipped(&manifest, at), &SECRET).is_err(), "{at}"));
    (0..page.len()).for_each(|at| assert!(Page::open(&flipped(&page, at), &list_key).is_err(), "{at}"));
    // The chunks of a pack are checked by their own ids.
    let contents = (0..pack.len()).filter(|at| !chunks.contains(at));
    contents.for_each(|at| assert!(pack::open(&INDEX_KEY, &flipped(&pack, at)).is_err(), "{at}"));
    for at in 0..segment.len() {
        let bytes = flipped(&segment, at);
        let opened = open_segment(&bytes).and_then(|segment| {
            let range = segment.block_range(0).unwrap();
            let table = segment.block_range(1).unwrap();
            segment.open_packs(1, &bytes[table.start as usize..table.end as usize])?;
            segment.open_block(0, &bytes[range.start as usize..range.end as usize])
        });
        assert!(opened.is_err(), "{at}");
    }
}

#[test]
fn bad_names_are_refused() {
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'x'; 5000]] {
        let entry = Entry {
            name: Blob(name.to_vec()),
            attributes: attributes(),
            unsettled: false,
            xattrs: xattrs(),
            what: What::Fifo,
        };
        assert!(matches!(tree::decode_node(&node(&[entry])), Err(DecodeError::Malformed { .. })), "{name:?}");
    }
    let mut swapped = entries();
    swapped.swap(0, 1);
    assert!(tree::decode_node(&node(&swapped)).is_err());
}

#[test]
fn keys_differ() {
    let list = keys::list_key(&SECRET);
    let all = [
        keys::chunk_key(&SECRET),
        keys::tree_key(&SECRET),
        keys::manifest_key(&SECRET, &OBJECT_ID),
        list,
        keys::page_key(&SECRET, &OBJECT_ID),
        keys::page_id_key(&SECRET),
        keys::pack_key(&SECRET, &OBJECT_ID),
        keys::segment_key(&SECRET, &OBJECT_ID),
        keys::plaintext_hash_key(&SECRET),
        keys::cache_key(&SECRET),
    ];
    for (number, key) in all.iter().enumerate() {
        assert!(!all[..number].contains(key));
    }
}

fn cut(entries: impl Iterator<Item = String>) -> Vec<Vec<u8>> {
    let mut builder = NodeBuilder::default();
    let mut nodes = Vec::new();
    for name in entries {
        let content = Content { depth: 0, refs: vec![reference(1)] };
        let what = What::File { len: 1001, content };
        nodes.extend(builder.push(&Entry {
            name: Blob(name.into_bytes()),
            attributes: attributes(),
            unsettled: false,
            xattrs: Vec::new(),
            what,
        }));
    }
    nodes.extend(builder.finish());
    nodes
}

#[test]
fn an_edit_in_a_huge_directory_changes_few_nodes() {
    let names = || (0..20_000).map(|number| format!("file-{number:06}"));
    let before = cut(names());
    let average = before.iter().map(Vec::len).sum::<usize>() / before.len();
    assert!((64 << 10..256 << 10).contains(&average), "{average}");
    let after = cut(names().filter(|name| name != "file-010000"));
    assert!(after.iter().filter(|node| !before.contains(node)).count() <= 2);
}

#[test]
fn an_edit_changes_few_leaves() {
    let cut = |ids: &mut dyn Iterator<Item = u32>| {
        let mut builder = LeafBuilder::default();
        let mut pages: Vec<Page> = ids.filter_map(|number| builder.push(reference(number).id)).collect();
        pages.extend(builder.finish());
        pages
    };
    let before = cut(&mut (0..60_000));
    let after = cut(&mut (0..60_000).filter(|number| *number != 30_000));
    assert!(before.len() > 5);
    assert!(after.iter().filter(|page| !before.contains(page)).count() <= 2);
}

/// Seals by keeping: a block's id is the hash of its plaintext.
fn build(refs: &[ChunkRef], blocks: &mut std::collections::BTreeMap<ChunkId, Vec<u8>>) -> Content {
    let mut seal = |plain: &[u8]| {
        let id = chunk::id_of(plain);
        blocks.insert(id, plain.to_vec());
        Ok::<_, ()>(ChunkRef { id, key: MessageKey([0; 32]), len: plain.len() as u32, under: Under::Own })
    };
    let mut builder = ContentBuilder::default();
    refs.iter().for_each(|reference| builder.push(*reference, &mut seal).unwrap());
    builder.finish(&mut seal).unwrap()
}

#[test]
fn content_of_any_length_comes_back() {
    for count in [0, 1, 64, 65, 300, 5000, 100_000] {
        let refs: Vec<ChunkRef> = (0..count).map(reference).collect();
        let mut blocks = std::collections::BTreeMap::new();
        let content = build(&refs, &mut blocks);
        assert_eq!(content.check("content"), Ok(()));
        assert_eq!(content.depth == 0, count <= 64);
        let mut cursor = Cursor::new(content);
        let mut back = Vec::new();
        loop {
            match cursor.advance() {
                Next::Chunk(reference) => back.push(reference),
                Next::Block(block) => cursor.enter(content::decode_block(&blocks[&block.id]).unwrap()),
                Next::End => break,
            }
        }
        assert!(back == refs, "{count}");
    }
}

#[test]
fn the_filter_forgets_nothing_and_invents_little() {
    let mut filter = Filter::with_capacity(10_000);
    (0..10_000).for_each(|number| filter.insert(&reference(number).id));
    assert!((0..10_000).all(|number| filter.may_contain(&reference(number).id)));
    let wrong = (10_000..30_000).filter(|number| filter.may_contain(&reference(*number).id)).count();
    assert!(wrong < 20_000 * 15 / 1000, "{wrong} of 20,000");
}

#[test]
fn every_row_of_a_segment_is_found() {
    let bytes = segment(4000);
    let segment = open_segment(&bytes).unwrap();
    assert_eq!(segment.head().blocks.len(), 3);
    let blocks: Vec<_> = (0..3)
        .map(|block| {
            let range = segment.block_range(block).unwrap();
            segment.open_block(block, &bytes[range.start as usize..range.end as usize]).unwrap()
        })
        .collect();
    for row in rows(4000) {
        let mut found = segment.blocks_of(&row.id);
        assert!(found.len() <= 2, "of two blocks only where one begins with it");
        assert!(found.any(|block| blocks[block].binary_search(&row).is_ok()));
    }
    // A block in another's place is noticed.
    let range = segment.block_range(0).unwrap();
    assert!(segment.open_block(1, &bytes[range.start as usize..range.end as usize]).is_err());
}

/// One chunk with more homes than fit in a block, and packs for more than one block.
#[test]
fn a_chunk_has_several_homes_and_a_segment_many_packs() {
    let names =
        |number: u32| ObjectName { lease: LeaseId { incarnation: 1, index: number.into() }, hash: Sha256([7; 32]) };
    let packs: Vec<_> = (0..3000).map(|number| PackRow { name: names(number), len: 1 << 20, tail_len: 100 }).collect();
    let mut ids: Vec<_> = (0..10).map(|number| reference(number).id).collect();
    ids.sort();
    let homes = |id| (0..400).map(move |pack| segment::Row { id, pack: pack * 7, offset: 16 + pack, len: 9 });
    let rows: Vec<_> = ids.iter().copied().flat_map(homes).collect();
    let (repository, domain, signer) = (RepositoryId([1; 16]), DomainId([2; 16]), Signer::from_seed(&[4; 32]));
    let bytes = segment::encode(repository, domain, &packs, &rows, &INDEX_KEY, &OBJECT_ID, &signer);
    let segment = open_segment(&bytes).unwrap();
    assert_eq!((segment.rows(), segment.blocks()), (4000, 3 + 3));
    let block = |number| {
        let range = segment.block_range(number).unwrap();
        &bytes[range.start as usize..range.end as usize]
    };
    for id in &ids {
        let found = segment.blocks_of(id).flat_map(|number| segment.open_block(number, block(number)).unwrap());
        assert_eq!(found.filter(|row| row.id == *id).collect::<Vec<_>>(), homes(*id).collect::<Vec<_>>());
    }
    for number in [0, 1259, 1260, 2999] {
        let (table, at) = segment.pack_block(number);
        assert_eq!(segment.open_packs(table, block(table)).unwrap()[at], packs[number as usize]);
        assert_eq!(segment.pack_block_named(&names(number)), Some(table));
    }
    assert!(segment.open_packs(4, block(5)).is_err(), "a block in another's place is noticed");
    assert!(segment.open_packs(0, block(0)).is_err(), "rows are no packs");
}

/// Damages a valid object in a few places, or makes one up behind a valid header.
fn mangled(valid: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let len = valid.len();
    let edits = proptest::collection::vec((0..len, any::<u8>()), 0..4);
    let edited = (edits, 0..=len).prop_map({
        let valid = valid.clone();
        move |(edits, cut)| {
            let mut bytes = valid.clone();
            edits.into_iter().for_each(|(at, byte)| bytes[at] = byte);
            bytes.truncate(cut);
            bytes
        }
    });
    let made_up = proptest::collection::vec(any::<u8>(), 0..400).prop_map(move |body| {
        let mut bytes = valid[..format::HEADER_LEN].to_vec();
        bytes.extend(body);
        format::finish(&mut bytes);
        bytes
    });
    prop_oneof![edited, made_up, proptest::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nodes_decode_or_are_refused(bytes in mangled(node(&entries()))) {
        if let Ok(entries) = tree::decode_node(&bytes) {
            prop_assert!(entries.iter().all(|entry| tree::check_name(&entry.name.0).is_ok()));
        }
    }

    #[test]
    fn blocks_decode_or_are_refused(bytes in mangled(content::encode_block(&[reference(1), reference(2)]))) {
        let _ = content::decode_block(&bytes);
    }

    #[test]
    fn sealed_objects_decode_or_are_refused(
        pack in mangled(a_pack().bytes),
        segment in mangled(segment(20)),
        page in mangled(Page::Leaf(vec![reference(1).id]).seal(&keys::list_key(&SECRET))),
        manifest in mangled(manifest().seal(&SECRET, &OBJECT_ID)),
        commit in mangled(CommitObject::seal(&commit(), &Signer::from_seed(&[4; 32]))),
        marker in mangled(marker::encode(&RepositoryId([1; 16]))),
    ) {
        let _ = pack::open(&INDEX_KEY, &pack);
        let _ = open_segment(&segment);
        let _ = Page::open(&page, &keys::list_key(&SECRET));
        let _ = Manifest::open(&manifest, &SECRET);
        let _ = CommitObject::open(&commit, &Signer::from_seed(&[4; 32]).public());
        let _ = marker::decode(&marker);
    }

    #[test]
    fn chunks_open_to_what_was_sealed(plain in proptest::collection::vec(any::<u8>(), 0..2000), flip in any::<proptest::sample::Index>()) {
        let key = keys::chunk_key(&[5; 32]);
        let mut sealed = b"before".to_vec();
        sealed.push(0);
        sealed.extend_from_slice(&plain);
        let (id, message_key) = chunk::seal(&key, &mut sealed, 6);
        let mut sealed = sealed.split_off(6);
        let reference = ChunkRef { id, key: message_key, len: plain.len() as u32, under: Under::Own };
        let payload = chunk::open(&key, &sealed, &reference).unwrap();
        prop_assert_eq!(&payload[1..], &plain[..]);
        // Another domain's member does not open it, and damage does not pass.
        prop_assert!(chunk::open(&keys::chunk_key(&[6; 32]), &sealed, &reference).is_err());
        let at = flip.index(sealed.len());
        sealed[at] ^= 1;
        prop_assert!(chunk::open(&key, &sealed, &reference).is_err());
        let forged = ChunkRef { id: chunk::id_of(&sealed), ..reference };
        prop_assert!(chunk::open(&key, &sealed, &forged).is_err());
    }

    #[test]
    fn entries_come_back(len in any::<u64>(), inode in any::<u64>(), secs in any::<i64>(), name in "[a-z]{1,40}", unsettled in any::<bool>(), depth in 0u8..9) {
        let attributes = Attributes { inode, mtime: FileTime { secs, nanos: 1 }, ..attributes() };
        let what = What::File { len, content: Content { depth, refs: vec![reference(1); usize::from(depth)] } };
        let entry = Entry { name: Blob(name.into_bytes()), attributes, unsettled, xattrs: xattrs(), what };
        prop_assert_eq!(tree::decode_node(&node(std::slice::from_ref(&entry))).unwrap(), vec![entry]);
    }
}

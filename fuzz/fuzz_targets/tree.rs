//! Tree nodes: whole ones, and entries behind a right header.
#![no_main]

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use protocol::format::{
    self,
    tree::{self, NodeBuilder},
};

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        open(data);
        let mut bytes = b"nuthtree".to_vec();
        bytes.extend_from_slice(&[format::VERSION, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(data);
        format::finish(&mut bytes);
        open(&bytes);
    });
});

fn open(bytes: &[u8]) {
    let Ok(entries) = tree::decode_node(bytes) else { return };
    for entry in &entries {
        assert!(tree::check_name(&entry.name.0).is_ok(), "no entry names a place outside its directory");
    }
    let mut builder = NodeBuilder::default();
    // Where a node ends is the writer's choice: several may come of one.
    let mut nodes: Vec<Vec<u8>> = entries.iter().filter_map(|entry| builder.push(entry)).collect();
    nodes.extend(builder.finish());
    let again: Vec<_> =
        nodes.iter().flat_map(|node| tree::decode_node(node).expect("what was written is read")).collect();
    assert_eq!(again, entries);
}

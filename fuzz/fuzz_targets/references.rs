//! Blocks of chunk references: whole ones, and lists behind a right header.
#![no_main]

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use protocol::format::{
    self,
    content::{self, Content, Cursor, Next},
};

fuzz_target!(|data: &[u8]| {
    bounded(data, || {
        open(data);
        let mut bytes = b"nuthrefl".to_vec();
        bytes.extend_from_slice(&[format::VERSION, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(data);
        format::finish(&mut bytes);
        open(&bytes);
    });
});

fn open(bytes: &[u8]) {
    let Ok(refs) = content::decode_block(bytes) else { return };
    assert_eq!(content::decode_block(&content::encode_block(&refs)).as_ref(), Ok(&refs));
    let mut cursor = Cursor::new(Content { depth: 1, refs: refs.clone() });
    let mut steps = 0;
    loop {
        match cursor.advance() {
            Next::Block(_) if steps < 3 => cursor.enter(refs.clone()),
            Next::Block(_) | Next::Chunk(_) => {}
            Next::End => break,
        }
        steps += 1;
        assert!(steps <= 4 * refs.len() + 4, "a list ends");
    }
}

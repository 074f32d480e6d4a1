//! WIRE.md says what the code says: every serialized type stands in it word for
//! word, every call with its number, every constant with its value.

use protocol::{limits, sign, wire};

const DOCUMENT: &str = include_str!("../../WIRE.md");

/// The sources whose types travel.
const SOURCES: [(&str, &str); 17] = [
    ("wire/mod.rs", include_str!("../../src/wire/mod.rs")),
    ("wire/joining.rs", include_str!("../../src/wire/joining.rs")),
    ("wire/client.rs", include_str!("../../src/wire/client.rs")),
    ("wire/admin.rs", include_str!("../../src/wire/admin.rs")),
    ("wire/peer.rs", include_str!("../../src/wire/peer.rs")),
    ("records.rs", include_str!("../../src/records.rs")),
    ("reconcile.rs", include_str!("../../src/reconcile.rs")),
    ("commands.rs", include_str!("../../src/commands.rs")),
    ("audit.rs", include_str!("../../src/audit.rs")),
    ("ledger.rs", include_str!("../../src/ledger.rs")),
    ("levels.rs", include_str!("../../src/levels.rs")),
    ("failure.rs", include_str!("../../src/failure.rs")),
    ("sign.rs", include_str!("../../src/sign.rs")),
    ("sealed.rs", include_str!("../../src/sealed.rs")),
    ("token.rs", include_str!("../../src/token.rs")),
    ("ids.rs", include_str!("../../src/ids.rs")),
    ("names.rs", include_str!("../../src/names.rs")),
];

/// One space between words, so that only the words count.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The declarations of a source that derive `Serialize`, without documentation,
/// attributes and visibility.
fn declarations(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut serialized = false;
    let mut open: Option<Vec<String>> = None;
    for line in source.lines() {
        let line = line.split("//").next().unwrap_or_default().trim_end();
        let bare = line.trim_start().replace("pub ", "");
        if let Some(declaration) = &mut open {
            if !bare.starts_with("#[") && !bare.is_empty() {
                declaration.push(bare);
            }
            if line == "}" {
                found.extend(open.take().map(|declaration| words(&declaration.join(" "))));
            }
        } else if line.starts_with("#[derive(") {
            serialized = line.contains("Serialize");
        } else if (line.starts_with("pub struct ") || line.starts_with("pub enum ")) && std::mem::take(&mut serialized)
        {
            match line.ends_with('{') {
                true => open = Some(vec![bare]),
                false => found.push(words(&bare)),
            }
        }
    }
    found
}

/// `(request, reply, type of the reply)` of every call, in order.
fn calls() -> Vec<(String, String, String)> {
    let (_, table) = SOURCES[0].1.split_once("\ncalls! {").expect("wire/mod.rs declares its calls");
    let (table, _) = table.split_once("\n}").expect("the declaration ends");
    table
        .lines()
        .filter_map(|line| {
            let (request, reply) = line.trim().strip_suffix("),")?.split_once(" => ")?;
            let (reply, reply_type) = reply.split_once('(')?;
            Some((request.to_owned(), reply.to_owned(), reply_type.to_owned()))
        })
        .collect()
}

#[test]
fn every_type_stands_in_the_document() {
    let document = words(DOCUMENT);
    let mut missing = String::new();
    for (file, source) in SOURCES {
        let declarations = declarations(source);
        assert!(!declarations.is_empty(), "{file} has no serialized types, or this test cannot read it");
        for declaration in declarations {
            if !document.contains(&declaration) {
                missing += &format!("{file}: {declaration}\n");
            }
        }
    }
    assert!(missing.is_empty(), "WIRE.md does not say (or says otherwise), write it there:\n{missing}");
}

#[test]
fn every_call_stands_in_the_document() {
    let calls = calls();
    assert_eq!(calls.len(), super::samples::calls().len(), "a call has no sample");
    let names: Vec<&str> = calls.iter().map(|(request, ..)| request.as_str()).collect();
    let samples: Vec<&str> = super::samples::calls().iter().map(|(request, _)| request.name()).collect();
    assert_eq!(names, samples);
    for (number, (request, reply, reply_type)) in calls.iter().enumerate() {
        let row = format!("| {number} | `{request}` | `{reply}({reply_type})` |");
        assert!(DOCUMENT.contains(&row), "WIRE.md lacks the row of a call: {row}");
    }
}

#[test]
fn every_identifier_stands_in_the_document() {
    let ids = include_str!("../../src/ids.rs");
    let mut count = 0;
    for line in ids.lines() {
        let Some((name, rest)) =
            line.trim().split_once(", ").filter(|_| line.ends_with(" id\"") || line.contains(", 32, \""))
        else {
            continue;
        };
        let Some((len, _)) = rest.split_once(", ") else { continue };
        count += 1;
        let row = format!("| `{name}` | {len} |");
        assert!(DOCUMENT.contains(&row), "WIRE.md lacks the row of an identifier: {row}");
    }
    assert_eq!(count, 14, "this test reads `id!` line by line");
}

#[test]
fn every_constant_stands_in_the_document() {
    let texts = [
        String::from_utf8_lossy(wire::ALPN[0]).into_owned(),
        wire::SERVER_NAME.to_owned(),
        String::from_utf8_lossy(wire::REDEMPTION_EXPORTER).into_owned(),
        sign::RECORD.0.to_owned(),
        sign::REDEMPTION.0.to_owned(),
        sign::COMMIT.0.to_owned(),
        sign::SEGMENT.0.to_owned(),
        sign::LEVELS.0.to_owned(),
    ];
    for text in texts {
        assert!(DOCUMENT.contains(&format!("`{text}`")), "WIRE.md does not name {text}");
    }
    let numbers = [
        ("FRAME_BYTES_MAX", limits::FRAME_BYTES_MAX),
        ("GOSSIP_BYTES_MAX", limits::GOSSIP_BYTES_MAX),
        ("STREAMS_PER_PEER_MAX", limits::STREAMS_PER_PEER_MAX as usize),
        ("RECORD_BYTES_MAX", limits::RECORD_BYTES_MAX),
        ("RECORDS_PER_FRAME_MAX", limits::RECORDS_PER_FRAME_MAX),
        ("RECORDS_BYTES_MAX", limits::RECORDS_BYTES_MAX),
        ("RANGE_HASHES_MAX", limits::RANGE_HASHES_MAX),
        ("PROBES_MAX", limits::PROBES_MAX),
        ("PAGE_BYTES_MAX", limits::PAGE_BYTES_MAX),
        ("REQUEST_BYTES_MAX", limits::REQUEST_BYTES_MAX),
        ("ENTRY_BYTES_MAX", limits::ENTRY_BYTES_MAX),
        ("COMMANDS_PER_ENTRY_MAX", limits::COMMANDS_PER_ENTRY_MAX),
        ("TICKETS_PER_CALL_MAX", limits::TICKETS_PER_CALL_MAX),
        ("OBJECT_BYTES_MAX", limits::OBJECT_BYTES_MAX),
        ("LEASE_SECS_MAX", limits::LEASE_SECS_MAX as usize),
        ("SEGMENTS_PER_COMMIT_MAX", limits::SEGMENTS_PER_COMMIT_MAX),
        ("VIEW_SEGMENTS_MAX", limits::VIEW_SEGMENTS_MAX),
        ("SHARED_SEGMENTS_MAX", limits::SHARED_SEGMENTS_MAX),
        ("CONDEMNED_MAX", limits::CONDEMNED_MAX),
        ("REPORT_OBJECTS_MAX", limits::REPORT_OBJECTS_MAX),
        ("LABEL_BYTES_MAX", limits::LABEL_BYTES_MAX),
        ("TOKEN_USES_MAX", limits::TOKEN_USES_MAX as usize),
        ("TOKEN_ADDRESSES_MAX", limits::TOKEN_ADDRESSES_MAX),
        ("ROSTER_MAX", limits::ROSTER_MAX),
    ];
    for (name, value) in numbers {
        let row = format!("| `{name}` | {value} |");
        assert!(DOCUMENT.contains(&row), "WIRE.md lacks the row of a limit: {row}");
    }
}

/// A document that says nothing must not pass.
#[test]
fn a_changed_declaration_would_be_noticed() {
    let source = "/// Doc.\n#[derive(Debug, Serialize)]\npub struct A {\n    /// Doc.\n    pub b: u8, // why\n}\n\
                  pub struct NotSent {}\n#[derive(Serialize)]\npub struct C(pub u64);\n";
    assert_eq!(declarations(source), ["struct A { b: u8, }", "struct C(u64);"]);
    let changed = SOURCES[0].1.replace("pub patience_ms: u32", "pub patience_ms: u64");
    let document = words(DOCUMENT);
    assert!(declarations(&changed).iter().any(|declaration| !document.contains(declaration)));
}

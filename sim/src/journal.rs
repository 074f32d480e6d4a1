//! What nodes log, in the trace: the events of `tracing`, with the time of the
//! simulation.
//!
//! Invariant: an event's line holds its level, target and fields, and nothing of
//! the process (no thread, no address, no span ids).

use std::{
    fmt::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

use crate::kernel::Kernel;

/// Writes events into the trace.
pub struct Journal {
    kernel: Arc<Kernel>,
    level: LevelFilter,
    spans: AtomicU64,
}

impl Journal {
    /// Takes events of this level and more important ones.
    pub fn new(kernel: Arc<Kernel>, level: LevelFilter) -> Self {
        Self { kernel, level, spans: AtomicU64::new(1) }
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries are heard only when they warn: their chatter is not ours to compare.
        let foreign = ["quinn", "rustls", "mio", "tokio", "openraft", "chitchat"];
        let is_foreign = foreign.iter().any(|name| metadata.target().starts_with(name));
        metadata.is_event() && *metadata.level() <= self.level && (!is_foreign || *metadata.level() <= Level::WARN)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let text = line.0.replace('\n', " ");
        let (level, target) = (event.metadata().level(), event.metadata().target());
        self.kernel.log(format_args!("{level} {target}{text}"));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

//! `nuthatch demo`: the main job on one machine, with real processes and a real loss.
//!
//! Invariant: what it says was measured, and what it could not do it says. However
//! it ends, no process and no temporary file of it stays, unless `--keep`.

mod compare;
mod loss;
mod play;
mod process;
mod report;
mod sample;
mod stage;
mod storage;

use serde_json::Value;

use crate::cli::{Demo, Exit, Output, StopSignals, Trouble};

/// Runs the demo.
pub async fn run(args: Demo, output: Output) -> Result<Exit, Trouble> {
    let mut signals = StopSignals::listen()
        .map_err(|error| Trouble::new("internal", format!("cannot listen for signals: {error}")))?;
    let mut stage = stage::Stage::open(&args)?;
    let played = signals.guard(Box::pin(play::play(&args, output, &mut stage))).await;
    let played =
        played.unwrap_or_else(|| Err(Trouble::cancelled("the demo was stopped: it has cleaned up behind itself")));
    let keep = args.keep && played.is_ok();
    let ended = stage.end(keep).await;
    // What went wrong first is what matters.
    let report = played?;
    let kept = ended?;
    let mut object = report.json();
    if let Some(kept) = &kept
        && let (Value::Object(object), Value::Object(more)) = (&mut object, kept.json())
    {
        object.extend(more);
    }
    output.result(object, || {
        let kept = kept.map(|kept| format!("\n{}", kept.text())).unwrap_or_default();
        format!("{}{kept}", report.table())
    });
    Ok(if report.ok() { Exit::Well } else { Exit::Failed })
}

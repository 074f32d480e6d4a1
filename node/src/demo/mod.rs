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

use crate::cli::{Demo, Exit, Output, StopSignals, Trouble, line};

/// Runs the demo.
pub async fn run(args: Demo, output: Output) -> Result<Exit, Trouble> {
    let mut signals = StopSignals::listen()
        .map_err(|error| Trouble::new("internal", format!("cannot listen for signals: {error}")))?;
    let mut stage = stage::Stage::open(&args)?;
    let played = signals.guard(Box::pin(play::play(&args, output, &mut stage))).await;
    let played =
        played.unwrap_or_else(|| Err(Trouble::cancelled("the demo was stopped: it has cleaned up behind itself")));
    let keep = args.keep && played.is_ok();
    let kept = stage.end(keep).await;
    let report = match played {
        Ok(report) => report,
        Err(trouble) => {
            kept?;
            return Err(trouble);
        }
    };
    if !output.is_json() {
        line(&report.table());
        for text in kept? {
            line(&text);
        }
    } else {
        kept?;
    }
    output.object(report.json());
    Ok(if report.ok() { Exit::Well } else { Exit::Failed })
}

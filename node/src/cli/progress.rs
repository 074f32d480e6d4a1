//! How far a job is: a bar on a terminal, now and then a plain line elsewhere,
//! nothing for scripts. And how it is stopped.

use std::{cell::Cell, io::IsTerminal as _, pin::pin, sync::Arc, time::Duration};

use env::Clock;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use repo::{CancellationToken, Progress};

use super::{
    human,
    output::{Output, say},
    signals::StopSignals,
    trouble::Trouble,
};

/// Between two looks at a terminal.
const GLANCE: Duration = Duration::from_millis(120);
/// Between two lines in a pipe.
const LINE: Duration = Duration::from_secs(5);
/// Between two lines in a pipe that say what is waited for.
const WAITING_LINE: Duration = Duration::from_secs(30);

/// What a job is called, and how much there is to do.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// `backing up`, `restoring`.
    pub verb: &'static str,
    /// What is done with bytes on their way: `stored`, `fetched`.
    pub moved: &'static str,
    /// Bytes in all, if that is known.
    pub bytes_total: Option<u64>,
}

/// Runs a job: shows how far it is, and cancels it on Ctrl-C. A second Ctrl-C does
/// not wait for it to end.
pub async fn follow<F: Future>(
    output: Output,
    clock: Arc<dyn Clock>,
    shown: Shown,
    progress: &Progress,
    cancel: &CancellationToken,
    job: F,
) -> Result<F::Output, Trouble> {
    let mut signals = StopSignals::listen()
        .map_err(|error| Trouble::new("internal", format!("cannot listen for signals: {error}")))?;
    let mut watched = pin!(watch(output, clock, shown, progress, job));
    loop {
        tokio::select! {
            done = &mut watched => return Ok(done),
            () = signals.next() => {
                if cancel.is_cancelled() {
                    return Err(Trouble::cancelled("stopped at once"));
                }
                output.note("stopping (Ctrl-C again stops at once)");
                cancel.cancel();
            }
        }
    }
}

/// Runs a job, and shows how far it is.
pub async fn watch<F: Future>(
    output: Output,
    clock: Arc<dyn Clock>,
    shown: Shown,
    progress: &Progress,
    job: F,
) -> F::Output {
    let view = View::new(output, shown, clock.monotonic());
    let mut job = pin!(job);
    loop {
        tokio::select! {
            done = &mut job => return done,
            () = clock.sleep(view.pause()) => view.show(progress, clock.monotonic()),
        }
    }
}

struct View {
    output: Output,
    shown: Shown,
    started: Duration,
    bar: Option<ProgressBar>,
    /// When it was last said what is waited for.
    waiting_told: Cell<Option<Duration>>,
}

impl View {
    fn new(output: Output, shown: Shown, started: Duration) -> Self {
        let watched = output.is_watched() && std::io::stderr().is_terminal();
        let bar = watched.then(|| {
            let bar = ProgressBar::with_draw_target(shown.bytes_total, ProgressDrawTarget::stderr());
            let template =
                if shown.bytes_total.is_some() { "{bar:14} {percent:>3}%  {wide_msg}" } else { "{spinner} {wide_msg}" };
            bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        if bar.is_none() {
            output.note(shown.verb);
        }
        Self { output, shown, started, bar, waiting_told: Cell::new(None) }
    }

    fn pause(&self) -> Duration {
        if self.bar.is_some() { GLANCE } else { LINE }
    }

    fn show(&self, progress: &Progress, now: Duration) {
        if self.output.is_json() {
            return;
        }
        if let Some(waiting) = progress.waiting() {
            return self.show_waiting(&waiting, now);
        }
        self.waiting_told.set(None);
        let Shown { verb, moved, bytes_total } = self.shown;
        let done = progress.bytes.get();
        let mut text = format!(
            "{}, {}, {}, {moved} {}",
            human::counted(progress.files.get(), "file"),
            human::bytes(done),
            human::speed(done, (now - self.started).as_secs_f64()),
            human::bytes(progress.bytes_moved.get()),
        );
        let problems = progress.problems.get();
        if problems > 0 {
            text.push_str(&format!(", {}", human::counted(problems, "problem")));
        }
        match &self.bar {
            Some(bar) => {
                bar.set_message(if bytes_total.is_some() { text } else { format!("{verb}: {text}") });
                if let Some(total) = bytes_total {
                    bar.set_position(done.min(total));
                }
                bar.tick();
            }
            None => say(&format!("{verb}: {text}")),
        }
    }
}

impl View {
    /// Says what the job waits for, to a person who can stop it.
    fn show_waiting(&self, what: &str, now: Duration) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("waiting: {what} (Ctrl-C to stop)"));
            bar.tick();
        } else if self.waiting_told.get().is_none_or(|told| now - told >= WAITING_LINE) {
            self.waiting_told.set(Some(now));
            say(&format!("waiting: {what}"));
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

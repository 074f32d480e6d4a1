//! The signals that ask a program to stop.

use std::{io, pin::pin};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, and what service managers send.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Takes the signals over: from now on they end nothing by themselves.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Runs `work` to its end; None if a signal came first, and `work` is dropped.
    pub async fn guard<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let work = pin!(work);
        tokio::select! {
            done = work => Some(done),
            () = self.next() => None,
        }
    }
}

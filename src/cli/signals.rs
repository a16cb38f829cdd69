//! Waits for the signals that stop the program or have it reload.

use std::future::Future;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for SIGTERM and SIGINT from now on; resolves at the first, and a second ends the process at once.
pub(super) fn stop() -> impl Future<Output = ()> + Send + 'static {
    // Here and not when it is awaited: whoever was told that the program runs may stop it.
    let signals = Signals::listen();
    async move {
        let mut signals = match signals {
            Ok(signals) => signals,
            Err(error) => {
                tracing::error!(%error, "signals cannot be received; only SIGKILL will stop this process");
                return std::future::pending().await;
            }
        };
        signals.next().await;
        tokio::spawn(async move {
            signals.next().await;
            std::process::exit(1);
        });
    }
}

/// Listens for SIGHUP; `None` when that cannot be.
pub(super) fn hang_ups() -> Option<Signal> {
    signal(SignalKind::hangup())
        .inspect_err(|error| tracing::error!(%error, "SIGHUP cannot be received"))
        .ok()
}

/// Listens for SIGUSR2; `None` when that cannot be.
pub(super) fn successions() -> Option<Signal> {
    signal(SignalKind::user_defined2())
        .inspect_err(|error| tracing::error!(%error, "SIGUSR2 cannot be received"))
        .ok()
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

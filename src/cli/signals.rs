//! Waits for the signals that stop the program.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at SIGTERM or SIGINT; the same signal again ends the process at once.
pub(super) async fn stop() {
    wait().await;
    tokio::spawn(async {
        wait().await;
        std::process::exit(1);
    });
}

async fn wait() {
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) else {
        tracing::error!("signals cannot be received; only SIGKILL will stop this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

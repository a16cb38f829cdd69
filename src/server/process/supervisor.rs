//! Tells the supervisor how it stands with this process, where systemd or another one gave it a socket for that (`sd_notify`).
//!
//! What cannot be said is no reason to do anything else, so that nothing here fails.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::server::workers::Workers;

/// Says that clients are served, and that a successor could come.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Says that the configuration is read anew; [`ready`] or [`kept`] has to follow.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Says that a new configuration was refused, and the old one serves.
pub fn kept() {
    let status = "serving; the changed configuration was refused, as the log says";
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Says that this process ends.
pub fn stopping() {
    let status = "stopping: exchanges in flight may finish";
    tell(&[NotifyState::Stopping, NotifyState::Status(status)]);
}

/// Says which process has taken this one's place, so that the supervisor follows that one.
pub fn succeeded_by(process: u32) {
    tell(&[NotifyState::MainPid(process), NotifyState::Ready]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the supervisor could not be told");
    }
}

/// Where the supervisor wants a sign of life, gives one as long as every thread that serves connections does its tasks;
/// ends when it is dropped.
pub fn signs_of_life(workers: &Workers) -> JoinSet<()> {
    let mut beside = JoinSet::new();
    if let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) {
        beside.spawn(sign(workers.clone(), limit / 3));
    }
    beside
}

/// Signs three times within the limit, so that one that is late does no harm.
async fn sign(workers: Workers, pause: Duration) {
    let mut ticks = interval(pause.max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        if timeout(pause, workers.all_answer()).await.is_ok() {
            tell(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("a thread that serves connections does not answer");
        }
    }
}

//! `menshen serve`: runs the proxy.

use std::path::Path;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::Signal;
use tokio::task::JoinSet;

use super::environment::Environment;
use super::{Outcome, complain, runtime, signals, successor, warn, watch};
use crate::app::{App, Reloader};
use crate::clock::Clock;
use crate::log;
use crate::server::WorkerThreads;

/// Runs the proxy until a signal stops it.
pub(super) fn run(file: &Path, upgrade: bool) -> Outcome {
    // What the configuration leaves to the system follows from it.
    raise_descriptors();
    let environment = match Environment::inherited() {
        Ok(environment) => environment,
        Err(error) => {
            warn(&format_args!("secrets could not be taken over: {error}"));
            return Outcome::Failed;
        }
    };
    let read = watch::state_of(file);
    // What is at this path later is the newer program.
    let program = std::env::current_exe();
    let (loaded, taken) = environment.config_alone(file);
    let loaded = match loaded {
        Ok(config) => config,
        Err(problems) => return complain(&problems),
    };
    if let Err(error) = taken {
        warn(&format_args!("secrets stay in the environment: {error}"));
    }
    let stderr = match log::start(&loaded.log) {
        Ok(stderr) => stderr,
        Err(error) => {
            warn(&format_args!("logging cannot be started: {error}"));
            return Outcome::Failed;
        }
    };
    // What serves connections has threads of its own; the rest needs little.
    let started = runtime(1).and_then(|runtime| {
        let threads = WorkerThreads::start(loaded.server.threads)?;
        Ok((runtime, threads))
    });
    let (runtime, threads) = match started {
        Ok(started) => started,
        Err(error) => {
            stderr.print(&format_args!("the runtime cannot be started: {error}"));
            return Outcome::Failed;
        }
    };
    runtime.block_on(async {
        // While it starts already: nobody's wish to reload shall end it.
        let hang_ups = signals::hang_ups();
        let successions = signals::successions();
        let clock = Clock::system();
        let app = if upgrade {
            App::succeed(loaded, &clock).await
        } else {
            App::build(loaded, &clock).await
        };
        match app {
            Ok(mut app) => {
                let stop = signals::stop();
                let environment = Arc::new(environment);
                let (source, path) = (Arc::clone(&environment), file.to_owned());
                let reloader = app.reloader(Box::new(move || source.config(&path)));
                // They end with what serves.
                let mut beside = JoinSet::new();
                beside.spawn(watch::watch(file.to_owned(), read, reloader.clone()));
                beside.spawn(reload_when_told(reloader, hang_ups));
                beside.spawn(successor::start_when_told(
                    program,
                    environment,
                    successions,
                ));
                let (addresses, redirects) = (app.addresses(), app.redirect_addresses());
                let private = app.control_place();
                let workers = threads.workers();
                let served = app.serve(&workers, stop, || {
                    for address in addresses {
                        tracing::info!(%address, "listening");
                    }
                    for address in redirects {
                        tracing::info!(%address, "listening, to send on to HTTPS");
                    }
                    if let Some(address) = private {
                        tracing::info!(%address, "open for control");
                    }
                });
                let served = served.await;
                beside.abort_all();
                match served {
                    Ok(()) => Outcome::Done,
                    Err(error) => {
                        stderr.print(&format_args!("what was bound cannot be served: {error}"));
                        Outcome::Failed
                    }
                }
            }
            // A supervisor should try again.
            Err(error) if error.may_pass() => {
                stderr.print(&error);
                Outcome::Failed
            }
            Err(error) => {
                stderr.print(&error);
                Outcome::Misconfigured
            }
        }
    })
}

/// Takes as many file descriptors as this process may have; many systems begin with few of them.
fn raise_descriptors() {
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    // Where that is forbidden, those that there are must do.
    let _ = setrlimit(Resource::Nofile, all);
}

/// Reloads at each SIGHUP.
async fn reload_when_told(reloader: Reloader, hang_ups: Option<Signal>) {
    let Some(mut hang_ups) = hang_ups else {
        return;
    };
    while hang_ups.recv().await.is_some() {
        reload(&reloader, "SIGHUP").await;
    }
}

/// Reloads because of this; the log is told what came of it.
pub(super) async fn reload(reloader: &Reloader, by: &str) {
    let _ = reloader.reload(by).await;
}

//! `menshen check`: does the start-up checks without starting.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::access_summary::AccessSummary;
use super::{Outcome, complain, config, probe, runtime, say, warn};
use crate::app;
use crate::clock::Clock;
use crate::config::{Config, NamedServer, PrivateAddress, Store};

/// How long the names of servers are looked up.
const RESOLVER_TIMEOUT: Duration = Duration::from_secs(3);

/// Checks the file and everything it names; with `with_probe`, also the credentials of every app, and Redis.
pub(super) fn run(file: &Path, with_probe: bool) -> Outcome {
    app::install_crypto();
    let config = match config(file) {
        Ok(config) => config,
        Err(problems) => return complain(&problems),
    };
    for warning in config.warnings() {
        warn(&warning);
    }
    let now = Clock::system().unix_secs();
    for warning in config.authorities_out_of_date(now) {
        warn(&warning);
    }
    for warning in warnings_of_names(config.named_servers_at_own_ports()) {
        warn(&warning);
    }
    let mut outcome = Outcome::Done;
    for problem in config.certificates_out_of_date(now) {
        outcome = complain(&problem);
    }
    for (key, problem) in app::check(&config) {
        outcome = complain(&format_args!("{key}: {problem}"));
    }
    if outcome == Outcome::Done {
        warn_of_open_control(&config);
        say(&format_args!("{}: no problems", file.display()));
    }
    if with_probe && probe::run(&config) == Outcome::Misconfigured {
        outcome = Outcome::Misconfigured;
    }
    if with_probe && try_store(&config) == Outcome::Misconfigured {
        outcome = Outcome::Misconfigured;
    }
    if outcome == Outcome::Done {
        say(&AccessSummary(&config));
    }
    outcome
}

/// Looks the servers' names up for a while; where no resolver answers, nothing is said.
fn warnings_of_names(servers: Vec<NamedServer>) -> Vec<String> {
    let (told, warnings) = mpsc::channel();
    let count = servers.len();
    for server in servers {
        let told = told.clone();
        // The process does not wait for it.
        thread::spawn(move || told.send(server.warning()));
    }
    let end = Instant::now() + RESOLVER_TIMEOUT;
    let left = || end.saturating_duration_since(Instant::now());
    let found = (0..count).map_while(|_| warnings.recv_timeout(left()).ok());
    found.flatten().collect()
}

/// Says where everybody on this machine may use the control listener.
fn warn_of_open_control(config: &Config) {
    let control = &config.control;
    let Some(listen) = &control.listen else {
        return;
    };
    let who = match listen {
        PrivateAddress::Tcp(_) => "every program of this machine",
        PrivateAddress::Unix(_) if control.socket_mode == 0o660 => "every user of its group",
        PrivateAddress::Unix(_) if control.socket_mode == 0o666 => "every program of this machine",
        // Whoever may connect may read this user's files.
        PrivateAddress::Unix(_) => return,
    };
    if !control.asks_for_secret() {
        say(&format_args!(
            "control.listen: {listen} asks for no secret, so {who} may use it"
        ));
    }
}

fn try_store(config: &Config) -> Outcome {
    let Store::Redis(server) = &config.session.store else {
        return Outcome::Done;
    };
    let runtime = match runtime(1) {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error),
    };
    match runtime.block_on(app::try_store(config, &Clock::system())) {
        Ok(warnings) => {
            say(&format_args!("session.store: {server} can be used"));
            for warning in warnings {
                say(&format_args!("session.store: warning: {warning}"));
            }
            Outcome::Done
        }
        Err(problem) => complain(&format_args!("session.store: {problem}")),
    }
}

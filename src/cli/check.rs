//! `menshen check`: does the start-up checks without starting.

use std::path::Path;

use super::{Outcome, complain, config, runtime, say};
use crate::app;
use crate::clock::Clock;
use crate::config::{Config, Store};
use crate::wechat::{Client, Verdict};

/// Checks the file and everything it names; with `probe`, also the credentials of every app, and Redis.
pub(super) fn run(file: &Path, probe: bool) -> Outcome {
    app::install_crypto();
    let config = match config(file) {
        Ok(config) => config,
        Err(problems) => return complain(&problems),
    };
    let mut outcome = Outcome::Done;
    for (key, problem) in app::check(&config) {
        outcome = complain(&format_args!("{key}: {problem}"));
    }
    if outcome == Outcome::Done {
        say(&format_args!("{}: no problems", file.display()));
    }
    if probe && ask(&config) == Outcome::Misconfigured {
        outcome = Outcome::Misconfigured;
    }
    if probe && try_store(&config) == Outcome::Misconfigured {
        outcome = Outcome::Misconfigured;
    }
    outcome
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
        Ok(()) => {
            say(&format_args!("session.store: {server} can be used"));
            Outcome::Done
        }
        Err(problem) => complain(&format_args!("session.store: {problem}")),
    }
}

fn ask(config: &Config) -> Outcome {
    let (client, runtime) = match (Client::new(&config.wechat), runtime(1)) {
        (Ok(client), Ok(runtime)) => (client, runtime),
        (Err(error), _) => return complain(&error),
        (_, Err(error)) => return complain(&error),
    };
    let mut outcome = Outcome::Done;
    for app in &config.apps {
        match runtime.block_on(client.probe(app)) {
            Verdict::Right => say(&format_args!(
                "app {}: appid and secret are right",
                app.name
            )),
            Verdict::Wrong {
                errcode,
                advice,
                address,
            } => {
                let address = address.map_or_else(String::new, |address| format!(" ({address})"));
                outcome = complain(&format_args!(
                    "app {}: WeChat answered errcode {errcode}: {advice}{address}",
                    app.name
                ));
            }
            Verdict::Unknown { error, advice } => {
                outcome = complain(&format_args!(
                    "app {}: cannot tell: {error}; {advice}",
                    app.name
                ));
            }
        }
    }
    outcome
}

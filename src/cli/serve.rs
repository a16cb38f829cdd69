//! `menshen serve`: runs the proxy.

use std::path::Path;

use super::{Outcome, complain, config, runtime, signals, warn};
use crate::app::App;
use crate::clock::Clock;
use crate::log;

/// Runs the proxy until a signal stops it.
pub(super) fn run(file: &Path) -> Outcome {
    let config = match config(file) {
        Ok(config) => config,
        Err(problems) => return complain(&problems),
    };
    log::start(&config.log);
    let runtime = match runtime(config.server.threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            warn(&format_args!("the runtime cannot be started: {error}"));
            return Outcome::Failed;
        }
    };
    runtime.block_on(async {
        match App::build(config, &Clock::system()).await {
            Ok(app) => {
                let stop = signals::stop();
                for address in app.addresses() {
                    tracing::info!(%address, "listening");
                }
                app.serve(stop).await;
                Outcome::Done
            }
            Err(error) => complain(&error),
        }
    })
}

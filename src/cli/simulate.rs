//! `menshen simulate`: runs the WeChat simulator alone.

use std::net::SocketAddr;

use super::{Outcome, complain, runtime, say, signals, warn};
use crate::clock::Clock;
use crate::server::Listening;
use crate::simulator::{SimulatedApp, Simulator};

/// Runs the simulator until a signal stops it.
pub(super) fn run(listen: SocketAddr, apps: &[String]) -> Outcome {
    // Read here and not by clap, which would repeat the secret in its complaint.
    let apps = match apps
        .iter()
        .map(|app| app.parse())
        .collect::<Result<Vec<SimulatedApp>, _>>()
    {
        Ok(apps) => apps,
        Err(error) => return complain(&format_args!("--app: {error}")),
    };
    if apps.is_empty() {
        return complain(&"at least one --app APPID:SECRET is needed");
    }
    let runtime = match runtime(0) {
        Ok(runtime) => runtime,
        Err(error) => {
            warn(&format_args!("the runtime cannot be started: {error}"));
            return Outcome::Failed;
        }
    };
    runtime.block_on(async {
        let listener = match Listening::bind_one(listen) {
            Ok(listener) => listener,
            Err(error) => return complain(&error),
        };
        let stop = signals::stop();
        match listener.local_addr() {
            Ok(address) => say(&format_args!(
                "the WeChat simulator listens on http://{address}"
            )),
            Err(error) => tracing::warn!(%error, "the address is not known"),
        }
        let simulator = Simulator::new(apps, Clock::system());
        match simulator.serve(listener, stop).await {
            Ok(()) => Outcome::Done,
            Err(error) => {
                warn(&error);
                Outcome::Failed
            }
        }
    })
}

//! SIGUSR2: starts the program that is now where this one came from, and has it take this one's place.
//!
//! A package replaces the file and sends the signal. The process that serves is the successor's parent, so that a supervisor
//! finds both in the same place, and can be told by the one which of them is the main process.

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::thread;

use tokio::signal::unix::Signal;
use tokio::sync::oneshot;

use super::environment::{Environment, NotTaken};

const UPGRADE: &str = "--upgrade";

/// Why there is no successor.
#[derive(Debug, thiserror::Error)]
enum NoSuccessor {
    /// It has not been started.
    #[error("it cannot be started: {0}")]
    NotStarted(#[from] NotTaken),
    /// It has ended before it took this process's place.
    #[error("it has ended with {0}")]
    Ended(ExitStatus),
}

/// Starts one at each signal, unless one is on its way.
pub(super) async fn start_when_told(
    program: io::Result<PathBuf>,
    environment: Arc<Environment>,
    signals: Option<Signal>,
) {
    let Some(mut signals) = signals else {
        return;
    };
    while signals.recv().await.is_some() {
        let program = match &program {
            Ok(program) => program.clone(),
            Err(error) => {
                tracing::error!(%error, "no successor: where this program is cannot be known");
                continue;
            }
        };
        tracing::info!(program = %program.display(), "starting a successor");
        let environment = Arc::clone(&environment);
        let (say, heard) = oneshot::channel();
        // Where it takes over, this process ends before it: no runtime may wait for the thread.
        let waiting = thread::Builder::new()
            .name("successor".to_owned())
            .spawn(move || {
                // Nobody listens where this process ends.
                let _ = say.send(run(&program, &environment));
            });
        if let Err(error) = waiting {
            tracing::error!(%error, "no successor: going on");
        } else if let Ok(Err(error)) = heard.await {
            tracing::error!(%error, "no successor: going on");
        }
    }
}

/// Runs one to its end.
fn run(program: &Path, environment: &Environment) -> Result<(), NoSuccessor> {
    let status = start(program, environment)?
        .wait()
        .map_err(NotTaken::from)?;
    Err(NoSuccessor::Ended(status))
}

fn start(program: &Path, environment: &Environment) -> Result<Child, NotTaken> {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.filter(|argument| argument != UPGRADE).collect();
    let mut command = environment.hand_on(program)?;
    command.arg0(name).args(arguments).arg(UPGRADE);
    // It names this process, and would keep that one from giving a sign of life.
    command.env_remove("WATCHDOG_PID");
    Ok(command.spawn()?)
}

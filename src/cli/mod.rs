//! The command line: the commands, their options and the exit codes.

mod access_summary;
mod backup;
mod check;
mod dev;
mod environment;
mod explain;
mod explain_request;
mod generate;
mod keys;
mod private_call;
mod probe;
mod schema;
mod serve;
mod signals;
mod simulate;
mod successor;
mod version;
mod watch;

use std::fmt::Display;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::{Config, Problems, load};
use crate::secret::hide_memory;

const DEFAULT_FILE: &str = "conf/menshen.toml";

/// A reverse proxy that logs WeChat users in, so that the backend behind it does not have to.
#[derive(Debug, Parser)]
#[command(version = version::LINE, long_version = version::LINES, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy.
    Serve {
        #[command(flatten)]
        file: File,
        /// Take the place of the process that runs, without losing a request; it ends then.
        #[arg(long)]
        upgrade: bool,
    },
    /// Check the configuration and everything it names, and print every problem.
    Check {
        #[command(flatten)]
        file: File,
        /// Also ask WeChat, with a made-up code, whether each appid and secret is right.
        #[arg(long)]
        probe: bool,
        /// Only print which route would take a request and why, or why it would be refused.
        #[arg(long, num_args = 2, value_names = ["METHOD", "URL"], conflicts_with = "probe")]
        explain: Option<Vec<String>>,
    },
    /// Try it: simulator, store, a small backend and the proxy in one process, without a configuration.
    Dev(dev::Options),
    /// Run the WeChat simulator alone.
    Simulate {
        /// Where it listens.
        #[arg(long, default_value = "127.0.0.1:8600")]
        listen: SocketAddr,
        /// An app that it knows; may be given more than once.
        #[arg(long = "app", value_name = "APPID:SECRET")]
        apps: Vec<String>,
    },
    /// Tell of one of the last 10,000 requests what was decided, and what the client or the operator should do.
    ExplainRequest {
        /// The request's id, as a refusal and the log have it.
        #[arg(value_name = "REQUEST_ID")]
        id: String,
        #[command(flatten)]
        file: File,
        /// Print what the private listener answers.
        #[arg(long)]
        json: bool,
        /// A file with a secret of the private listener, in place of that of [control].
        #[arg(long)]
        secret_file: Option<PathBuf>,
    },
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Write the manual pages and the completions of shells, for packages.
    #[command(hide = true)]
    Generate {
        /// The folder, which gets the folders `man` and `completions`.
        folder: PathBuf,
    },
    /// Copy the signing keys and the embedded store into a new folder, also while they are used.
    Backup {
        #[command(flatten)]
        file: File,
        /// The folder, which must not exist yet.
        folder: PathBuf,
    },
    /// Put a backup where the configuration says, unless something is there.
    Restore {
        #[command(flatten)]
        file: File,
        /// The folder that `menshen backup` made.
        folder: PathBuf,
    },
    /// Make, list and retire signing keys.
    Keys {
        #[command(flatten)]
        file: File,
        #[command(subcommand)]
        action: keys::Action,
    },
}

#[derive(Debug, clap::Args)]
struct File {
    /// The configuration file.
    #[arg(short, long, default_value = DEFAULT_FILE, global = true)]
    config: PathBuf,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Failed,
    Misconfigured,
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    // clap prints its own errors and leaves with 2.
    let command = Arguments::parse().command;
    // Before anything secret is read.
    if let Err(error) = hide_memory() {
        warn(&format_args!("secrets could be in a core dump: {error}"));
    }
    let outcome = match command {
        Command::Serve { file, upgrade } => serve::run(&file.config, upgrade),
        Command::Check {
            file,
            probe,
            explain,
        } => match explain.as_deref() {
            Some([method, url]) => explain::run(&file.config, method, url),
            _ => check::run(&file.config, probe),
        },
        Command::Dev(options) => dev::run(options),
        Command::Simulate { listen, apps } => simulate::run(listen, &apps),
        Command::ExplainRequest {
            id,
            file,
            json,
            secret_file,
        } => explain_request::run(&file.config, &id, json, secret_file.as_deref()),
        Command::Schema => schema::run(),
        Command::Generate { folder } => generate::run(&folder, Arguments::command()),
        Command::Backup { file, folder } => backup::run(&file.config, &folder),
        Command::Restore { file, folder } => backup::restore(&file.config, &folder),
        Command::Keys { file, action } => keys::run(&file.config, &action),
    };
    match outcome {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::from(1),
        Outcome::Misconfigured => ExitCode::from(2),
    }
}

fn config(file: &std::path::Path) -> Result<Config, Problems> {
    load(file, &|name| std::env::var(name).ok())
}

/// Prints a line. Whoever stopped reading it does not stop the program.
fn say(line: &dyn Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line to stderr.
fn warn(line: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints a problem the way all of them are printed.
fn complain(problem: &dyn Display) -> Outcome {
    warn(problem);
    Outcome::Misconfigured
}

fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build()
}

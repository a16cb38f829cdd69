//! Takes secrets out of the environment: the program executes itself again without them, and reads them from a pipe.
//!
//! `/proc/PID/environ` shows the memory that the kernel filled when the program was executed. Removing a variable does
//! not change it, and overwriting that memory takes unsafe code. The process keeps its id, its name and its arguments.
//! Reloads find the values in memory. Where the system does not allow it, the log says so and the variables stay. A
//! profiler must follow `execve`.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::env;
use std::fs::File;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use zeroize::Zeroizing;

use crate::config::{Config, Problems, load};
use crate::secret::Secret;

/// Is set where secrets come over standard input.
const MARKER: &str = "MENSHEN_SECRETS_ON_STDIN";
/// What surely fits into a pipe that nobody reads yet.
const MOST_BYTES: usize = 60 * 1024;

/// What was taken out of the environment, by variable: a reload finds it here.
#[derive(Debug, Default)]
pub(super) struct Environment {
    taken: HashMap<String, Secret>,
}

/// Why secrets stay in the environment.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotTaken {
    /// They are too long.
    #[error("they are longer than {MOST_BYTES} bytes together")]
    TooLong,
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Environment {
    /// Receives what this program handed to itself.
    pub(super) fn inherited() -> io::Result<Self> {
        if env::var_os(MARKER).is_none() {
            return Ok(Self::default());
        }
        // Of another file than the standard library's, which would keep a copy.
        let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES));
        if input.metadata()?.file_type().is_fifo() {
            input.read_to_end(&mut bytes)?;
        }
        let mut texts = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let mut taken = HashMap::new();
        while let (Some(name), Some(secret)) = (texts.next(), texts.next()) {
            taken.insert(name.into_owned(), Secret::new(secret));
        }
        Ok(Self { taken })
    }

    /// Reads the configuration.
    pub(super) fn config(&self, file: &Path) -> Result<Config, Problems> {
        load(file, &|name| self.variable(name))
    }

    /// Does the same, and starts this program once more where what it names is still in the environment: then it does not return.
    pub(super) fn config_alone(
        &self,
        file: &Path,
    ) -> (Result<Config, Problems>, Result<(), NotTaken>) {
        let asked = RefCell::new(BTreeSet::new());
        let config = load(file, &|name| {
            asked.borrow_mut().insert(name.to_owned());
            self.variable(name)
        });
        let mut names = asked.into_inner();
        names.retain(|name| env::var(name).is_ok());
        if config.is_err() || names.is_empty() || env::var_os(MARKER).is_some() {
            return (config, Ok(()));
        }
        (config, start_again(&names))
    }

    /// Describes a process of a program that gets what was taken, as if it had taken it itself.
    pub(super) fn hand_on(&self, program: &Path) -> Result<Command, NotTaken> {
        let taken = self.taken.iter();
        let taken = taken.map(|(name, secret)| (name.as_str(), secret.expose()));
        let mut command = Command::new(program);
        command.env(MARKER, "1").stdin(handed_over(taken)?);
        Ok(command)
    }

    fn variable(&self, name: &str) -> Option<String> {
        let taken = self.taken.get(name);
        let taken = taken.map(|secret| secret.expose().to_owned());
        taken.or_else(|| env::var(name).ok())
    }
}

/// Starts this program in its own place, without some variables.
fn start_again(names: &BTreeSet<String>) -> Result<(), NotTaken> {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<_> = arguments.collect();
    let secrets: Vec<_> = names
        .iter()
        .map(|name| (name, Zeroizing::new(env::var(name).unwrap_or_default())))
        .collect();
    let mut last = NotTaken::TooLong;
    // By its path it keeps its name in lists of processes, and where that is gone it is found like this.
    for program in [
        env::current_exe().ok(),
        Some(PathBuf::from("/proc/self/exe")),
    ] {
        let Some(program) = program else { continue };
        let mut command = Command::new(program);
        command.arg0(&name).args(&arguments).env(MARKER, "1");
        for variable in names {
            command.env_remove(variable);
        }
        let secrets = secrets
            .iter()
            .map(|(name, secret)| (name.as_str(), secret.as_str()));
        last = command.stdin(handed_over(secrets)?).exec().into();
    }
    Err(last)
}

/// Returns a pipe in which some variables wait.
fn handed_over<'s>(
    variables: impl Iterator<Item = (&'s str, &'s str)>,
) -> Result<PipeReader, NotTaken> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES));
    for (name, secret) in variables {
        // It would grow, and leave a copy behind.
        if bytes.len() + name.len() + secret.len() + 2 > MOST_BYTES {
            return Err(NotTaken::TooLong);
        }
        for text in [name, secret] {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        }
    }
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(&bytes)?;
    Ok(reader)
}

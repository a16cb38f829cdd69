//! `menshen generate`: writes the manual pages and the completions of shells, made from the command line itself.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, ValueEnum as _};
use clap_complete::Shell;

use super::{Outcome, warn};

const NAME: &str = "menshen";

/// Writes them into two folders below one.
pub(super) fn run(folder: &Path, command: Command) -> Outcome {
    match write(folder, command) {
        Ok(()) => Outcome::Done,
        Err(error) => {
            warn(&format_args!("{}: {error}", folder.display()));
            Outcome::Failed
        }
    }
}

fn write(folder: &Path, mut command: Command) -> io::Result<()> {
    let (pages, completions) = (folder.join("man"), folder.join("completions"));
    fs::create_dir_all(&pages)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(command.clone(), &pages)?;
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut command, NAME, &completions)?;
    }
    Ok(())
}

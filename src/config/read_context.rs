//! What is learnt while a document is read, with the places where it was learnt.
//!
//! A relative path is joined here to the folder of the configuration file, so that it means the same for every command.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::key::{Key, SectionKind};
use super::kind::quoted;
use super::problem::Problem;
use super::settings::Setting;

/// What is learnt while a document is read.
pub(super) struct ReadContext<'d> {
    text: &'d str,
    /// Where relative paths begin.
    folder: PathBuf,
    /// The problems met so far.
    pub(super) problems: Vec<Problem>,
    /// Whether the keys and sections that are asked for are to be described.
    pub(super) describing: bool,
    /// Every key asked for.
    pub(super) keys: Vec<Key>,
    /// Every section asked for.
    pub(super) sections: Vec<(String, SectionKind)>,
    /// Every key of the document, those that were left out included.
    pub(super) settings: Vec<Setting>,
}

impl<'d> ReadContext<'d> {
    /// Begins with a document that stands in `file`.
    pub(super) fn new(text: &'d str, file: &Path) -> Self {
        Self {
            text,
            folder: file.parent().unwrap_or(Path::new("")).to_owned(),
            problems: Vec::new(),
            describing: false,
            keys: Vec::new(),
            sections: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// Returns the line, counted from 1, on which a span begins.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.bytes().take(span.start);
        before.filter(|byte| *byte == b'\n').count() + 1
    }

    /// Returns where a path leads that stands in the document, which is relative to the document's folder.
    pub(super) fn located(&self, written: impl AsRef<Path>) -> PathBuf {
        self.folder.join(written)
    }

    /// Notes a problem.
    pub(super) fn problem(&mut self, key: String, line: Option<usize>, message: String) {
        self.problems.push(Problem { key, line, message });
    }
}

/// Where a table stands in the document.
#[derive(Default)]
pub(super) struct TablePath {
    /// With list entries counted, such as `app[2]`, for problems.
    pub(super) path: String,
    /// Without, such as `app`, for the keys that exist.
    pub(super) section: String,
    /// The line of its heading; `None` when it was not written.
    pub(super) line: Option<usize>,
}

impl TablePath {
    /// Returns the place of a table below this one; `number` counts the entries of a list.
    pub(super) fn below(&self, key: &str, number: Option<usize>, line: Option<usize>) -> Self {
        let path = join(&self.path, key);
        Self {
            path: match number {
                Some(number) => format!("{path}[{number}]"),
                None => path,
            },
            section: join(&self.section, key),
            line,
        }
    }
}

/// Adds a key to a path.
pub(super) fn join(path: &str, key: &str) -> String {
    // A key is the operator's text: what would not be bare in TOML is quoted, which also keeps it on one line.
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = if key.chars().all(bare) && !key.is_empty() {
        key.to_owned()
    } else {
        quoted(key)
    };
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

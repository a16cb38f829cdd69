//! The names that operators give to apps and upstreams, and that routes refer to.

use toml::de::DeValue;

use super::kind::{self, Kind, quoted};
use super::reader::Table;

/// An app's name, which appears in tokens and headers.
pub(super) const APP: Kind<String> = Kind {
    expected: "a name of 1 to 32 characters from a-z, 0-9, \"-\" and \"_\"",
    read: |value| name(value, 32),
};

/// An upstream's name, which is the audience of assertions.
pub(super) const UPSTREAM: Kind<String> = Kind {
    expected: "a name of 1 to 64 characters from a-z, 0-9, \"-\" and \"_\"",
    read: |value| name(value, 64),
};

fn name(value: &DeValue<'_>, longest: usize) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    kind::text(value)
        .filter(|name| name.len() <= longest && name.chars().all(allowed))
        .map(str::to_owned)
}

/// The names taken in a list of sections, in their order and as written.
///
/// A section counts even when something else about it is wrong, so that one mistake is not reported again at each
/// route that refers to it.
#[derive(Default)]
pub(super) struct Names(Vec<Option<(String, String)>>);

impl Names {
    /// Adds the name under `key` in the next section of the list; a name taken before is a problem.
    pub(super) fn take(&mut self, table: &mut Table<'_, '_>, key: &str) {
        let name = table.text(key).map(str::to_owned);
        let earlier = self
            .0
            .iter()
            .flatten()
            .find(|(taken, _)| Some(taken) == name.as_ref());
        if let Some((name, owner)) = earlier {
            let name = quoted(name);
            table.refuse(
                key,
                format!("must be unique, not {name}, which {owner} has already"),
            );
        }
        self.0
            .push(name.map(|name| (name, table.path().to_owned())));
    }

    /// Returns the position of the section that has the name given under `key`; `None` means a problem was noted.
    pub(super) fn resolve(
        &self,
        table: &mut Table<'_, '_>,
        key: &str,
        name: &str,
    ) -> Option<usize> {
        let taken = self
            .0
            .iter()
            .map(|entry| entry.as_ref().map(|(taken, _)| taken));
        let position = taken
            .clone()
            .position(|taken| taken.is_some_and(|taken| taken == name));
        let known: Vec<String> = taken.flatten().map(|taken| quoted(taken)).collect();
        // With no names at all the list itself is at fault, and was refused.
        if position.is_none() && !known.is_empty() {
            let (known, name) = (known.join(", "), quoted(name));
            table.refuse(key, format!("must name one of {known}, not {name}"));
        }
        position
    }

    /// Returns every position.
    pub(super) fn positions(&self) -> Vec<usize> {
        (0..self.0.len()).collect()
    }
}

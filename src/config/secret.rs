//! Secrets, which come from a file or an environment variable and never from the configuration itself.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::contents::secret_contents;
use super::kind::TEXT;
use super::reader::Table;
use crate::secret::Secret;

/// Looks up an environment variable.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The two keys of one secret.
pub(super) struct Keys {
    /// Names a file.
    pub(super) file: &'static str,
    /// Names an environment variable.
    pub(super) env: &'static str,
}

/// What people and editors put round a text.
pub(super) const QUOTES: [char; 7] = [
    '"', '\'', '`', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}',
];

/// Reads a secret that must be given; `None` means a problem was noted.
pub(super) fn required(
    table: &mut Table<'_, '_>,
    keys: &Keys,
    env: Environment<'_>,
) -> Option<Secret> {
    require(table, keys);
    optional(table, keys, env)
}

/// Records a problem where a secret is not given.
pub(super) fn require(table: &mut Table<'_, '_>, keys: &Keys) {
    if !table.has(keys.file) && !table.has(keys.env) {
        let message = format!("is required, or {} instead of it", keys.env);
        table.refuse(keys.file, message);
    }
}

/// Reads a secret that may be left out; `None` means that it was, or that a problem was noted.
pub(super) fn optional(
    table: &mut Table<'_, '_>,
    keys: &Keys,
    env: Environment<'_>,
) -> Option<Secret> {
    optional_in(table, keys, env).map(|(secret, _)| secret)
}

/// Does the same, and returns the file that the secret came from, where it was one.
pub(super) fn optional_in(
    table: &mut Table<'_, '_>,
    keys: &Keys,
    env: Environment<'_>,
) -> Option<(Secret, Option<PathBuf>)> {
    // Unshown, and never named in a message: somebody may have put the secret where its place belongs.
    let file = table.unshown(keys.file, &TEXT);
    let variable = table.unshown(keys.env, &TEXT);
    if table.has(keys.file) && table.has(keys.env) {
        let message = format!("cannot be given together with {}", keys.env);
        table.refuse(keys.file, message);
        return None;
    }
    let file = file.map(|file| table.located(file));
    let (key, text) = match (&file, variable) {
        (Some(file), _) => (keys.file, from_file(file)),
        (None, Some(variable)) => (keys.env, from_environment(&variable, env)),
        (None, None) => return None,
    };
    text.and_then(one_line)
        .map(|secret| (secret, file))
        .map_err(|message| table.refuse(key, message))
        .ok()
}

/// Refuses a secret that an editor or a web page put quotes round, or a no-break space into.
pub(super) fn refuse_copied(table: &mut Table<'_, '_>, keys: &Keys, secret: Option<&Secret>) {
    let Some(secret) = secret.map(Secret::expose) else {
        return;
    };
    let told =
        if secret.chars().count() > 1 && secret.starts_with(QUOTES) && secret.ends_with(QUOTES) {
            "it is in quotes; take them out"
        } else if secret.contains('\u{a0}') {
            "a no-break space is in it"
        } else {
            return;
        };
    table.refuse(
        given(table, keys),
        format!("must lead to a secret, but {told}"),
    );
}

/// Returns the key that names the secret.
pub(super) fn given(table: &Table<'_, '_>, keys: &Keys) -> &'static str {
    let key = [keys.file, keys.env].into_iter().find(|key| table.has(key));
    key.unwrap_or(keys.file)
}

/// Reads the file of a secret again; `None` where it holds none.
pub(super) fn reread(path: &Path) -> Option<Secret> {
    from_file(path).and_then(one_line).ok()
}

fn from_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let bytes = secret_contents(path)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err("must name a file that holds text".to_owned()),
    }
}

fn from_environment(name: &str, env: Environment<'_>) -> Result<Zeroizing<String>, String> {
    env(name)
        .map(Zeroizing::new)
        .ok_or_else(|| "must name an environment variable that is set".to_owned())
}

fn one_line(text: Zeroizing<String>) -> Result<Secret, String> {
    let line = text.trim_end_matches(['\r', '\n']);
    if line.trim().is_empty() {
        Err("must lead to a secret, but what it names is empty".to_owned())
    } else if line.starts_with('\u{feff}') {
        Err("must lead to a secret, but a byte order mark stands before it; save it as UTF-8 without one".to_owned())
    } else if line.chars().any(char::is_control) {
        Err("must lead to a secret of one line".to_owned())
    } else if line.trim() != line {
        Err("must lead to a secret, but white space stands before or behind it".to_owned())
    } else {
        Ok(Secret::new(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newline_that_editors_add_is_no_part_of_a_secret() {
        let secret = one_line(Zeroizing::new("hunter2\r\n".to_owned())).unwrap();
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn what_an_editor_leaves_around_a_secret_is_told() {
        for (text, told) in [
            ("\u{feff}hunter2", "byte order mark"),
            (" hunter2", "white space"),
            ("hunter2 \n", "white space"),
            ("hunter2\u{a0}", "white space"),
            ("hunter2\u{3000}\n", "white space"),
        ] {
            let refused = one_line(Zeroizing::new(text.to_owned())).unwrap_err();
            assert!(
                refused.contains(told) && !refused.contains("hunter2"),
                "{refused}"
            );
        }
    }

    #[test]
    fn two_lines_are_no_secret() {
        assert!(one_line(Zeroizing::new("one\ntwo\n".to_owned())).is_err());
        assert!(one_line(Zeroizing::new(" \n".to_owned())).is_err());
    }
}

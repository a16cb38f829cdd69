//! What is wrong with a text that is no TOML, each mistake once.
//!
//! After a mistake the parser goes on in the middle of it, and may call everything up to the end of the file wrong. So the
//! statement with the first mistake is taken out, and the rest is read again.

use toml::de::{DeTable, Error};

/// More mistakes than these help nobody.
const MOST: usize = 20;

/// Returns the lines of the mistakes in a text, counted from 1, each with what is wrong there.
pub(super) fn mistakes(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let mut found = Vec::new();
    while found.len() < MOST {
        let joined = lines.join("\n");
        let (_, mistakes) = DeTable::parse_recoverable(&joined);
        let start = |mistake: &Error| mistake.span().map_or(joined.len(), |span| span.start);
        let Some(first) = mistakes.iter().min_by_key(|mistake| start(mistake)) else {
            break;
        };
        let mistake = Mistake::of(first, start(first), &lines);
        found.push((mistake.line + 1, mistake.message));
        if !take_out(&mut lines, mistake.first, mistake.behind, found.len()) {
            break;
        }
    }
    found
}

/// A mistake, and the lines of the statement that it is in; lines are counted from 0.
struct Mistake {
    line: usize,
    message: String,
    first: usize,
    behind: usize,
}

impl Mistake {
    fn of(error: &Error, at: usize, lines: &[String]) -> Self {
        let (line, before) = place(at, lines);
        let begins = |line: &usize| lines.get(*line).is_some_and(|text| begins_statement(text));
        let first = (0..=line).rev().find(begins).unwrap_or(line);
        let next = (line + 1..lines.len()).find(begins);
        let behind = next.unwrap_or(lines.len());
        // Where a sound statement begins with a mistake, the one before it goes on, and is what is wrong.
        let open = (0..line).rev().find(begins).filter(|open| {
            let at_beginning = before.trim_start().trim_matches('[').is_empty();
            at_beginning
                && first == line
                && is_sound(lines, line, behind)
                && !is_sound(lines, *open, line)
        });
        if let Some(open) = open {
            return Self {
                line: open,
                message: "must be TOML: the value that begins here does not end".to_owned(),
                first: open,
                behind: line,
            };
        }
        // Only the message: the whole error shows the line, which may hold a secret.
        let mut message = format!("must be TOML: {}", error.message());
        if lines
            .get(line)
            .is_some_and(|text| text.contains(TYPOGRAPHIC))
        {
            message
                .push_str("; there are full-width or curly characters, write \" ' = , [ ] instead");
        }
        Self {
            line,
            message,
            first,
            behind,
        }
    }
}

/// What text processors and Chinese keyboards write instead of the characters of TOML.
const TYPOGRAPHIC: [char; 9] = ['“', '”', '‘', '’', '＝', '，', '［', '］', '＂'];

/// Returns the line of an offset, and what stands before it on that line.
fn place(at: usize, lines: &[String]) -> (usize, String) {
    let mut left = at;
    for (line, text) in lines.iter().enumerate() {
        if left <= text.len() {
            return (line, text.get(..left).unwrap_or(text).to_owned());
        }
        left -= text.len() + 1;
    }
    (lines.len().saturating_sub(1), String::new())
}

/// Returns whether a line looks like the beginning of `key = …`, `[section]` or `[[section]]`.
fn begins_statement(line: &str) -> bool {
    let line = line.trim_start();
    let name = line.trim_start_matches('[');
    let in_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let rest = name.trim_start_matches(in_name);
    let rest = (rest.len() < name.len()).then(|| rest.trim_start());
    let sign = if name.len() < line.len() { ']' } else { '=' };
    rest.is_some_and(|rest| rest.starts_with(sign))
}

/// Returns whether some lines alone are TOML.
fn is_sound(lines: &[String], first: usize, behind: usize) -> bool {
    let alone: Vec<&str> = lines
        .iter()
        .take(behind)
        .skip(first)
        .map(String::as_str)
        .collect();
    DeTable::parse_recoverable(&alone.join("\n")).1.is_empty()
}

/// How the name of a section begins that stands where a mistake was.
const TAKEN: &str = "menshen-mistake-";

/// Replaces lines with something that is no mistake; tells whether anything changed.
fn take_out(lines: &mut [String], first: usize, behind: usize, number: usize) -> bool {
    let mut changed = false;
    let taken = lines.iter_mut().take(behind).skip(first);
    for (at, line) in taken.enumerate() {
        // The keys below a section must not become those of the section before it.
        let is_section = at == 0 && line.trim_start().starts_with('[') && !line.contains(TAKEN);
        let instead = match is_section {
            true => format!("[{TAKEN}{number}]"),
            false => String::new(),
        };
        changed = changed || *line != instead;
        *line = instead;
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn told(text: &str, expected: &[(usize, &str)]) {
        let found = mistakes(text);
        let same = found.len() == expected.len();
        let each = found.iter().zip(expected);
        let same = same
            && each
                .clone()
                .all(|(found, expected)| found.0 == expected.0 && found.1.contains(expected.1));
        assert!(same, "{found:#?}");
    }

    #[test]
    fn a_list_that_is_not_closed_is_one_mistake_where_it_begins() {
        let rest = "[[app]]\nname = \"shop\"\nkind = \"mini_program\"\n";
        let closed = [(2, "the value that begins here does not end")];
        told(
            &format!("[server]\nlisten = [\"127.0.0.1:0\"\n\n{rest}"),
            &closed,
        );
        told(
            &format!("[server]\nlisten = [\"127.0.0.1:0\"\nthreads = 1\n{rest}"),
            &closed,
        );
        told(
            &format!("[server]\nlisten = [\n  \"127.0.0.1:0\",\n\nthreads = 1\n{rest}"),
            &closed,
        );
        told(&format!("[server]\nlisten = [\n{rest}"), &closed);
        told(
            "[server]\nlisten = [\"127.0.0.1:0\"",
            &[(2, "unclosed array")],
        );
    }

    #[test]
    fn each_statement_that_is_wrong_is_told_once() {
        told(
            "a = 1 2\nb = \"x\nc == 3\n[[d]\ne = 1\n[f]\na = 1\na = 2\n",
            &[
                (1, ""),
                (2, "invalid basic string"),
                (3, ""),
                (4, "unclosed array table"),
                (8, "duplicate key"),
            ],
        );
    }

    #[test]
    fn a_section_that_is_there_twice_is_told_once() {
        told(
            "[server]\nthreads = 1\n[control]\nlisten = \"a\"\n[server]\nlisten = \"b\"\n",
            &[(5, "duplicate key")],
        );
    }

    #[test]
    fn curly_quotes_are_named() {
        told("kind = “mini_program”\n", &[(1, "full-width or curly")]);
        told("kind ＝ \"mini_program\"\n", &[(1, "full-width or curly")]);
    }

    #[test]
    fn a_file_of_nothing_but_mistakes_comes_to_an_end() {
        assert_eq!(mistakes(&"a = = 1\n".repeat(100)).len(), MOST);
        assert!(!mistakes("a = \"\"\"\nb = 1\n").is_empty());
        assert!(!mistakes("\u{0}").is_empty());
    }
}

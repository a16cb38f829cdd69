//! What is wrong with a configuration file, as told to the operator.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key's path, with list entries counted from 1, such as `route[2].upstream`; empty for the file as a whole.
    pub key: String,
    /// The line it is on; `None` where nothing was written.
    pub line: Option<usize>,
    /// What was expected and what was found; never a secret's value.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, line, message } = self;
        match (key.as_str(), line) {
            ("", None) => write!(f, "{message}"),
            ("", Some(line)) => write!(f, "line {line}: {message}"),
            (key, None) => write!(f, "{key}: {message}"),
            (key, Some(line)) => write!(f, "{key} (line {line}): {message}"),
        }
    }
}

/// Everything that is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file, as the operator named it.
    pub file: String,
    /// The problems in the order of their lines; those without a line come last.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Puts problems in the order in which somebody reads the file.
    pub(super) fn new(file: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Self {
            file: file.to_owned(),
            problems,
        }
    }

    /// Returns each problem.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{}: {count} {noun}", self.file)?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(key: &str, line: Option<usize>) -> Problem {
        Problem {
            key: key.to_owned(),
            line,
            message: "is required".to_owned(),
        }
    }

    #[test]
    fn problems_are_listed_one_a_line_under_the_file() {
        let problems = Problems::new(
            "conf/menshen.toml",
            vec![problem("app", None), problem("server.listen", Some(3))],
        );
        assert_eq!(
            problems.to_string(),
            "conf/menshen.toml: 2 problems\n  server.listen (line 3): is required\n  app: is required"
        );
    }

    #[test]
    fn one_problem_is_not_called_problems() {
        let problems = Problems::new("x.toml", vec![problem("", Some(7))]);
        assert_eq!(
            problems.to_string(),
            "x.toml: 1 problem\n  line 7: is required"
        );
    }
}

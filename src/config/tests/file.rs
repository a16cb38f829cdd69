//! What a file is refused for as a whole.

use std::path::Path;

use super::{APP, ROUTE, SERVER, UPSTREAM, env, instead, problems, read, refused, with};
use crate::config::load;

#[test]
fn mistakes_about_a_file_as_a_whole_are_refused_with_their_key_and_a_reason() {
    refused([
        (with("[wechat]", "timeout = 5s"), "line 14: must be TOML: "),
        (with("[server]", ""), "line 13: must be TOML: duplicate key"),
        (
            with("[contol]", "a = 1"),
            "contol (line 13): is not a known section",
        ),
        (
            with("[sever]", "a = 1"),
            "sever (line 13): is not a known section; did you mean server?",
        ),
        (
            format!("listen = 1\n{}", with("", "")),
            "listen (line 1): is not a known key",
        ),
        (
            format!("token = 5\n{}", with("", "")),
            "token (line 1): must be a section, not 5",
        ),
        (
            [APP, UPSTREAM, ROUTE].concat(),
            "server.listen: is required",
        ),
        (
            [SERVER, UPSTREAM, ROUTE].concat(),
            "app: is required: at least one [[app]]",
        ),
        (
            [SERVER, APP, ROUTE].concat(),
            "upstream: is required: at least one [[upstream]]",
        ),
        (
            [SERVER, APP, UPSTREAM].concat(),
            "route: is required: at least one [[route]]",
        ),
        (
            ["route = []\n", SERVER, APP, UPSTREAM].concat(),
            "route (line 1): must be a list of sections, each under [[route]], not a list",
        ),
        (
            instead("[[app]]", "[app]"),
            "app (line 3): must be a list of sections, each under [[app]], not a table",
        ),
    ]);
}

#[test]
fn five_mistakes_are_five_problems_at_their_lines() {
    let text = r#"
[server]
listen = ["127.0.0.1:8080", "nowhere"]
threads = "many"

[[app]]
name = "shop"
kind = "mini_program"
appid = "wx1"
secret = "hunter2"
secret_env = "SECRET"

[[upstream]]
name = "api"
servers = [
  "127.0.0.1:3000",
  "http://127.0.0.1:3001/x",
]

[[route]]
upstream = "ap"
"#;
    let found = read(text).unwrap_err();
    let places: Vec<(&str, Option<usize>)> = found
        .problems
        .iter()
        .map(|problem| (problem.key.as_str(), problem.line))
        .collect();
    assert_eq!(
        places,
        [
            ("server.listen", Some(3)),
            ("server.threads", Some(4)),
            ("app[1].secret", Some(10)),
            ("upstream[1].servers", Some(17)),
            ("route[1].upstream", Some(21)),
        ],
        "{found}"
    );
}

#[test]
fn several_syntax_errors_are_reported_together() {
    let found = problems("[server]\nlisten = nowhere\n[wechat]\ntimeout = 5s\n");
    let lines: Vec<bool> = ["line 2: ", "line 4: "]
        .iter()
        .map(|line| found.iter().any(|problem| problem.starts_with(line)))
        .collect();
    assert_eq!(lines, [true, true], "{found:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_without_a_line() {
    let problems = load(Path::new("/none/menshen.toml"), &env).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "/none/menshen.toml: 1 problem\n  cannot be read: no such file"
    );
}

#[test]
fn a_file_that_is_not_text_is_refused_at_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("menshen.toml");
    std::fs::write(&file, b"[server]\n# \xff\n").unwrap();
    let problems = load(&file, &env).unwrap_err();
    assert_eq!(problems.problems[0].to_string(), "line 2: must be UTF-8");
}

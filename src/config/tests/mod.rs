//! What a configuration is refused for, with the words used; this file makes good and bad ones.

use super::{Config, Problem, Problems, parse};

mod apps;
mod control;
mod cors;
mod default;
mod file;
mod log;
mod login;
mod route;
mod secret;
mod server;
mod session;
mod token;
mod traces;
mod upstream;
mod wechat;

const SECRET: &str = "hunter2hunter2";

const SERVER: &str = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
const APP: &str =
    "[[app]]\nname = \"shop\"\nkind = \"mini_program\"\nappid = \"wx1\"\nsecret_env = \"SECRET\"\n";
const UPSTREAM: &str = "[[upstream]]\nname = \"api\"\nservers = [\"127.0.0.1:3000\"]\n";
const ROUTE: &str = "[[route]]\nupstream = \"api\"\n";

fn env(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some(format!("{SECRET}\n")),
        "SPACED" => Some("a secret with spaces in it".to_owned()),
        "PROXY_AUTH" => Some("me:a:b".to_owned()),
        "WHOLE_SECRET" => Some("0123456789abcdef0123456789abcdef".to_owned()),
        "UPPER_CASE" => Some("0123456789ABCDEF0123456789ABCDEF".to_owned()),
        "QUOTED" => Some("\"me:hunter2hunter2\"".to_owned()),
        "UNBROKEN" => Some("me:hun\u{a0}ter2hunter2".to_owned()),
        "EMPTY" => Some("\n".to_owned()),
        "SEAL_KEY" => Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".to_owned()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Config, Problems> {
    parse(text, "menshen.toml", &env)
}

/// Returns a good file with more keys in one of its sections, or with one more section.
fn with(section: &str, lines: &str) -> String {
    let below = |name: &str, text: &str| match section {
        section if section == name => format!("{text}{lines}\n"),
        _ => text.to_owned(),
    };
    let mut text = [
        below("server", SERVER),
        below("app", APP),
        below("upstream", UPSTREAM),
        below("route", ROUTE),
    ]
    .concat();
    if !["server", "app", "upstream", "route"].contains(&section) {
        text.push_str(&format!("{section}\n{lines}\n"));
    }
    text
}

/// Returns a good file with one of its lines replaced.
fn instead(old: &str, new: &str) -> String {
    let text = with("", "");
    assert!(text.contains(old), "{old}");
    text.replace(old, new)
}

fn problems(text: &str) -> Vec<String> {
    match read(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.problems.iter().map(Problem::to_string).collect(),
    }
}

/// Checks that each file has a problem that begins so.
#[track_caller]
fn refused<const N: usize>(cases: [(String, &str); N]) {
    let missed: Vec<_> = cases
        .into_iter()
        .map(|(text, expected)| (expected, problems(&text)))
        .filter(|(expected, problems)| {
            !problems.iter().any(|problem| problem.starts_with(expected))
        })
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

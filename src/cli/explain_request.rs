//! `menshen explain-request`: asks the process that runs why one of the last exchanges went as it did.

use std::fs;
use std::path::Path;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::{Outcome, complain, runtime, say, warn};
use crate::config::load_control;
use crate::control::ask;
use crate::request::RequestId;
use crate::secret::Secret;

/// How long the answer may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What is said in place of the names of the answer, in this order.
const WORDS: [(&str, &str); 18] = [
    ("ended", "ended"),
    ("request", "request"),
    ("status", "status"),
    ("decision", "decision"),
    ("reason", "reason"),
    ("message", "the client was told"),
    ("token_fault", "what is wrong"),
    ("errcode", "WeChat's errcode"),
    ("retry_after", "may come again after (s)"),
    ("credential", "credential"),
    ("app", "app"),
    ("session", "session"),
    ("client", "client"),
    ("trace_id", "trace"),
    ("elapsed_ms", "took (ms)"),
    ("upstream_ms", "of which the server (ms)"),
    ("client_should", "the client should"),
    ("operator_should", "the operator should"),
];

/// Asks about a request; `secret_file` holds the secret where the configuration does not lead to it.
pub(super) fn run(file: &Path, id: &str, json: bool, secret_file: Option<&Path>) -> Outcome {
    if !RequestId::is_fit(id) {
        return complain(&"a request id is up to 128 letters, digits, -, _ and .");
    }
    let env = |name: &str| std::env::var(name).ok();
    let (address, configured) = match load_control(file, &env) {
        Ok(found) => found,
        Err(problems) => return complain(&problems),
    };
    let Some(address) = address else {
        return complain(&"control.listen is \"\": there is no private listener to ask");
    };
    let secret = match secret_file.map(fs::read_to_string).transpose() {
        Ok(given) => given
            .map(|text| Secret::new(text.trim().to_owned()))
            .or(configured),
        Err(error) => return complain(&format_args!("--secret-file cannot be read: {error}")),
    };
    let asked = runtime(1).map(|runtime| {
        let path = format!("/v1/requests/{id}");
        runtime.block_on(ask(&address, secret.as_ref(), Method::GET, &path, LIMIT))
    });
    let answer = match asked {
        Ok(Ok((status, body))) => serde_json::from_slice::<Value>(&body).map(|body| (status, body)),
        Ok(Err(error)) => {
            warn(&format_args!("{address} {error}"));
            return Outcome::Failed;
        }
        Err(error) => {
            warn(&error);
            return Outcome::Failed;
        }
    };
    match answer {
        Ok((200, told)) if json => say(&told),
        Ok((200, told)) => print(&told),
        Ok((status, refused)) => {
            let text = |name: &str| {
                refused
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            warn(&format_args!(
                "{status} {}: {}",
                text("error"),
                text("message")
            ));
            return Outcome::Failed;
        }
        Err(_) => {
            warn(&format_args!("{address} answers, but is no Menshen"));
            return Outcome::Failed;
        }
    }
    Outcome::Done
}

/// Prints what was told, a line each; what is not there, or says nothing, is left out.
fn print(told: &Value) {
    for (name, word) in WORDS {
        match told.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() => {}
            // Its client may have chosen it.
            Some(Value::String(text)) => say(&format_args!("{word}: {}", text.escape_debug())),
            Some(value) => say(&format_args!("{word}: {value}")),
        }
        if name == "decision"
            && let Some(route) = told.get("route").filter(|route| route.is_object())
        {
            let text = |name: &str| route.get(name).and_then(Value::as_str).unwrap_or_default();
            say(&format_args!(
                "route: {}{} to {}",
                text("host"),
                text("path"),
                text("upstream")
            ));
        }
    }
}

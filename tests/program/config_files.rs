//! The configuration files that come with Menshen load and say the truth about every key.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::process::Command;

use menshen::config::{Config, known_keys, load};
use menshen_test_support::{find_installed, find_repository, read_from_repository};
use toml::{Table, Value};

#[test]
fn the_minimal_file_loads() {
    let config = loaded("minimal.toml");
    assert_eq!(config.apps.len(), 1);
}

#[test]
fn the_full_file_loads_and_means_the_same_as_the_minimal_one() {
    let (full, minimal) = (loaded("menshen.toml"), loaded("minimal.toml"));
    assert_eq!(format!("{full:#?}"), format!("{minimal:#?}"));
}

#[test]
fn the_full_file_has_every_key_and_no_other() {
    let known: Vec<String> = known_keys().into_iter().map(|(key, _)| key).collect();
    let mut written: Vec<String> = values(&uncommented(&read_from_repository("conf/menshen.toml")))
        .into_keys()
        .collect();
    let mut sorted = known.clone();
    sorted.sort();
    written.sort();
    assert_eq!(written, sorted);
}

#[test]
fn every_live_key_of_the_full_file_is_at_its_default() {
    let live = values(&read_from_repository("conf/menshen.toml"));
    for (key, default) in known_keys() {
        let Some(default) = default else { continue };
        assert_eq!(live.get(&key), Some(&value(&default)), "{key}");
    }
}

#[test]
fn a_key_without_a_default_is_live_only_where_it_is_required() {
    let live = values(&read_from_repository("conf/menshen.toml"));
    let without_default = known_keys()
        .into_iter()
        .filter(|(key, default)| default.is_none() && live.contains_key(key));
    let live: Vec<String> = without_default.map(|(key, _)| key).collect();
    let required = values(&read_from_repository("conf/minimal.toml"));
    for key in live {
        assert!(required.contains_key(&key), "{key}");
    }
}

#[test]
fn every_key_of_the_full_file_has_a_comment_line() {
    let text = read_from_repository("conf/menshen.toml");
    let mut before = "";
    for line in text.lines() {
        let is_key = key_of(line).is_some() || (line.contains(" = ") && !line.starts_with('#'));
        let has_comment = before.starts_with("# ") && key_of(before).is_none();
        assert!(!is_key || has_comment, "{line}");
        before = line;
    }
}

#[test]
fn the_schema_takes_what_comes_with_menshen_and_refuses_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    let schema = Command::new(env!("CARGO_BIN_EXE_menshen"))
        .arg("schema")
        .output()
        .unwrap();
    assert!(schema.status.success());
    let schema_file = folder.path().join("schema.json");
    std::fs::write(&schema_file, schema.stdout).unwrap();
    let config = folder.path().join("menshen.toml");
    let tool = find_installed("deploy/bin/check-jsonschema", "check-jsonschema");
    let refusal = |text: &str| {
        std::fs::write(&config, text).unwrap();
        let mut check = Command::new(&tool);
        check.arg("--schemafile").arg(&schema_file).arg(&config);
        let ended = check.output().expect("run `make test` to install it");
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        (!ended.status.success()).then_some(said)
    };
    let minimal = read_from_repository("conf/minimal.toml");
    for good in [
        &minimal,
        &read_from_repository("conf/menshen.toml"),
        &uncommented(&read_from_repository("conf/menshen.toml")),
    ] {
        assert_eq!(refusal(good), None);
    }
    for (from, to, names) in [
        ("listen = ", "lisen = ", "lisen"),
        ("auth = \"required\"", "auth = \"yes\"", "auth"),
        ("appid = ", "appid = 7 # ", "appid"),
        ("[[route]]", "[[rout]]", "route"),
        ("servers = [\"127.0.0.1:3000\"]", "servers = []", "servers"),
        ("kind = \"mini_program\"\n", "", "kind"),
    ] {
        assert!(minimal.contains(from), "{from}");
        let said = refusal(&minimal.replace(from, to));
        assert!(
            said.as_ref().is_some_and(|said| said.contains(names)),
            "{to}: {said:?}"
        );
    }
}

fn loaded(name: &str) -> Config {
    let secret = |name: &str| (name == "SHOP_APP_SECRET").then(|| "0123456789abcdef".to_owned());
    match load(&find_repository().join("conf").join(name), &secret) {
        Ok(config) => config,
        Err(problems) => panic!("{problems}"),
    }
}

/// Returns what follows `# ` in a line such as `# key = value`.
fn key_of(line: &str) -> Option<&str> {
    let line = line.strip_prefix("# ")?;
    let (key, _) = line.split_once(" = ")?;
    let bare = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
    key.chars().all(bare).then_some(line)
}

/// Makes every commented-out key live.
fn uncommented(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(|line| key_of(line).unwrap_or(line))
        .collect();
    lines.join("\n")
}

fn value(toml: &str) -> Value {
    let table: Table = format!("value = {toml}").parse().unwrap();
    table.into_iter().next().unwrap().1
}

/// Returns each key of a file under its section-qualified name.
fn values(text: &str) -> BTreeMap<String, Value> {
    let mut values = BTreeMap::new();
    flatten("", &Value::Table(text.parse().unwrap()), &mut values);
    values
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    let below = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                flatten(&below(key), value, into);
            }
        }
        Value::Array(entries) if entries.iter().any(Value::is_table) => {
            for entry in entries {
                flatten(path, entry, into);
            }
        }
        Value::Array(_)
        | Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => {
            into.insert(path.to_owned(), value.clone());
        }
    }
}

//! The JSON Schema of the configuration, for editors; made from what the code asks for when it reads a file.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use toml::de::DeValue;

use super::key::{Key, Need, SectionKind};
use super::load::described;

/// The file that has a comment about every key.
const COMMENTED: &str = include_str!("../../conf/menshen.toml");

/// Returns the schema, in draft 7, which editors know.
pub fn schema() -> Value {
    let (keys, sections) = described();
    let comments = comments();
    let description = Description {
        keys: &keys,
        sections: &sections,
        comments: &comments,
    };
    let mut schema = description.table("");
    schema.insert(
        "$schema".to_owned(),
        json!("http://json-schema.org/draft-07/schema#"),
    );
    schema.insert("title".to_owned(), json!("Menshen's configuration"));
    Value::Object(schema)
}

/// What the schema is made of.
struct Description<'k> {
    keys: &'k [Key],
    sections: &'k [(String, SectionKind)],
    /// The comments about keys and sections, by path.
    comments: &'k HashMap<String, String>,
}

impl Description<'_> {
    /// Describes the section at a path, which is empty for the file as a whole.
    fn table(&self, path: &str) -> Map<String, Value> {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for key in self.keys {
            if let Some(name) = name_in(path, &key.path) {
                properties.insert(name.to_owned(), Value::Object(self.key(key)));
                if matches!(key.need, Need::Required | Need::RequiredList) {
                    required.push(name);
                }
            }
        }
        for (section, kind) in self.sections {
            if let Some(name) = name_in(path, section) {
                let described = self.section(section, *kind);
                let asks = described.get("required").and_then(Value::as_array);
                if *kind == SectionKind::OneOrMore || asks.is_some_and(|asks| !asks.is_empty()) {
                    required.push(name);
                }
                properties.insert(name.to_owned(), Value::Object(described));
            }
        }
        let mut table = Map::new();
        table.insert("type".to_owned(), json!("object"));
        table.insert("additionalProperties".to_owned(), json!(false));
        table.insert("required".to_owned(), json!(required));
        table.insert("properties".to_owned(), Value::Object(properties));
        table
    }

    fn section(&self, path: &str, kind: SectionKind) -> Map<String, Value> {
        let table = self.table(path);
        let mut section = match kind {
            SectionKind::One => table,
            SectionKind::Several | SectionKind::OneOrMore => {
                let mut list = Map::new();
                list.insert("type".to_owned(), json!("array"));
                list.insert("items".to_owned(), Value::Object(table));
                if kind == SectionKind::OneOrMore {
                    list.insert("minItems".to_owned(), json!(1));
                }
                list
            }
        };
        if let Some(comment) = self.comments.get(path) {
            section.insert("description".to_owned(), json!(comment));
        }
        section
    }

    fn key(&self, key: &Key) -> Map<String, Value> {
        let value = value(key);
        let mut described = match key.need {
            Need::Required | Need::Optional => value,
            Need::List | Need::RequiredList => {
                let mut list = Map::new();
                list.insert("type".to_owned(), json!("array"));
                list.insert("items".to_owned(), Value::Object(value));
                if key.need == Need::RequiredList {
                    list.insert("minItems".to_owned(), json!(1));
                }
                list
            }
        };
        let expected = format!("Must be {}.", key.expected);
        // What is said of a section whose keys stand on one line goes for each of them.
        let section = key.path.rsplit_once('.').map_or("", |(section, _)| section);
        let comment = self.comments.get(&key.path);
        let description = match comment.or_else(|| self.comments.get(section)) {
            Some(comment) => format!("{comment} {expected}"),
            None => expected,
        };
        described.insert("description".to_owned(), json!(description));
        if let Some(default) = key.default.as_deref().and_then(json_of) {
            described.insert("default".to_owned(), default);
        }
        described
    }
}

/// Describes what one value of a key may be.
fn value(key: &Key) -> Map<String, Value> {
    let takes = &key.takes;
    let mut ways: Vec<Map<String, Value>> = Vec::new();
    let mut way = |members: Value| ways.extend(members.as_object().cloned());
    if takes.boolean {
        way(json!({"type": "boolean"}));
    }
    if takes.ratio {
        way(json!({"type": "number", "minimum": 0, "maximum": 1}));
    } else if let Some((least, most)) = takes.number {
        let mut number = json!({"type": "integer", "minimum": least.unwrap_or(0)});
        if let (Some(most), Some(number)) = (most, number.as_object_mut()) {
            number.insert("maximum".to_owned(), json!(most));
        }
        way(number);
    }
    if takes.list {
        way(json!({"type": "array", "items": {"type": "string"}}));
    }
    if !takes.words.is_empty() {
        way(json!({"enum": takes.words}));
    } else if takes.text {
        way(json!({"type": "string"}));
    }
    match (ways.pop(), ways.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            ways.extend(last);
            let mut any = Map::new();
            any.insert("anyOf".to_owned(), json!(ways));
            any
        }
    }
}

/// Returns the name of what is directly in a section.
fn name_in<'p>(section: &str, path: &'p str) -> Option<&'p str> {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    (parent == section).then_some(name)
}

/// Returns the comment about each key and section.
fn comments() -> HashMap<String, String> {
    let mut comments = HashMap::new();
    let (mut section, mut comment) = (String::new(), String::new());
    for line in COMMENTED.lines() {
        let said = line.strip_prefix("# ");
        let heading = line.trim_start_matches('[').split_once(']');
        if let Some((name, _)) = heading.filter(|_| line.starts_with('[')) {
            section = name.to_owned();
            comments.insert(section.clone(), std::mem::take(&mut comment));
        } else if let Some(name) = key_of(said.unwrap_or(line)) {
            comments.insert(format!("{section}.{name}"), std::mem::take(&mut comment));
        } else if let Some(said) = said {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(said);
        } else {
            comment.clear();
        }
    }
    comments
}

/// Returns the key of a line such as `key = value`.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once(" = ")?;
    let bare = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
    (!key.is_empty() && key.chars().all(bare)).then_some(key)
}

/// Returns a value in TOML notation as JSON; `None` for what defaults are not.
fn json_of(toml: &str) -> Option<Value> {
    let value = DeValue::parse(toml).ok()?;
    Some(match value.get_ref() {
        DeValue::String(text) => json!(text.as_ref()),
        DeValue::Integer(number) => json!(number.as_str().parse::<u64>().ok()?),
        DeValue::Float(number) => json!(number.as_str().parse::<f64>().ok()?),
        DeValue::Boolean(switch) => json!(switch),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| item.get_ref().as_str());
            json!(texts.collect::<Option<Vec<_>>>()?)
        }
        DeValue::Datetime(_) | DeValue::Table(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::known_keys;

    /// Returns what the schema says of a key or section.
    fn at(path: &str) -> Value {
        let mut found = schema();
        for name in path.split('.') {
            let table = if found["type"] == "array" {
                &found["items"]
            } else {
                &found
            };
            found = table["properties"][name].clone();
        }
        found
    }

    #[test]
    fn every_key_is_in_the_schema_with_its_default_and_a_comment() {
        for (path, default) in known_keys() {
            let key = at(&path);
            assert!(key.is_object(), "{path}");
            let default = default.map(|default| json_of(&default).unwrap());
            assert_eq!(key.get("default"), default.as_ref(), "{path}");
            let said = key["description"].as_str().unwrap();
            assert!(!said.starts_with("Must be"), "{path}: {said}");
        }
    }

    #[test]
    fn what_must_be_there_and_what_it_may_be_is_said() {
        let schema = schema();
        assert_eq!(
            schema["required"],
            json!(["server", "app", "upstream", "route"])
        );
        assert_eq!(
            at("app")["items"]["required"],
            json!(["name", "kind", "appid"])
        );
        assert_eq!(at("server")["additionalProperties"], json!(false));
        assert_eq!(
            at("route.auth")["enum"],
            json!(["required", "optional", "public", "signed_url"])
        );
        assert_eq!(at("server.listen")["items"]["type"], json!("string"));
        assert_eq!(at("upstream.max_fails")["maximum"], json!(1000));
        assert_eq!(
            at("server.max_connections")["anyOf"][1]["enum"],
            json!(["auto"])
        );
        assert_eq!(at("server.certificate")["type"], json!("array"));
    }
}

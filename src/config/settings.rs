//! Every key as it was read, for people to look at: a secret is set or not, and that is all.

use std::fmt;
use std::sync::Arc;

use toml::de::DeValue;

use super::kind::quoted;

/// A key of the configuration, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its path, such as `app[1].name`.
    pub key: String,
    /// What it is set to.
    pub value: SettingValue,
}

/// Every key of a configuration, in the order in which keys are read.
#[derive(Clone, Default)]
pub struct Settings(pub Arc<[Setting]>);

/// What a key is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// What was written, in TOML notation.
    Written(String),
    /// What goes where nothing was written, in TOML notation.
    Default(String),
    /// Something that leads to a secret was written, and is not shown.
    Hidden,
    /// Nothing, and there is no default.
    Unset,
}

impl fmt::Debug for Settings {
    /// The values that were read say the same, and two files that mean the same are to look the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings")
    }
}

/// Shows a value as it is written; what may be a password is left out, and long texts are cut.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    let listed = |items: Vec<String>| items.join(", ");
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| shown(item.get_ref())).collect();
            format!("[{}]", listed(items))
        }
        // No key that exists takes one, so that nobody has checked what is in it.
        DeValue::Table(_) => "{…}".to_owned(),
    }
}

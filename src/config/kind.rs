//! The kinds of value a key may have.

use toml::de::DeValue;

/// What a value must be: the words for it and the check.
pub(super) struct Kind<T> {
    /// Completes "must be …".
    pub(super) expected: &'static str,
    /// Returns `None` for anything else.
    pub(super) read: fn(&DeValue<'_>) -> Option<T>,
}

pub(super) const SWITCH: Kind<bool> = Kind {
    expected: "true or false",
    read: |value| value.as_bool(),
};

pub(super) const TEXT: Kind<String> = Kind {
    expected: "a string that is not empty",
    read: |value| text(value).map(str::to_owned),
};

/// Returns a string that has something in it and nothing that would break a line.
pub(super) fn text<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    value
        .as_str()
        .filter(|text| !text.trim().is_empty() && !text.chars().any(char::is_control))
}

/// Returns a whole number that is not negative.
pub(super) fn number(value: &DeValue<'_>) -> Option<u64> {
    let digits = value.as_integer()?;
    u64::from_str_radix(digits.as_str(), digits.radix()).ok()
}

/// Describes a value as found; long ones are cut, and what may be a password is left out.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(switch) => switch.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Quotes a text on one line.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    // `user:password@host` is the one form in which a password gets into a value that is not a secret's.
    if text.contains('@') {
        return "a text with \"@\" in it".to_owned();
    }
    let mut shown: String = text.chars().take(SHOWN).collect();
    if text.chars().count() > SHOWN {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_found_text_stays_on_one_line_and_is_cut() {
        assert_eq!(quoted("a\n\"b\""), r#""a\n\"b\"""#);
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), 63);
    }

    #[test]
    fn a_found_password_is_left_out() {
        assert!(!quoted("https://me:hunter2@example.com").contains("hunter2"));
    }

    #[test]
    fn numbers_in_every_notation_are_read() {
        for (text, expected) in [
            ("0x10", Some(16)),
            ("1_000", Some(1000)),
            ("-1", None),
            ("1.0", None),
            ("\"1\"", None),
        ] {
            let value = DeValue::parse(text).unwrap();
            assert_eq!(number(value.get_ref()), expected, "{text}");
        }
    }
}

//! Reads checked values out of a TOML document and notes every key asked for and every problem met.
//!
//! Serde is not used for this: it stops at the first problem, knows no lines once a value has been taken over, and
//! cannot say which keys exist or what their defaults are. Here a section asks for its keys one by one; what it asks
//! for is what is known, so unknown keys, suggestions and [`known_keys`](super::known_keys) need no second list.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::key::{Key, Need, SectionKind};
use super::kind::{Kind, found};
use super::read_context::{ReadContext, TablePath, join};
use super::settings::{Setting, SettingValue, shown};
use super::unknown::unknown;

/// One table of the document while it is read; a table that was not written reads as an empty one.
pub(super) struct Table<'n, 'd> {
    context: &'n mut ReadContext<'d>,
    place: TablePath,
    entries: Option<&'d DeTable<'d>>,
    asked: Vec<&'static str>,
}

/// Reads a whole document.
pub(super) fn read<'d, T>(
    context: &mut ReadContext<'d>,
    document: &'d DeTable<'d>,
    read: impl FnOnce(&mut Table<'_, '_>) -> T,
) -> T {
    Table::visit(context, TablePath::default(), Some(document), read)
}

impl<'d> Table<'_, 'd> {
    /// Reads a key that must be there; `None` means a problem was noted.
    pub(super) fn required<T>(&mut self, key: &'static str, kind: &Kind<T>) -> Option<T> {
        self.ask(key, None, kind, Need::Required);
        self.refuse_absence(key, kind.expected);
        self.value(key, kind)
    }

    /// Reads a key that may be left out; `None` means that it was, or that a problem was noted.
    pub(super) fn optional<T>(&mut self, key: &'static str, kind: &Kind<T>) -> Option<T> {
        self.ask(key, None, kind, Need::Optional);
        self.value(key, kind)
    }

    /// Reads a key like [`Table::optional`], and never shows what was found.
    pub(super) fn unshown<T>(&mut self, key: &'static str, kind: &Kind<T>) -> Option<T> {
        self.ask(key, None, kind, Need::Optional);
        self.hide(key);
        let (_, value) = self.entry(key)?;
        let read = (kind.read)(value.get_ref());
        if read.is_none() {
            self.refuse(key, format!("must be {}", kind.expected));
        }
        read
    }

    /// Reads a key that has a default, given in TOML notation; `None` means a problem was noted.
    pub(super) fn or<T>(&mut self, key: &'static str, default: &str, kind: &Kind<T>) -> Option<T> {
        self.ask(key, Some(default), kind, Need::Optional);
        if self.has(key) {
            return self.value(key, kind);
        }
        let default = DeValue::parse(default).ok()?;
        (kind.read)(default.get_ref())
    }

    /// Reads a list with at least one item; `None` means a problem was noted.
    pub(super) fn required_list<T>(&mut self, key: &'static str, item: &Kind<T>) -> Option<Vec<T>> {
        self.ask(key, None, item, Need::RequiredList);
        self.refuse_absence(key, item.expected);
        let items = self.items(key, item)?;
        if items.is_empty() {
            self.refuse(key, format!("must be {}, not empty", item.expected));
            return None;
        }
        Some(items)
    }

    /// Reads a list that is empty when it was left out; `None` means a problem was noted.
    pub(super) fn list<T>(&mut self, key: &'static str, item: &Kind<T>) -> Option<Vec<T>> {
        self.ask(key, Some("[]"), item, Need::List);
        if self.has(key) {
            self.items(key, item)
        } else {
            Some(Vec::new())
        }
    }

    /// Refuses a list in which something stands twice, or that is in an `earlier` one.
    pub(super) fn refuse_repeats<T: PartialEq + std::fmt::Display>(
        &mut self,
        key: &'static str,
        earlier: &[T],
        items: &[T],
    ) {
        for (at, item) in items.iter().enumerate() {
            if earlier
                .iter()
                .chain(items.iter().take(at))
                .any(|other| other == item)
            {
                self.refuse(key, format!("names {item} twice"));
            }
        }
    }

    /// Reads a list that may be left out; `None` means that it was, or that a problem was noted.
    pub(super) fn optional_list<T>(&mut self, key: &'static str, item: &Kind<T>) -> Option<Vec<T>> {
        self.ask(key, None, item, Need::List);
        self.items(key, item)
    }

    /// Reads a table below this one.
    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Table<'_, '_>) -> T,
    ) -> T {
        self.ask_section(key, SectionKind::One);
        let Some((_, value)) = self.entry(key) else {
            let place = self.place.below(key, None, self.place.line);
            return Table::visit(self.context, place, None, read);
        };
        let Some(entries) = value.get_ref().as_table() else {
            let found = found(value.get_ref());
            self.refuse(key, format!("must be a section, not {found}"));
            return self.imagine(key, read);
        };
        let line = self.context.line(&value.span());
        let place = self.place.below(key, None, Some(line));
        Table::visit(self.context, place, Some(entries), read)
    }

    /// Reads a list of tables that may be left out.
    pub(super) fn optional_sections<T>(
        &mut self,
        key: &'static str,
        read: impl FnMut(&mut Table<'_, '_>) -> Option<T>,
    ) -> Vec<Option<T>> {
        if self.has(key) {
            return self.sections(key, read);
        }
        self.ask_section(key, SectionKind::Several);
        self.imagine(key, read);
        Vec::new()
    }

    /// Reads a list of tables, of which there must be one; an entry is `None` where a problem was noted.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&mut Table<'_, '_>) -> Option<T>,
    ) -> Vec<Option<T>> {
        self.ask_section(key, SectionKind::OneOrMore);
        let Some((_, value)) = self.entry(key) else {
            self.refuse(key, format!("is required: at least one [[{key}]]"));
            return vec![self.imagine(key, read)];
        };
        let tables = value.get_ref().as_array().filter(|list| !list.is_empty());
        let Some(tables) = tables else {
            let found = found(value.get_ref());
            let message = format!("must be a list of sections, each under [[{key}]], not {found}");
            self.refuse(key, message);
            return vec![self.imagine(key, read)];
        };
        let mut values = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let line = self.context.line(&table.span());
            let place = self.place.below(key, Some(index + 1), Some(line));
            let Some(entries) = table.get_ref().as_table() else {
                let message = format!("must be a section, not {}", found(table.get_ref()));
                self.context.problem(place.path, Some(line), message);
                values.push(None);
                continue;
            };
            values.push(Table::visit(self.context, place, Some(entries), &mut read));
        }
        values
    }

    /// Returns whether a key was written, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Returns a text as it was written, checked or not.
    pub(super) fn text(&self, key: &str) -> Option<&'d str> {
        self.entry(key)
            .and_then(|(_, value)| value.get_ref().as_str())
    }

    /// Returns this table's path, such as `route[2]`.
    pub(super) fn path(&self) -> &str {
        &self.place.path
    }

    /// Returns where a path leads, which is relative to the folder of the configuration file.
    pub(super) fn located(&self, written: impl AsRef<Path>) -> PathBuf {
        self.context.located(written)
    }

    /// Notes a problem with one of this table's keys.
    pub(super) fn refuse(&mut self, key: &str, message: String) {
        let written = self
            .entry(key)
            .map(|(key, _)| self.context.line(&key.span()));
        let path = join(&self.place.path, key);
        self.context
            .problem(path, written.or(self.place.line), message);
    }

    /// Records a problem with a key of a section that was read before.
    pub(super) fn refuse_in(&mut self, section: &str, key: &str, message: String) {
        let entries = self.entry(section);
        let entries = entries.and_then(|(_, value)| value.get_ref().as_table());
        let written = entries.and_then(|entries| entries.get_key_value(key));
        let line = written.map(|(key, _)| self.context.line(&key.span()));
        let path = join(&join(&self.place.path, section), key);
        self.context.problem(path, line, message);
    }

    fn visit<'n, T>(
        context: &'n mut ReadContext<'d>,
        place: TablePath,
        entries: Option<&'d DeTable<'d>>,
        read: impl FnOnce(&mut Table<'n, 'd>) -> T,
    ) -> T {
        let mut table = Table {
            context,
            place,
            entries,
            asked: Vec::new(),
        };
        let value = read(&mut table);
        table.refuse_unknown_keys();
        value
    }

    /// Reads a section that is not there only to learn its keys; what is wrong with it is not worth a word.
    fn imagine<T>(&mut self, key: &str, read: impl FnOnce(&mut Table<'_, '_>) -> T) -> T {
        let noted = (self.context.problems.len(), self.context.settings.len());
        let place = self.place.below(key, None, None);
        let value = Table::visit(self.context, place, None, read);
        self.context.problems.truncate(noted.0);
        self.context.settings.truncate(noted.1);
        value
    }

    fn ask<T>(&mut self, key: &'static str, default: Option<&str>, kind: &Kind<T>, need: Need) {
        self.asked.push(key);
        if self.context.describing {
            let path = join(&self.place.section, key);
            self.context.keys.push(Key::of(path, default, kind, need));
        }
        let value = match (self.entry(key), default) {
            (Some((_, value)), _) => SettingValue::Written(shown(value.get_ref())),
            (None, Some(default)) => SettingValue::Default(default.to_owned()),
            (None, None) => SettingValue::Unset,
        };
        let key = join(&self.place.path, key);
        self.context.settings.push(Setting { key, value });
    }

    /// Takes back what was noted of the value of the key that was asked for last.
    fn hide(&mut self, key: &str) {
        let is_written = self.has(key);
        if let Some(setting) = self.context.settings.last_mut().filter(|_| is_written) {
            setting.value = SettingValue::Hidden;
        }
    }

    fn ask_section(&mut self, key: &'static str, kind: SectionKind) {
        self.asked.push(key);
        if self.context.describing {
            let path = join(&self.place.section, key);
            self.context.sections.push((path, kind));
        }
    }

    fn entry(&self, key: &str) -> Option<(&'d Spanned<DeString<'d>>, &'d Spanned<DeValue<'d>>)> {
        self.entries.and_then(|entries| entries.get_key_value(key))
    }

    fn value<T>(&mut self, key: &str, kind: &Kind<T>) -> Option<T> {
        let (_, value) = self.entry(key)?;
        let read = (kind.read)(value.get_ref());
        if read.is_none() {
            let found = found(value.get_ref());
            self.refuse(key, format!("must be {}, not {found}", kind.expected));
        }
        read
    }

    fn items<T>(&mut self, key: &str, item: &Kind<T>) -> Option<Vec<T>> {
        let (_, value) = self.entry(key)?;
        let Some(list) = value.get_ref().as_array() else {
            let found = found(value.get_ref());
            self.refuse(key, format!("must be {}, not {found}", item.expected));
            return None;
        };
        let mut items = Vec::new();
        for value in list.iter() {
            let read = (item.read)(value.get_ref());
            if read.is_none() {
                let line = self.context.line(&value.span());
                let found = found(value.get_ref());
                let message = format!("must be {}, not {found}", item.expected);
                let path = join(&self.place.path, key);
                self.context.problem(path, Some(line), message);
            }
            items.push(read);
        }
        items.into_iter().collect()
    }

    fn refuse_absence(&mut self, key: &str, expected: &str) {
        if !self.has(key) {
            self.refuse(key, format!("is required and must be {expected}"));
        }
    }

    fn refuse_unknown_keys(&mut self) {
        for (key, value) in self.entries.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if !self.asked.contains(&name) {
                let value = value.get_ref();
                let top = self.place.path.is_empty();
                let noun = if top && (value.is_table() || value.is_array()) {
                    "section"
                } else {
                    "key"
                };
                self.refuse(name, unknown(noun, name, &self.asked));
            }
        }
    }
}

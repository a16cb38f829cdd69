//! What is known of a key beside its value: whether it must be there, and which values its kind takes.

use toml::de::DeValue;

use super::kind::Kind;

/// Whether a key must be there, and whether its value is a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// One value.
    Required,
    /// One value or none.
    Optional,
    /// A list with something in it.
    RequiredList,
    /// A list.
    List,
}

/// How often a section may be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// As one table, or not at all.
    One,
    /// As a list of tables.
    Several,
    /// As a list with a table in it.
    OneOrMore,
}

/// A key that a configuration may have.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// Its path without numbers, such as `route.auth`.
    pub(super) path: String,
    /// Its default in TOML notation.
    pub(super) default: Option<String>,
    pub(super) need: Need,
    /// Completes "must be …".
    pub(super) expected: &'static str,
    /// What a value, or each item of a list, may be.
    pub(super) takes: Takes,
}

/// Which values a kind takes, found out by trying.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Takes {
    pub(super) boolean: bool,
    /// The least and the greatest whole number, where they are said.
    pub(super) number: Option<(Option<u64>, Option<u64>)>,
    /// A part of a whole, from 0 to 1.
    pub(super) ratio: bool,
    pub(super) list: bool,
    pub(super) text: bool,
    /// The only texts, where there are no others.
    pub(super) words: Vec<String>,
}

/// Texts of the forms that kinds ask for, but for words that only one kind knows.
const TEXTS: [&str; 7] = [
    "menshen",
    "menshen:1",
    "https://menshen.example",
    "/menshen",
    "60s",
    "1MiB",
    "MENSHEN",
];

impl Key {
    pub(super) fn of<T>(path: String, default: Option<&str>, kind: &Kind<T>, need: Need) -> Self {
        let takes = Takes::of(kind, default);
        Self {
            path,
            default: default.map(str::to_owned),
            need,
            expected: kind.expected,
            takes,
        }
    }
}

impl Takes {
    fn of<T>(kind: &Kind<T>, default: Option<&str>) -> Self {
        let taken = |toml: &str| {
            DeValue::parse(toml).is_ok_and(|value| (kind.read)(value.get_ref()).is_some())
        };
        let taken_text = |text: &str| taken(&format!("{text:?}"));
        let shown = kind.expected.split('"').skip(1).step_by(2);
        let words: Vec<String> = shown
            .filter(|word| taken_text(word))
            .map(str::to_owned)
            .collect();
        let open = TEXTS.into_iter().any(taken_text) || kind.expected.contains("such as");
        let default_is =
            |sign| default.is_some_and(|default| default.starts_with(sign) && taken(default));
        let (least, most) = bounds(kind.expected);
        let within = [least, most]
            .into_iter()
            .flatten()
            .map(|bound| bound.to_string());
        let numbers = within.chain(["0", "1", "1000"].map(str::to_owned));
        let number = numbers.into_iter().any(|number| taken(&number));
        let shown_list = kind.expected.find('[').zip(kind.expected.find(']'));
        let shown_list = shown_list.and_then(|(from, to)| kind.expected.get(from..=to));
        let takes = Self {
            boolean: taken("true"),
            number: number.then_some((least, most)),
            ratio: taken("0.5"),
            list: taken("[\"127.0.0.1:8080\"]") || shown_list.is_some_and(taken) || default_is('['),
            text: false,
            words: Vec::new(),
        };
        // A text that names an environment variable or a file is taken in any form, and so is one that no example shows.
        let only = !takes.boolean && !number && !takes.list;
        Self {
            text: only || default_is('"') || !words.is_empty(),
            words: if open { Vec::new() } else { words },
            ..takes
        }
    }
}

/// Returns the bounds that "from 0 to 10" or "at least 1" say.
fn bounds(expected: &str) -> (Option<u64>, Option<u64>) {
    let behind = |word: &str| -> Option<u64> {
        let (_, rest) = expected.split_once(word)?;
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    let Some(rest) = expected
        .find("whole number")
        .and_then(|at| expected.get(at..))
    else {
        return (None, None);
    };
    let most = rest.split_once(" to ").and_then(|(_, rest)| {
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    });
    (behind("number from ").or(behind("at least ")), most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::described;

    #[track_caller]
    fn takes(path: &str) -> Takes {
        let (keys, _) = described();
        let key = keys.into_iter().find(|key| key.path == path);
        key.unwrap().takes
    }

    #[test]
    fn words_that_stand_alone_are_the_only_ones() {
        for (path, words) in [
            (
                "route.auth",
                vec!["required", "optional", "public", "signed_url"],
            ),
            (
                "app.kind",
                vec!["mini_program", "official_account", "website"],
            ),
            (
                "upstream.balance",
                vec!["round_robin", "least_connections", "hash"],
            ),
            ("session.store", vec!["embedded", "redis"]),
        ] {
            assert_eq!(takes(path).words, words, "{path}");
        }
        for path in [
            "app.name",
            "app.appid",
            "route.path",
            "route.methods",
            "token.ttl",
            "control.listen",
        ] {
            let takes = takes(path);
            assert!(takes.text && takes.words.is_empty(), "{path}: {takes:?}");
        }
    }

    #[test]
    fn other_values_are_told_by_trying() {
        assert!(takes("log.access").boolean && !takes("log.access").text);
        assert_eq!(
            takes("upstream.max_fails").number,
            Some((Some(0), Some(1000)))
        );
        assert_eq!(takes("cache.max_tokens").number, Some((Some(1), None)));
        let connections = takes("server.max_connections");
        assert_eq!(connections.words, ["auto"]);
        assert!(connections.number.is_some());
        for path in ["cors.allow_headers", "route.cors.allow_headers"] {
            let headers = takes(path);
            assert!(headers.list && !headers.text, "{headers:?}");
        }
        assert!(takes("traces.sample").ratio && !takes("traces.queue").ratio);
        let proxy = takes("server.proxy_protocol");
        assert!(proxy.boolean && proxy.list, "{proxy:?}");
    }
}

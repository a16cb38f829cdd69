//! The sources keep the rules of the house: who may know whom, where each crate is known, how long a file may be.
#![expect(clippy::expect_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use menshen_test_support::find_repository;

/// What each part may use: only parts above its own line, so that nothing leads back to it.
const MAY_USE: [(&str, &[&str]); 21] = [
    ("clock", &[]),
    ("owner", &[]),
    ("secret", &[]),
    ("metrics", &[]),
    ("trust", &[]),
    ("page", &[]),
    ("demo", &["page"]),
    ("config", &["secret"]),
    ("log", &["config"]),
    ("simulator", &["clock", "page", "secret"]),
    (
        "session",
        &["clock", "config", "metrics", "owner", "secret"],
    ),
    (
        "token",
        &["clock", "config", "metrics", "owner", "secret", "session"],
    ),
    (
        "wechat",
        &["clock", "config", "metrics", "secret", "session", "trust"],
    ),
    ("traces", &["config", "trust"]),
    ("request", &["config", "session", "token"]),
    (
        "login",
        &[
            "clock", "config", "metrics", "page", "request", "secret", "session", "token",
            "traces", "wechat",
        ],
    ),
    (
        "server",
        &[
            "clock", "config", "log", "login", "metrics", "owner", "page", "request", "session",
            "token", "traces", "trust",
        ],
    ),
    (
        "control",
        &[
            "clock", "config", "log", "metrics", "page", "request", "secret", "session", "token",
            "wechat",
        ],
    ),
    (
        "app",
        &[
            "clock", "config", "control", "log", "login", "metrics", "request", "server",
            "session", "token", "traces", "wechat",
        ],
    ),
    (
        "cli",
        &[
            "app",
            "clock",
            "config",
            "control",
            "demo",
            "log",
            "request",
            "secret",
            "server",
            "session",
            "simulator",
            "token",
            "wechat",
        ],
    ),
    ("main", &["cli"]),
];

/// Where alone each of these crates is known.
const HOMES: [(&str, &[&str]); 16] = [
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("sd_notify", &["server"]),
    ("mimalloc", &["main"]),
    ("ppp", &["request"]),
    ("prometheus_client", &["metrics"]),
    ("pingora", &["server"]),
    ("jsonwebtoken", &["token"]),
    ("opentelemetry", &["traces"]),
    ("prost", &["traces"]),
    ("reqwest", &["traces", "wechat"]),
    ("redb", &["session"]),
    ("redis", &["session"]),
    ("axum", &["control", "demo", "simulator"]),
    ("hyper", &["control", "demo", "wechat"]),
    ("hyper_util", &["control", "demo", "wechat"]),
];

/// What each room of `server` may use: only rooms above its own line.
const ROOMS: [(&str, &[&str]); 12] = [
    ("file_state", &[]),
    ("message", &[]),
    ("tcp", &[]),
    ("timer", &[]),
    ("workers", &[]),
    ("http1", &["message", "tcp", "timer"]),
    ("http2", &["http1", "message"]),
    (
        "upstreams",
        &["file_state", "http1", "http2", "message", "workers"],
    ),
    ("sockets", &["http1", "timer"]),
    (
        "exchange",
        &["http1", "http2", "message", "sockets", "timer", "upstreams"],
    ),
    (
        "connection",
        &["exchange", "file_state", "http1", "http2", "tcp", "timer"],
    ),
    (
        "process",
        &["connection", "exchange", "sockets", "tcp", "workers"],
    ),
];

const MOST_LINES: usize = 400;
/// The same for the files of `server`.
const MOST_LINES_OF_THE_WIRE: usize = 300;

/// A file of `src`.
struct Source {
    /// Where it is below `src`, such as `token/verify.rs`.
    path: String,
    text: String,
}

impl Source {
    /// Returns the folder, or the file without its extension, that stands in `src` itself.
    fn part(&self) -> &str {
        let part = self.path.split('/').next().unwrap_or_default();
        part.strip_suffix(".rs").unwrap_or(part)
    }

    /// Returns the lines before the file's own tests.
    fn lines(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|pair| {
            matches!(pair, ["#[cfg(test)]", module] if module.starts_with("mod ") && module.ends_with('{'))
        });
        lines
            .into_iter()
            .take(tests.unwrap_or(usize::MAX))
            .collect()
    }

    /// Returns the same without comments, as one text.
    fn code(&self) -> String {
        let mut lines = self.lines();
        lines.retain(|line| !line.trim_start().starts_with("//"));
        lines.join("\n")
    }

    /// Returns the parts that it names.
    fn parts_used(&self) -> BTreeSet<String> {
        let root = if self.path == "main.rs" {
            "menshen::"
        } else {
            "crate::"
        };
        parts_used(&self.code(), root)
    }

    /// Returns the files and folders beside it that only tests know, without their extension.
    fn test_modules(&self) -> Vec<String> {
        let mut lines = self.text.lines();
        let mut modules = Vec::new();
        while lines.any(|line| line == "#[cfg(test)]") {
            let item = lines.find(|line| !line.starts_with("#[")).unwrap_or("");
            let module = item.split_once("mod ");
            modules.extend(module.and_then(|(_, module)| module.strip_suffix(';')));
        }
        let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = |module| format!("{folder}/{module}");
        modules.into_iter().map(path).collect()
    }
}

/// Reads every file of `src`.
fn sources() -> Vec<Source> {
    let src = find_repository().join("src");
    let mut folders = vec![src.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(&src).expect("is below src");
                sources.push(Source {
                    path: below.to_str().expect("is UTF-8").to_owned(),
                    text: fs::read_to_string(&path).expect("is text"),
                });
            }
        }
    }
    sources
}

/// Reads the files of `src` that are part of the program.
fn program() -> Vec<Source> {
    let mut sources = sources();
    let tests: BTreeSet<String> = sources.iter().flat_map(Source::test_modules).collect();
    sources.retain(|source| {
        let path = source.path.trim_end_matches(".rs");
        let mut above = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        !tests.contains(path) && !above.any(|folder| tests.contains(folder))
    });
    sources
}

/// Returns what follows each place where `root` stands as the first part of a path.
fn after<'c>(code: &'c str, root: &str) -> Vec<&'c str> {
    let within = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(root)
        .filter(|(at, _)| !code.get(..*at).unwrap_or("").ends_with(within))
        .filter_map(|(at, _)| code.get(at + root.len()..))
        .collect()
}

/// Returns the parts that a code names behind `crate::`, or behind the library's name in the program.
fn parts_used(code: &str, root: &str) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    for rest in after(code, root) {
        let Some(list) = rest.strip_prefix('{') else {
            parts.insert(first_word(rest));
            continue;
        };
        let (mut depth, mut fresh) = (0, true);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                _ if fresh && c.is_alphabetic() => {
                    parts.insert(first_word(list.get(at..).unwrap_or("")));
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    parts
}

fn first_word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

#[test]
fn parts_are_found_in_every_way_to_name_them() {
    let code = "use crate::app::App;\nuse crate::{\n    config::{A, B},\n    log,\n};\n\
                fn f(x: crate::token::Raw) { supercrate::no(); }";
    let found: Vec<String> = parts_used(code, "crate::").into_iter().collect();
    assert_eq!(found, ["app", "config", "log", "token"]);
}

#[test]
fn a_part_uses_only_parts_above_it_in_the_table() {
    let mut above = BTreeSet::new();
    for (part, uses) in MAY_USE {
        for used in uses {
            assert!(above.contains(used), "{part} uses {used}");
        }
        above.insert(part);
    }
}

#[test]
fn dependencies_point_one_way() {
    for source in program() {
        let part = source.part();
        if part == "lib" {
            continue;
        }
        let (_, allowed) = MAY_USE
            .into_iter()
            .find(|(known, _)| *known == part)
            .unwrap_or_else(|| panic!("{part} needs a line in this test's table"));
        for used in source.parts_used() {
            let fine = used == part || allowed.contains(&used.as_str());
            assert!(fine, "{} must not use {used}", source.path);
        }
    }
}

#[test]
fn every_line_of_the_table_is_needed() {
    let sources = program();
    for (part, allowed) in MAY_USE {
        let used: BTreeSet<String> = sources
            .iter()
            .filter(|source| source.part() == part)
            .flat_map(Source::parts_used)
            .collect();
        for name in allowed {
            assert!(used.contains(*name), "{part} no longer uses {name}");
        }
    }
}

#[test]
fn the_rooms_of_the_wire_form_no_circle() {
    let mut above = BTreeSet::new();
    for (room, uses) in ROOMS {
        for used in uses {
            assert!(above.contains(used), "{room} uses {used}");
        }
        above.insert(room);
    }
    let sources = program();
    for (room, allowed) in ROOMS {
        let mut used = BTreeSet::new();
        for source in &sources {
            let Some(rest) = source.path.strip_prefix("server/") else {
                continue;
            };
            let here = rest.split(['/', '.']).next().unwrap_or_default();
            if here == room {
                used.extend(parts_used(&source.code(), "crate::server::"));
            }
        }
        used.remove(room);
        let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(used, allowed, "{room}");
    }
}

/// Returns the names that a `mod.rs` hands on from the files beside it, with the file of each.
fn handed_on(code: &str) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for rest in after(code, "use self::") {
        let (path, _) = rest.split_once(';').expect("the end of a use");
        let (file, list) = path.split_once("::").expect("what is used of a file");
        let list = list.trim_matches(['{', '}']);
        let name = |item: &str| item.rsplit(" as ").next().unwrap_or("").trim().to_owned();
        names.extend(list.split(',').map(|item| (name(item), file.to_owned())));
    }
    names
}

#[test]
fn what_a_room_hands_on_is_known_by_its_file() {
    let code = "pub use self::a::A;\npub(super) use self::b::{B, c as C};\nuse crate::d::D;";
    let found: Vec<_> = handed_on(code).into_iter().collect();
    let found: Vec<_> = found
        .iter()
        .map(|(n, f)| (n.as_str(), f.as_str()))
        .collect();
    assert_eq!(found, [("A", "a"), ("B", "b"), ("C", "b")]);
}

/// Returns what each file or folder of a folder of `server` uses of those beside it, `mod` among them: what its `mod.rs` defines
/// itself.
fn uses_in(folder: &str, sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let root = format!("crate::{}", folder.replace('/', "::"));
    let top = sources
        .iter()
        .find(|source| source.path == format!("{folder}mod.rs"));
    let handed_on = top.map_or_else(BTreeMap::new, |top| handed_on(&top.code()));
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        let Some(rest) = source.path.strip_prefix(folder) else {
            continue;
        };
        let here = rest.split(['/', '.']).next().unwrap_or_default();
        let code = source.code();
        let used = found.entry(here.to_owned()).or_default();
        used.extend(parts_used(&code, &root));
        if here == "mod" {
            // It also names the files beside it without a path.
            used.extend(modules(&code));
        } else if rest.split('/').count() == 1
            || rest.ends_with("/mod.rs") && rest.split('/').count() == 2
        {
            // What a file deeper down calls `super` is its own folder.
            used.extend(parts_used(&code, "super::"));
        }
    }
    let files: BTreeSet<String> = found.keys().cloned().collect();
    let file_of = |name: &String| match handed_on.get(name) {
        _ if files.contains(name) => name.clone(),
        Some(file) => file.clone(),
        None => "mod".to_owned(),
    };
    let uses = found.iter().map(|(file, names)| {
        let used = names.iter().map(file_of).filter(|used| used != file);
        (file.clone(), used.collect())
    });
    uses.collect()
}

/// Returns the files and folders beside a `mod.rs` that it declares.
fn modules(code: &str) -> Vec<String> {
    let lines = code.lines().filter_map(|line| line.strip_suffix(';'));
    let names = lines.filter_map(|line| line.rsplit_once("mod "));
    names.map(|(_, name)| name.to_owned()).collect()
}

#[test]
fn the_files_of_a_room_form_no_circle() {
    let sources = program();
    let folders = sources.iter().filter_map(|source| {
        let folder = source.path.strip_suffix("mod.rs")?;
        let is_inside = folder.starts_with("server/") && folder != "server/";
        is_inside.then_some(folder)
    });
    for folder in folders {
        let mut uses = uses_in(folder, &sources);
        // What uses nothing that is left is no part of a circle.
        while let Some(done) = uses
            .iter()
            .find_map(|(name, used)| used.is_empty().then(|| name.clone()))
        {
            uses.remove(&done);
            for used in uses.values_mut() {
                used.remove(&done);
            }
        }
        assert!(uses.is_empty(), "{folder}: {uses:?}");
    }
}

#[test]
fn no_path_goes_round_the_table() {
    for source in program() {
        let code = source.code();
        assert!(!code.contains("super::super::"), "{}", source.path);
        if !source.path.contains('/') {
            assert_eq!(after(&code, "super::").len(), 0, "{}", source.path);
        }
    }
}

#[test]
fn each_crate_is_known_in_its_home_alone() {
    for (name, homes) in HOMES {
        let mut known = BTreeSet::new();
        for source in program() {
            let code = source.code();
            let uses = after(&code, name).into_iter().filter(|rest| {
                // Also a crate of the same family, such as pingora_core.
                let family = |c: char| c == '_' || c.is_ascii_lowercase();
                let path = rest.trim_start_matches(family);
                let is_crate = rest == &path || rest.starts_with('_');
                is_crate && (path.starts_with("::") || path.starts_with(';'))
            });
            if uses.count() > 0 {
                let at_home = homes.contains(&source.part());
                assert!(at_home, "{} must not know {name}", source.path);
                known.insert(source.part().to_owned());
            }
        }
        assert!(known.iter().eq(homes), "{name} is known in {known:?} only");
    }
}

#[test]
fn tokens_are_decoded_in_one_place() {
    let mut decoders = Vec::new();
    for source in program() {
        let code = source.code();
        let calls = after(&code, "decode").into_iter().filter(|rest| {
            // A method of that name, such as base64's, is another thing.
            let start = code.len() - rest.len() - "decode".len();
            let method = code.get(..start).unwrap_or("").ends_with('.');
            !method && (rest.starts_with('(') || rest.starts_with("::<"))
        });
        decoders.extend(calls.map(|_| source.path.clone()));
        assert!(!code.contains("insecure_decode"), "{}", source.path);
    }
    assert_eq!(decoders, ["token/verify.rs"]);
}

// It would inherit what is in the environment.
#[test]
fn no_other_program_is_started() {
    for source in program() {
        let code = source.code();
        if source.path == "cli/environment.rs" {
            // It starts itself, in its own place.
            assert!(!code.contains("spawn") && !code.contains("output()"));
            assert_eq!(code.matches("Command::new(program)").count(), 2);
            continue;
        }
        if source.path == "cli/successor.rs" {
            // It starts what was installed in its place, which is to have the same secrets.
            assert_eq!(code.matches("spawn()").count(), 1);
            assert!(!code.contains("Command::new"), "{}", source.path);
            continue;
        }
        assert!(!code.contains("process::Command"), "{}", source.path);
        assert!(!code.contains("Command::new"), "{}", source.path);
    }
}

#[test]
fn every_file_opens_with_a_sentence_that_says_what_it_is_for() {
    for source in sources() {
        let opening = source.text.lines().next().unwrap_or("");
        let mark = match source.path.rsplit('.').next() {
            Some("lua") => "-- ",
            Some("css") => "/* ",
            Some("js") => "// ",
            Some("html") => "<!-- ",
            _ => "//! ",
        };
        let sentence = opening.strip_prefix(mark).unwrap_or("");
        assert!(sentence.len() > 10, "{}: {opening}", source.path);
    }
}

#[test]
fn no_file_is_too_long_before_its_tests() {
    for source in program() {
        let length = source.lines().len();
        let most = match source.part() {
            "server" => MOST_LINES_OF_THE_WIRE,
            _ => MOST_LINES,
        };
        assert!(length <= most, "{} has {length} lines", source.path);
    }
}

#[test]
fn nothing_stands_behind_a_files_own_tests() {
    for source in program() {
        let rest: Vec<&str> = source.text.lines().skip(source.lines().len()).collect();
        let ends = rest.iter().filter(|line| **line == "}").count();
        assert!(ends <= 1, "{} goes on behind its tests", source.path);
    }
}

#[test]
fn files_that_only_tests_know_are_left_out() {
    let program: Vec<String> = program().into_iter().map(|source| source.path).collect();
    for path in [
        "config/tests/mod.rs",
        "config/tests/route.rs",
        "session/contract/mod.rs",
        "simulator/tests/mod.rs",
    ] {
        assert!(!program.contains(&path.to_owned()), "{path}");
    }
    assert!(program.contains(&"token/verify.rs".to_owned()));
}

/// Returns the names in backticks of the part of `tests/README.md` that begins with `heading`.
fn listed(heading: &str) -> BTreeSet<String> {
    let readme = include_str!("../README.md");
    let (_, part) = readme.split_once(heading).expect(heading);
    let part = part.split("\n## ").next().unwrap_or_default();
    let rows = part.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.rsplit(" | ").next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_test_file_is_found_by_its_behaviour() {
    let tests = find_repository().join("tests");
    let files = |folder: &Path| -> BTreeSet<String> {
        let names = fs::read_dir(folder).expect("a folder").map(|entry| {
            let name = entry.expect("an entry").file_name();
            name.into_string().expect("is UTF-8")
        });
        let files = names.filter(|name| name.ends_with(".rs") && name != "main.rs");
        files.collect()
    };
    let mut alone = files(&tests);
    for entry in fs::read_dir(&tests).expect("a folder") {
        let folder = entry.expect("an entry").path();
        let name = folder.file_name().and_then(|name| name.to_str());
        let name = name.expect("is UTF-8");
        if !folder.join("main.rs").exists() {
            continue;
        }
        if matches!(name, "fuzzed" | "crowds") {
            alone.extend(files(&folder));
            alone.insert(format!("{name}/"));
        } else {
            let heading = format!("## [`{name}/`]({name}/main.rs)");
            let mut listed = listed(&heading);
            listed.retain(|name| name.ends_with(".rs"));
            assert_eq!(listed, files(&folder), "{name}");
        }
    }
    assert_eq!(listed("## Programs of their own"), alone);
}

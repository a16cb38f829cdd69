//! From a file to a checked [`Config`].

use std::path::Path;

use toml::de::DeTable;

use super::app_kind::AppKind;
use super::contents::contents;
use super::key::{Key, SectionKind};
use super::model::{Config, Token};
use super::name::Names;
use super::own_url::refuse_own_urls;
use super::private_address::PrivateAddress;
use super::problem::{Problem, Problems};
use super::read_context::ReadContext;
use super::reader::{self, Table};
use super::route::Routes;
use super::secret::Environment;
use super::settings::{Setting, Settings};
use super::{
    app, cache, control, cors, headers, log, login, relay, server, session, syntax, token, traces,
    upstream, web, wechat,
};
use crate::secret::Secret;

/// Reads and checks a configuration file; `env` looks up the environment variables that secrets come from.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Problems> {
    let file = path.display().to_string();
    parse(&text_of(path, &file)?, &file, env)
}

/// Checks a configuration's text; `file` is its name in what is reported, and its folder is where relative paths begin.
pub fn parse(
    text: &str,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let (config, notes) = read(text, file, |table| sections(table, env));
    match config {
        Some(config) if notes.problems.is_empty() => Ok(Config {
            settings: Settings(notes.settings.into()),
            ..config
        }),
        _ => Err(Problems::new(file, notes.problems)),
    }
}

/// Reads what a configuration file says of the signing keys, whatever is wrong with the rest of it: a secret that is missing
/// keeps nobody from making a key.
pub fn load_token(path: &Path) -> Result<Token, Problems> {
    let file = path.display().to_string();
    let text = text_of(path, &file)?;
    let (token, notes) = read(&text, &file, |table| table.section("token", token::read));
    let mut problems = notes.problems;
    problems.retain(|Problem { key, .. }| {
        key.is_empty() || key == "token" || key.starts_with("token.")
    });
    match token {
        Some(token) if problems.is_empty() => Ok(token),
        _ => Err(Problems::new(&file, problems)),
    }
}

/// Reads where the private listener is and its secret, whatever is wrong with the rest of the file.
pub fn load_control(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Option<PrivateAddress>, Option<Secret>), Problems> {
    let file = path.display().to_string();
    let text = text_of(path, &file)?;
    let (found, notes) = read(&text, &file, |table| {
        table.section("control", |table| control::read_access(table, env))
    });
    let mut problems = notes.problems;
    let asked = [
        "",
        "control",
        "control.listen",
        "control.secret_file",
        "control.secret_env",
    ];
    problems.retain(|Problem { key, .. }| asked.contains(&key.as_str()));
    match found {
        Some(found) if problems.is_empty() => Ok(found),
        _ => Err(Problems::new(&file, problems)),
    }
}

fn text_of(path: &Path, file: &str) -> Result<String, Problems> {
    let refuse = |line, message: String| {
        let key = String::new();
        Problems::new(file, vec![Problem { key, line, message }])
    };
    let bytes =
        contents(path).map_err(|reason| refuse(None, format!("cannot be read: {reason}")))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = bytes.iter().take(error.valid_up_to());
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        refuse(Some(line), "must be UTF-8".to_owned())
    })?;
    Ok(text.to_owned())
}

/// Reads a document, and returns what was noted beside what was asked for.
fn read<T>(
    text: &str,
    file: &str,
    wanted: impl FnOnce(&mut Table<'_, '_>) -> Option<T>,
) -> (Option<T>, Noted) {
    let (document, mistakes) = DeTable::parse_recoverable(text);
    let mut context = ReadContext::new(text, Path::new(file));
    // What was recovered around a mistake would only give problems that go away with it.
    if !mistakes.is_empty() {
        for (line, message) in syntax::mistakes(text) {
            context.problem(String::new(), Some(line), message);
        }
        return (None, Noted::of(context));
    }
    let found = reader::read(&mut context, document.get_ref(), wanted);
    (found, Noted::of(context))
}

/// What is left of the context when the document is gone.
struct Noted {
    problems: Vec<Problem>,
    settings: Vec<Setting>,
}

impl Noted {
    fn of(context: ReadContext<'_>) -> Self {
        Self {
            problems: context.problems,
            settings: context.settings,
        }
    }
}

/// Lists every key that a configuration may have, such as `route.auth`, with its default in TOML notation.
pub fn known_keys() -> Vec<(String, Option<String>)> {
    let (keys, _) = described();
    let keys = keys.into_iter();
    keys.map(|key| (key.path, key.default)).collect()
}

/// Describes the keys and sections that a configuration may have, in the order in which they are read.
pub(super) fn described() -> (Vec<Key>, Vec<(String, SectionKind)>) {
    let nothing = DeTable::new();
    let mut context = ReadContext::new("", Path::new(""));
    context.describing = true;
    reader::read(&mut context, &nothing, |table| sections(table, &|_| None));
    (context.keys, context.sections)
}

fn sections(table: &mut Table<'_, '_>, env: Environment<'_>) -> Option<Config> {
    let (mut apps, mut appids, mut upstreams) =
        (Names::default(), Names::default(), Names::default());
    let server = table.section("server", server::read);
    let wechat = table.section("wechat", |table| wechat::read(table, env));
    let login = table.section("login", |table| login::read(table, wechat.as_ref()));
    let quota = login.as_ref().and_then(|login| login.quota_per_minute);
    let app = table.sections("app", |table| {
        app::read(table, &mut apps, &mut appids, quota, env)
    });
    let shared = app::owners(table, app);
    let relay = table.section("relay", |table| relay::read(table, &apps));
    let control = table.section("control", |table| {
        control::read(table, server.server.as_ref(), &apps, env)
    });
    let token = table.section("token", token::read);
    let session = table.section("session", |table| session::read(table, env));
    let cache = table.section("cache", cache::read);
    let headers = table.section("headers", |table| headers::read(table, token.as_ref()));
    let cors = table.section("cors", cors::read);
    let web = table.section("web", web::read);
    let (public, private) = (server.server.as_ref(), control.as_ref());
    let upstream = table.sections("upstream", |table| {
        upstream::read(table, &mut upstreams, public, private)
    });
    let mut routes = Routes {
        server: &server,
        apps: &apps,
        upstreams: &upstreams,
        cors: cors.as_ref(),
        // What is wrong with an app is said there, and not at each route.
        has_web_apps: shared
            .as_ref()
            .is_none_or(|apps| apps.iter().any(|app| app.kind != AppKind::MiniProgram)),
        earlier: Vec::new(),
    };
    let route = table.sections("route", |table| routes.read(table));
    let route = route.into_iter().collect::<Option<Vec<_>>>();
    let route = route.map(|mut routes| {
        for (index, route) in routes.iter_mut().enumerate() {
            route.index = index;
        }
        routes
    });
    let log = table.section("log", log::read);
    let traces = table.section("traces", traces::read);
    if let Some(public) = public {
        let urls = (wechat.as_ref(), traces.as_ref());
        refuse_own_urls(table, public, private, urls);
    }
    Some(Config {
        apps: shared?,
        relay: relay?,
        token: token?,
        session: session?,
        cache: cache?,
        headers: headers?,
        cors: cors?,
        web: web?,
        upstreams: upstream.into_iter().collect::<Option<_>>()?,
        routes: route?,
        server: server.server?,
        control: control?,
        wechat: wechat?,
        login: login?,
        log: log?,
        traces: traces?,
        // They are complete when everything was read.
        settings: Settings::default(),
    })
}

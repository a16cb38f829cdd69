//! Reads `[[route]]`, which requests go where.

use http::Method;
use toml::de::DeValue;

use super::address::is_host_name;
use super::cors::{self, Cors};
use super::kind::{Kind, SWITCH, TEXT, text};
use super::model::{Auth, OnMissing, Route};
use super::name::Names;
use super::reader::Table;
use super::server::Draft;
use super::unit::SIZE;
use super::upstream::own_timeouts;

const HOST: Kind<String> = Kind {
    expected: "a host without port, such as \"api.example.com\" or \"*.example.com\"",
    read: |value| {
        let host = text(value)?.to_ascii_lowercase();
        is_host_name(host.strip_prefix("*.").unwrap_or(&host)).then_some(host)
    },
};

const PATH: Kind<String> = Kind {
    expected: "a path in its plain form, such as \"/orders\": ASCII and no pattern, no \"//\", \".\", \"..\", \"%\", \";\", \"?\" or \"#\"",
    read: path,
};

const METHOD: Kind<Method> = Kind {
    expected: "a list of methods in capitals, such as [\"GET\", \"POST\"]",
    read: |value| {
        let method =
            text(value).filter(|method| !method.contains(|c: char| c.is_ascii_lowercase()));
        Method::from_bytes(method?.as_bytes()).ok()
    },
};

const AUTH: Kind<Auth> = Kind {
    expected: "\"required\", \"optional\", \"public\" or \"signed_url\"",
    read: |value| match value.as_str()? {
        "required" => Some(Auth::Required),
        "optional" => Some(Auth::Optional),
        "public" => Some(Auth::Public),
        "signed_url" => Some(Auth::SignedUrl),
        _ => None,
    },
};

const ON_MISSING: Kind<OnMissing> = Kind {
    expected: "\"reject\" or \"redirect\"",
    read: |value| match value.as_str()? {
        "reject" => Some(OnMissing::Reject),
        "redirect" => Some(OnMissing::Redirect),
        _ => None,
    },
};

const APP: Kind<String> = Kind {
    expected: "a list of the names of apps",
    read: TEXT.read,
};

/// What routes refer to, and the routes read so far.
pub(super) struct Routes<'c> {
    pub(super) server: &'c Draft,
    pub(super) apps: &'c Names,
    pub(super) upstreams: &'c Names,
    pub(super) cors: Option<&'c Cors>,
    /// Whether anybody can log in in a browser.
    pub(super) has_web_apps: bool,
    pub(super) earlier: Vec<Match>,
}

/// Which requests a route is for.
pub(super) struct Match {
    owner: String,
    host: Option<String>,
    path: String,
    methods: Vec<Method>,
}

impl Routes<'_> {
    /// Reads one section.
    pub(super) fn read(&mut self, table: &mut Table<'_, '_>) -> Option<Route> {
        let host = table.optional("host", &HOST);
        let path = table.or("path", r#""/""#, &PATH);
        let methods = table.list("methods", &METHOD);
        let upstream = self.upstream(table);
        let auth = table.or("auth", r#""required""#, &AUTH);
        let on_missing = self.on_missing(table, auth);
        let apps = self.apps(table, auth);
        let strip_prefix = table.or("strip_prefix", "false", &SWITCH);
        let max_body = table.optional("max_body", &SIZE);
        let forward_token = table.or("forward_token", "false", &SWITCH);
        let cors = table.section("cors", |table| cors::read_own(table, self.cors));
        let timeouts = own_timeouts(table);
        if let Some(before) = path.as_ref().and_then(|path| path.split_once('*')) {
            let prefix = before.0.trim_end_matches(['/', '.']);
            let prefix = if prefix.is_empty() { "/" } else { prefix };
            let message = format!(
                "must be a path without \"*\": {prefix:?} is for itself and everything below it"
            );
            table.refuse("path", message);
        }
        // A host that is wrong is not "any host".
        let host_is_known = host.is_some() || !table.has("host");
        if let (true, Some(path), Some(methods)) = (host_is_known, &path, &methods) {
            self.refuse_unreachable(table, host.as_ref(), path, methods);
        }
        Some(Route {
            // Known when all are read, some of which may be wrong.
            index: 0,
            host,
            path: path?,
            methods: methods?,
            upstream: upstream?,
            auth: auth?,
            on_missing: on_missing?,
            apps: apps?,
            strip_prefix: strip_prefix?,
            max_body_bytes: max_body.or(self
                .server
                .server
                .as_ref()
                .map(|server| server.max_body_bytes))?,
            forward_token: forward_token?,
            cors: cors?,
            timeouts,
        })
    }

    fn on_missing(&self, table: &mut Table<'_, '_>, auth: Option<Auth>) -> Option<OnMissing> {
        let on_missing = table.or("on_missing", r#""reject""#, &ON_MISSING)?;
        let open = matches!(auth, Some(Auth::Optional | Auth::Public));
        if on_missing == OnMissing::Redirect && open {
            let message = "has nobody to send away where strangers may in; leave it out, or ask for a login with auth";
            table.refuse("on_missing", message.to_owned());
        }
        if on_missing == OnMissing::Redirect && !self.has_web_apps {
            let message = "needs an [[app]] of the kind \"official_account\" or \"website\"";
            table.refuse("on_missing", message.to_owned());
        }
        Some(on_missing)
    }

    fn upstream(&self, table: &mut Table<'_, '_>) -> Option<usize> {
        let name = table.required("upstream", &TEXT)?;
        self.upstreams.resolve(table, "upstream", &name)
    }

    fn apps(&self, table: &mut Table<'_, '_>, auth: Option<Auth>) -> Option<Vec<usize>> {
        let names = table.list("apps", &APP)?;
        if names.is_empty() {
            return Some(self.apps.positions());
        }
        if auth == Some(Auth::Public) {
            let message =
                "keeps nobody out where auth is \"public\"; leave it out, or ask for a token";
            table.refuse("apps", message.to_owned());
        }
        let positions: Vec<_> = names
            .iter()
            .map(|name| self.apps.resolve(table, "apps", name))
            .collect();
        positions.into_iter().collect()
    }

    /// Refuses a route that no request would ever come to.
    fn refuse_unreachable(
        &mut self,
        table: &mut Table<'_, '_>,
        host: Option<&String>,
        path: &str,
        methods: &[Method],
    ) {
        let own = self.server.auth_path.as_deref();
        if own.is_some_and(|own| is_under(path, own)) {
            let message = "must not be under server.auth_path, where Menshen answers itself";
            table.refuse("path", message.to_owned());
        }
        let same = self.earlier.iter().find(|earlier| {
            earlier.host.as_ref() == host
                && earlier.path == path
                && overlap(&earlier.methods, methods)
        });
        if let Some(Match { owner, .. }) = same {
            let message =
                format!("must differ from {owner}, which has the same host, path and methods");
            table.refuse("path", message);
        }
        self.earlier.push(Match {
            owner: table.path().to_owned(),
            host: host.cloned(),
            path: path.to_owned(),
            methods: methods.to_vec(),
        });
    }
}

/// Returns a path without its trailing slash, or `None` when a request's path in its one plain form cannot be it.
pub(super) fn path(value: &DeValue<'_>) -> Option<String> {
    let path = text(value)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()*+,=:@".contains(c);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some("/".to_owned());
    }
    let mut segments = path.strip_prefix('/')?.split('/');
    let sound = segments.all(|segment| !matches!(segment, "" | "." | ".."));
    (sound && path.chars().all(plain)).then(|| path.to_owned())
}

/// Returns whether a path is another or below it.
fn is_under(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether two lists of methods have one in common, an empty list being all.
fn overlap(one: &[Method], other: &[Method]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|method| other.contains(method))
}

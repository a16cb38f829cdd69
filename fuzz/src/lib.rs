//! What the targets share: requests made of any bytes, and everything that decides about one.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};
use menshen::app::install_crypto;
use menshen::clock::Clock;
use menshen::config::{self, Config};
use menshen::request::{Message, Requests};
use menshen::secret::Secret;
use menshen::session::{Apps, Identity, SessionRules, Opened, Sessions, Source};
use menshen::token::{Issuer, Tokens, Verifier, load_or_make};
use tempfile::TempDir;

/// Stands for a valid token in what is fuzzed, since nobody could guess one.
pub const PLACE: &[u8] = b"TOKEN";

const CONFIG: &str = r#"
[server]
listen = ["127.0.0.1:0"]
[cors]
allow_origins = ["https://a.example"]
[[app]]
name = "shop"
kind = "mini_program"
appid = "wx0123456789abcdef"
secret_env = "SECRET"
[[upstream]]
name = "api"
servers = ["127.0.0.1:3000"]
[[route]]
path = "/"
upstream = "api"
[[route]]
path = "/public"
upstream = "api"
auth = "public"
[[route]]
path = "/optional"
upstream = "api"
auth = "optional"
strip_prefix = true
[[route]]
path = "/read"
upstream = "api"
methods = ["GET", "HEAD"]
[[route]]
host = "other.example"
path = "/"
upstream = "api"
"#;

/// The head of a request, whose parts are what a parser of HTTP lets by.
pub struct Head {
    /// The method.
    pub method: Method,
    /// The target.
    pub target: Vec<u8>,
    /// The version.
    pub version: Version,
    /// The headers.
    pub headers: HeaderMap,
}

impl Head {
    /// Makes one of lines, of which the first holds method and target, in any order of bytes.
    pub fn of_lines(bytes: &[u8], token: &str) -> Self {
        let mut lines = bytes.split(|b| *b == b'\n');
        let first = lines.next().unwrap_or_default();
        let at = first.iter().position(|b| *b == b' ');
        let (method, target) = match at.and_then(|at| first.split_at_checked(at)) {
            Some((method, target)) => (method, target.get(1..).unwrap_or_default()),
            None => (&b"GET"[..], first),
        };
        let mut headers = HeaderMap::new();
        for line in lines.take(50) {
            let at = line.iter().position(|b| *b == b':').unwrap_or(line.len());
            let (name, value) = line.split_at(at);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            let value = with_token(value, token);
            let name = HeaderName::from_bytes(name);
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
                headers.append(name, value);
            }
        }
        Self {
            method: Method::from_bytes(method).unwrap_or(Method::GET),
            target: target.to_vec(),
            version: Version::HTTP_11,
            headers,
        }
    }

    /// Returns it as admission takes it.
    pub fn message(&self) -> Message<'_> {
        Message {
            method: &self.method,
            target: &self.target,
            authority: None,
            version: self.version,
            headers: &self.headers,
        }
    }
}

/// Puts the token in its place.
pub fn with_token<'a>(bytes: &'a [u8], token: &str) -> Cow<'a, [u8]> {
    let at = bytes.windows(PLACE.len()).position(|part| part == PLACE);
    let Some(at) = at else {
        return Cow::Borrowed(bytes);
    };
    let (before, rest) = bytes.split_at(at);
    let after = rest.get(PLACE.len()..).unwrap_or_default();
    Cow::Owned([before, token.as_bytes(), after].concat())
}

/// Changes a text as the bytes say: three of them name a place and what stands there afterwards.
pub fn edited(text: &str, edits: &[u8]) -> Vec<u8> {
    let mut text = text.as_bytes().to_vec();
    for edit in edits.chunks_exact(3) {
        let at = usize::from(edit[0]) << 8 | usize::from(edit[1]);
        let at = at % text.len().max(1);
        if let Some(byte) = text.get_mut(at) {
            *byte = edit[2];
        }
    }
    text
}

/// Returns a configuration with a route of each kind.
pub fn config() -> Config {
    let secret = |_: &str| Some("0".repeat(32));
    config::parse(CONFIG, "fuzzed", &secret).expect("a configuration")
}

/// A gateway without a wire.
pub struct Door {
    /// What decides.
    pub requests: Requests,
    /// What checks tokens.
    pub tokens: Arc<Tokens>,
    /// What keeps sessions.
    pub store: Sessions,
    /// The apps that sessions may go on in.
    pub apps: Apps,
    /// A session and its refresh token.
    pub opened: Opened,
    /// A token of the session.
    pub token: String,
    /// What it is configured to do.
    pub config: Config,
    _folder: TempDir,
}

impl Door {
    /// Makes one in a folder of its own.
    pub fn open() -> Self {
        install_crypto();
        let folder = tempfile::tempdir().expect("a folder");
        let config = config();
        let clock = Clock::system();
        let keys = folder.path().join("keys");
        let keys = load_or_make(&keys, config.token.algorithm, &clock).expect("keys");
        let (ttl, issuer) = (config.token.ttl, config.token.issuer.clone());
        let verifier = Verifier::new(&keys, &issuer, &config.apps, ttl, clock.clone());
        let tokens = Tokens::new(verifier, 1000, clock.clone()).expect("randomness");
        let tokens = Arc::new(tokens);
        let rules = SessionRules {
            session_ttl: Duration::from_secs(3600),
            refresh_grace: Duration::from_secs(30),
            token_ttl: ttl,
            unionid_lookup: false,
        };
        let data = folder.path().join("data");
        let store = Sessions::embedded(&data, None, rules, clock.clone()).expect("a store");
        let identity = Identity {
            app: "shop".to_owned(),
            appid: "wx0123456789abcdef".to_owned(),
            openid: "somebody".to_owned(),
            unionid: None,
            source: Source::MiniProgram,
        };
        let apps = Apps::new([(identity.app.as_str(), identity.appid.as_str())]);
        let key = Secret::new("key");
        let opened = store.open_session(identity, &key);
        let opened = wait(opened).expect("a session");
        let issuer = Issuer::new(Arc::new(keys), issuer, ttl, clock);
        let token = issuer.issue(&opened.session).expect("a token").token;
        Self {
            requests: Requests::new(&config, Arc::clone(&tokens), store.revoked().clone()),
            tokens,
            store,
            apps,
            opened,
            token: token.expose().to_owned(),
            config,
            _folder: folder,
        }
    }
}

/// Waits for what a store does, in a runtime that its timers need.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    });
    RUNTIME.block_on(work)
}

//! What a checked configuration holds.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

use super::app_kind::AppKind;
use super::backend::{Upstream, UpstreamTimeouts};
use super::caller::Caller;
use super::cors::Cors;
use super::limits::Limits;
use super::log::Log;
use super::login::LoginSettings;
use super::private_address::PrivateAddress;
use super::relay::Relay;
use super::settings::Settings;
use super::shared_store::RedisServer;
use super::traces::Traces;
use super::web::Web;
use crate::secret::Secret;

/// Everything an operator can set, with defaults filled in and every reference resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[control]`
    pub control: Control,
    /// `[wechat]`
    pub wechat: WeChat,
    /// `[login]`
    pub login: LoginSettings,
    /// `[[app]]`, at least one; names and appids are unique.
    pub apps: Vec<App>,
    /// `[relay]`
    pub relay: Relay,
    /// `[token]`
    pub token: Token,
    /// `[session]`
    pub session: Session,
    /// `[cache]`
    pub cache: Cache,
    /// `[headers]`
    pub headers: Headers,
    /// `[cors]`
    pub cors: Cors,
    /// `[web]`
    pub web: Web,
    /// `[[upstream]]`; names are unique.
    pub upstreams: Vec<Upstream>,
    /// `[[route]]`, in the order written.
    pub routes: Vec<Route>,
    /// `[log]`
    pub log: Log,
    /// `[traces]`
    pub traces: Traces,
    /// Every key as it was read.
    pub settings: Settings,
}

/// The public listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Addresses to listen on, at least one.
    pub listen: Vec<SocketAddr>,
    /// Addresses where every request is sent on to HTTPS.
    pub redirect_http: Vec<SocketAddr>,
    /// The origin that browsers use, without a trailing slash; `None` means what each request says.
    pub public_url: Option<String>,
    /// Certificates, the first also for names that none is for; empty means plain HTTP.
    pub tls: Vec<Tls>,
    /// Peers whose `X-Forwarded-*` and `X-Request-Id` count; empty means none.
    pub trusted_proxies: Vec<IpNet>,
    /// Where these peers say whose connection it is, in the PROXY protocol, and nobody else may connect.
    pub proxy_protocol: Vec<SocketAddr>,
    /// Where Menshen's own endpoints live, such as `/_auth`; starts with `/` and does not end with one.
    pub auth_path: String,
    /// Worker threads; 0 means one for each core.
    pub threads: usize,
    /// The largest header section accepted, in bytes.
    pub max_header_bytes: usize,
    /// The largest request body accepted where a route does not say otherwise, in bytes.
    pub max_body_bytes: u64,
    /// The bytes a second that a request's body must bring in the long run; `None` where it may be as slow as it likes.
    pub min_body_rate: Option<u64>,
    /// How long a client may take between two reads or two writes.
    pub client_timeout: Duration,
    /// How much one client may ask of us.
    pub limits: Limits,
    /// How long an idle keep-alive connection is kept.
    pub keepalive: Duration,
    /// The most idle connections to servers that are kept.
    pub upstream_pool: usize,
    /// How long exchanges in flight may go on after SIGTERM.
    pub drain: Duration,
    /// How long everybody is still accepted once `readyz` says that nobody should come.
    pub shutdown_delay: Duration,
    /// Whether a changed configuration file is taken over without being told.
    pub watch: bool,
    /// Where the process that takes this one's place asks for its sockets; `None` means that none can.
    pub upgrade_socket: Option<PathBuf>,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// The chain, leaf first.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// The private listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// Where to listen; `None` means that there is no such listener.
    pub listen: Option<PrivateAddress>,
    /// The permission bits of a socket there.
    pub socket_mode: u32,
    /// The secret that is good for everything, which callers send as a bearer token.
    ///
    /// Where other machines reach the address, there is one, or there are callers with their own.
    pub secret: Option<Secret>,
    /// Those whose own secret is good for some calls only; names and secrets are unique.
    pub callers: Vec<Caller>,
}

impl Control {
    /// Returns whether whoever asks must have a secret.
    pub fn asks_for_secret(&self) -> bool {
        self.secret.is_some() || !self.callers.is_empty()
    }
}

/// How WeChat is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct WeChat {
    /// Where the API is, without a trailing slash; it may have a path.
    pub api_base: String,
    /// Where browsers log in, without a trailing slash; it may have a path.
    pub open_base: String,
    /// Through which proxy it is reached.
    pub proxy: Proxy,
    /// What that proxy asks for, `user:password`.
    pub proxy_auth: Option<Secret>,
    /// The authorities trusted instead of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Limit for connecting.
    pub connect_timeout: Duration,
    /// Limit for a whole call, connecting included.
    pub timeout: Duration,
    /// Whether `menshen dev` simulates it, which no file can say.
    pub is_simulated: bool,
}

/// An outbound proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// There is none, whatever the environment says.
    None,
    /// The one at this origin.
    Url(String),
    /// What `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    Environment,
}

/// One WeChat application.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// The name used in routes, logs and requests.
    pub name: String,
    /// What it is.
    pub kind: AppKind,
    /// WeChat's id of the application.
    pub appid: String,
    /// The AppSecret.
    pub secret: Secret,
    /// The AppSecret before it, while WeChat may still take that one.
    pub previous_secret: Option<Secret>,
    /// Index into [`Config::apps`] of the app whose backend it uses, as with the resource sharing of WeChat Cloud Run.
    pub shared_from: Option<usize>,
    /// Which of WeChat's two kinds of access_token is kept for it.
    pub access_token: TokenKind,
    /// The most calls a minute that log its users in; `None` is no limit of ours.
    pub quota_per_minute: Option<NonZeroU32>,
}

/// WeChat's kinds of access_token, which know nothing of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// From `cgi-bin/stable_token`: the same for everybody who asks.
    Stable,
    /// From `cgi-bin/token`: each ends the one before.
    Classic,
}

/// The signature algorithm of new tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// HMAC with SHA-256.
    Hs256,
}

/// How tokens are signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The algorithm of keys that the first start makes.
    pub algorithm: Algorithm,
    /// Lifetime of a token.
    pub ttl: Duration,
    /// The `iss` claim.
    pub issuer: String,
    /// Folder of the signing keys.
    pub keys_dir: PathBuf,
}

/// Where sessions are kept and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Where they are kept.
    pub store: Store,
    /// Lifetime of a session after its last refresh.
    pub ttl: Duration,
    /// How long a rotated refresh token still gives its successor.
    pub refresh_grace: Duration,
    /// Whether users can be looked up by their unionid.
    pub unionid_lookup: bool,
    /// The key that seals session_keys, 32 bytes in base64; `None` means the embedded store keeps its own.
    pub seal_key: Option<Secret>,
}

/// Where sessions are kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// In a folder, by one process.
    Embedded(PathBuf),
    /// In Redis or Valkey, by any number of processes.
    Redis(Box<RedisServer>),
}

/// The cache of verified tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// The most tokens it holds.
    pub max_tokens: u64,
}

/// What the injected headers are called and which optional ones are sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Headers {
    /// The value of `X-WX-ENV`; `None` leaves the header out.
    pub env: Option<HeaderValue>,
    /// Whether `X-Menshen-Assertion` is sent.
    pub assertion: bool,
    /// Whether `X-WX-CLOUDBASE-ACCESS-TOKEN` is sent, which is good at the relay.
    pub relay_token: bool,
    /// Whether nickname and picture are fetched at a login in a browser, and sent.
    pub profile: bool,
    /// The names of the injected headers, renamed ones included.
    pub names: InjectedNames,
}

/// The name of each injected header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedNames {
    /// Default `X-WX-OPENID`.
    pub openid: HeaderName,
    /// Default `X-WX-APPID`.
    pub appid: HeaderName,
    /// Default `X-WX-UNIONID`.
    pub unionid: HeaderName,
    /// Default `X-WX-SOURCE`.
    pub source: HeaderName,
    /// Default `X-WX-ENV`.
    pub env: HeaderName,
    /// Default `X-Original-Forwarded-For`.
    pub client_address: HeaderName,
    /// Default `X-Menshen-App`.
    pub app: HeaderName,
    /// Default `X-Menshen-Session`.
    pub session: HeaderName,
    /// Default `X-Menshen-Assertion`.
    pub assertion: HeaderName,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Only with a valid token.
    Required,
    /// With a valid token or with none; a bad one is refused.
    Optional,
    /// Anybody; nobody is identified.
    Public,
    /// With a valid token, or with a URL that a user had signed.
    SignedUrl,
}

/// What becomes of a page load of somebody who is not logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// It is refused, as any other request.
    Reject,
    /// It is sent to WeChat, to log in.
    Redirect,
}

/// One `[[route]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its index in [`Config::routes`].
    pub index: usize,
    /// Lower-case host without port; `*.example.com` matches every name below; `None` matches any.
    pub host: Option<String>,
    /// A path prefix that matches whole segments; starts with `/`.
    pub path: String,
    /// Allowed methods; empty means all.
    pub methods: Vec<Method>,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// Who may use it.
    pub auth: Auth,
    /// What becomes of page loads of strangers.
    pub on_missing: OnMissing,
    /// Indexes into [`Config::apps`]; empty in the file means all, and is filled in here.
    pub apps: Vec<usize>,
    /// Whether `path` is taken off before forwarding.
    pub strip_prefix: bool,
    /// The largest request body, in bytes.
    pub max_body_bytes: u64,
    /// Whether the upstream sees the client's token.
    pub forward_token: bool,
    /// Which web pages may read its answers.
    pub cors: Cors,
    /// Its own limits on waiting for a server; `None` means the upstream's.
    pub timeouts: UpstreamTimeouts<Option<Duration>>,
}

impl Algorithm {
    /// Every algorithm that can be configured.
    pub const ALL: [Self; 4] = [Self::Es256, Self::EdDsa, Self::Rs256, Self::Hs256];

    /// Returns the name used in the configuration and in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }

    /// Finds an algorithm by its exact name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

impl Default for InjectedNames {
    fn default() -> Self {
        Self {
            openid: HeaderName::from_static("x-wx-openid"),
            appid: HeaderName::from_static("x-wx-appid"),
            unionid: HeaderName::from_static("x-wx-unionid"),
            source: HeaderName::from_static("x-wx-source"),
            env: HeaderName::from_static("x-wx-env"),
            client_address: HeaderName::from_static("x-original-forwarded-for"),
            app: HeaderName::from_static("x-menshen-app"),
            session: HeaderName::from_static("x-menshen-session"),
            assertion: HeaderName::from_static("x-menshen-assertion"),
        }
    }
}

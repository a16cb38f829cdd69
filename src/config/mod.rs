//! The configuration: the file as written becomes a checked [`Config`], or every problem in it at once.
//!
//! # Layout
//!
//! `load` is the way in. `reader` walks the file and collects problems; `kind`, `unit`, `address` and `name` say
//! what a value must look like; `secret` and `pem` read what the file points at; the other files are one section each.

mod address;
mod app;
mod app_kind;
mod backend;
mod cache;
mod caller;
mod certificates;
mod contents;
mod control;
mod cors;
mod headers;
mod key;
mod kind;
mod limits;
mod load;
mod log;
mod log_fields;
mod login;
mod model;
mod name;
mod own_address;
mod own_url;
mod pem;
mod private_address;
mod problem;
mod read_context;
mod reader;
mod relay;
mod restart_needed;
mod route;
mod schema;
mod secret;
mod server;
mod session;
mod settings;
mod shared_store;
mod store_url;
mod syntax;
#[cfg(test)]
mod tests;
mod token;
mod traces;
mod unit;
mod unknown;
mod upstream;
mod warnings;
mod web;
mod wechat;

pub use app_kind::{AppKind, Scope};
pub use backend::{
    Balance, Health, Protocol, ServerAddress, Upstream, UpstreamTimeouts, UpstreamTls,
};
pub use caller::{Call, Caller};
pub use cors::Cors;
pub use limits::Limits;
pub use load::{known_keys, load, load_control, load_token, parse};
pub use log::{Log, LogFormat};
pub use log_fields::{LogField, LogFields};
pub use login::LoginSettings;
pub use model::{
    Algorithm, App, Auth, Cache, Config, Control, Headers, InjectedNames, OnMissing, Proxy, Route,
    Server, Session, Store, Tls, Token, TokenKind, WeChat,
};
pub use own_address::{NamedServer, OwnListeners};
pub use private_address::PrivateAddress;
pub use problem::{Problem, Problems};
pub use relay::Relay;
pub use schema::schema;
pub use settings::{Setting, SettingValue, Settings};
pub use shared_store::{RedisMode, RedisServer};
pub use traces::{Decider, Traces};
pub use web::{Web, code_in};

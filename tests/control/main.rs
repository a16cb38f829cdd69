//! The private listener: sessions, reload, metrics and calls to WeChat for backends.

mod callers;
mod listener;
mod metrics;
mod reload;
mod requests;
mod sessions;
mod socket;
mod status;
mod store;
mod unionids;
mod vault;
mod vault_wechat;

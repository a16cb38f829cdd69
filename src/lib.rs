//! Menshen: a reverse proxy that logs WeChat users in, so that the backend behind it does not have to.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod log;
pub mod login;
pub mod request;
pub mod secret;
pub mod server;
pub mod session;
pub mod simulator;
pub mod token;
pub mod wechat;

//! What the configuration says about logins in browsers.

use crate::config::Config;

/// What the configuration says about logins in browsers.
#[derive(Debug)]
pub(in crate::login) struct WebLogins {
    /// Where WeChat's pages are.
    pub(super) open_base: String,
    /// Where our own endpoints are.
    pub(super) auth_path: String,
    /// The origin that browsers use, where it is fixed.
    pub(super) public_url: Option<String>,
    /// Other origins to which people may return.
    pub(super) return_to: Vec<String>,
}

impl WebLogins {
    pub(in crate::login) fn new(config: &Config) -> Self {
        Self {
            open_base: config.wechat.open_base.clone(),
            auth_path: config.server.auth_path.clone(),
            public_url: config.server.public_url.clone(),
            return_to: config.web.return_to.clone(),
        }
    }
}

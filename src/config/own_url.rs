//! Refuses a URL that Menshen calls and that is an address of its own: what is sent there, such as an AppSecret, would go to a backend.

use http::Uri;

use super::backend::ServerAddress;
use super::model::{Control, Proxy, Server, WeChat};
use super::own_address::own_address;
use super::reader::Table;
use super::traces::Traces;

/// Refuses what of `[wechat]` and `[traces]` is such an address; `table` is the whole file.
pub(super) fn refuse_own_urls(
    table: &mut Table<'_, '_>,
    server: &Server,
    control: Option<&Control>,
    (wechat, traces): (Option<&WeChat>, Option<&Traces>),
) {
    let api_base = wechat.map(|wechat| wechat.api_base.as_str());
    let proxy = wechat.and_then(|wechat| match &wechat.proxy {
        Proxy::Url(url) => Some(url.as_str()),
        Proxy::None | Proxy::Environment => None,
    });
    let endpoint = traces.and_then(|traces| traces.endpoint.as_deref());
    for (section, key, url) in [
        ("wechat", "api_base", api_base),
        ("wechat", "proxy", proxy),
        ("traces", "endpoint", endpoint),
    ] {
        let Some(asked) = url.and_then(asked) else {
            continue;
        };
        if let Some((address, own)) = own_address(&asked, server, control) {
            let message = format!("names {asked}, which is Menshen itself ({address} of {own})");
            table.refuse_in(section, key, message);
        }
    }
}

/// Returns where a URL leads.
fn asked(url: &str) -> Option<ServerAddress> {
    let url: Uri = url.parse().ok()?;
    let usual = if url.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let port = url.port_u16().unwrap_or(usual);
    Some(ServerAddress::Tcp(format!("{}:{port}", url.host()?)))
}

//! What the client and the operator should do about a refusal.

/// What should be done; an empty text is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// By the client.
    pub client: &'static str,
    /// By the operator.
    pub operator: &'static str,
}

/// Every code of a refusal, with what the client and the operator should do.
const ALL: [(&str, &str, &str); 44] = [
    (
        "bad_request",
        "Correct the request; the message says what is wrong with it.",
        "Nothing, unless a proxy in front rewrites requests: look at what it sends.",
    ),
    (
        "token_ambiguous",
        "Send one credential: Authorization, the session cookie, a sub-protocol or X-WX-Code.",
        "See whether a proxy in front or the page adds an Authorization header or a cookie of its own.",
    ),
    (
        "app_ambiguous",
        "Name the app: \"app\" in the body of a login, or X-Menshen-App.",
        "Give the route one app in apps, so that none need be named.",
    ),
    (
        "app_unknown",
        "Correct the name of the app.",
        "Compare the name with [[app]]; a session of an app that was removed ends so too.",
    ),
    (
        "code_missing",
        "Send the code from wx.login.",
        "Nothing: the client has a fault.",
    ),
    (
        "path_ambiguous",
        "Send the plain path, without escapes, dots and empty parts.",
        "See whether a proxy in front rewrites paths.",
    ),
    (
        "token_missing",
        "Log in, and send Authorization: Bearer TOKEN.",
        "If strangers may use this route, set auth = \"optional\" or \"public\"; see whether a proxy in front drops Authorization.",
    ),
    (
        "token_invalid",
        "Log in again.",
        "If many tokens are refused so, compare keys_dir, token.issuer and [[app]] of all nodes, and look for a key that was retired too soon.",
    ),
    (
        "token_expired",
        "Refresh the token, then send the request again.",
        "If it comes at once after a login, set the machine's clock.",
    ),
    (
        "session_ended",
        "Log in again.",
        "Look for the session's id in the audit log: it says who ended it and when.",
    ),
    (
        "refresh_invalid",
        "Log in again.",
        "If many are refused so, the store was emptied or the seal key replaced.",
    ),
    (
        "refresh_reused",
        "Log in again, and keep the newest refresh token only.",
        "If clients refresh in parallel or over bad networks, lengthen session.refresh_grace; else a token may have been stolen.",
    ),
    (
        "code_invalid",
        "Call wx.login again, and send the new code within five minutes, once.",
        "See whether the code is of another app than the one it was tried with: the login's line names it.",
    ),
    (
        "code_used",
        "Call wx.login again; to be safe against lost answers, send a nonce with the code.",
        "See whether something in front sends requests twice.",
    ),
    (
        "app_not_allowed",
        "Nothing: users of this app may not use the route.",
        "If they should, name the app in the route's apps.",
    ),
    (
        "user_blocked",
        "Nothing: WeChat has blocked the user.",
        "Nothing: WeChat decides this (errcode 40226).",
    ),
    (
        "route_unknown",
        "Correct the path.",
        "If the path should be served, add a [[route]]; `menshen check --explain METHOD URL` tells which one takes it.",
    ),
    (
        "method_not_allowed",
        "Use one of the methods in Allow.",
        "If the method should be served, add it to the route's methods.",
    ),
    (
        "body_too_large",
        "Send a smaller body.",
        "If bodies of this size are meant, raise max_body of the route.",
    ),
    (
        "client_left",
        "Nothing: the client had left before it was answered.",
        "If it is frequent, compare the client's timeout with how long logins take.",
    ),
    (
        "headers_too_large",
        "Send fewer or shorter headers; look for cookies that pile up.",
        "If headers of this size are meant, raise server.max_header.",
    ),
    (
        "request_timeout",
        "Send the request again, on a better network.",
        "If many time out, look at server.client_timeout, server.head_timeout and server.min_body_rate.",
    ),
    (
        "too_many_requests",
        "Wait for as long as Retry-After says.",
        "If the address is that of a proxy of yours, add it to server.trusted_proxies; else see server.requests_per_minute, server.max_requests_per_address, server.max_connections and login.refused_per_minute.",
    ),
    (
        "wechat_misconfigured",
        "Try again later with the same code.",
        "Run `menshen check --probe`: WeChat refuses the appid, the secret or this machine's address; errcode says which.",
    ),
    (
        "wechat_error",
        "Call wx.login again.",
        "Look at the login's line in the log: what answered was not WeChat, or gave an errcode that nobody knows.",
    ),
    (
        "proxy_busy",
        "Wait for as long as Retry-After says.",
        "Raise the limit of file descriptors, or lower server.max_connections.",
    ),
    (
        "upstream_unreachable",
        "Try again later.",
        "Start a server of the upstream, or correct its address; menshen_upstream_server_up shows which are down.",
    ),
    (
        "upstream_error",
        "Try again later.",
        "Look at the backend's log at this time: it broke off its answer, or sent what is no HTTP.",
    ),
    (
        "wechat_busy",
        "Wait for as long as Retry-After says, and send the same code again.",
        "Set login.quota_per_minute below WeChat's quota; errcode 45011 is the quota of a minute, 45009 that of a day.",
    ),
    (
        "wechat_unreachable",
        "Wait for as long as Retry-After says, and send the same code again.",
        "Look at DNS, the firewall and [wechat] proxy and ca_file; readyz says what fails.",
    ),
    (
        "store_unavailable",
        "Wait for as long as Retry-After says.",
        "Look at the session store: its disk or Redis; the log says what failed.",
    ),
    (
        "login_not_stored",
        "Call wx.login again.",
        "Look at the session store: its disk or Redis; the log says what failed.",
    ),
    (
        "wechat_timeout",
        "Call wx.login again: the code may be spent.",
        "If it is frequent, look at the way to WeChat, and at wechat.timeout.",
    ),
    (
        "upstream_timeout",
        "Try again later.",
        "Find out why the backend is slow, or lengthen the timeouts of the upstream or the route.",
    ),
    (
        "origin_not_allowed",
        "Send it from a page of the same origin.",
        "If pages of another origin are yours, name it in cors.allow_origins, with credentials where they need cookies.",
    ),
    (
        "signature_invalid",
        "Have the URL signed again, and change nothing in it.",
        "See whether a proxy in front or a CDN changes the query.",
    ),
    (
        "state_invalid",
        "Begin the login again, in the same browser and within 15 minutes.",
        "See whether server.public_url is the host that browsers use.",
    ),
    (
        "return_to_invalid",
        "Correct the link: return_to is a path of this host.",
        "If people may return to another origin, name it in web.return_to.",
    ),
    (
        "host_not_allowed",
        "Use the host of the site.",
        "Compare the host with server.public_url, and with what a proxy in front sends on.",
    ),
    (
        "login_denied",
        "Ask again when the user wants to log in.",
        "Nothing: the user said no.",
    ),
    (
        "snapshot_user",
        "Have the user open the page itself.",
        "Nothing: WeChat shows a snapshot of the page to users who did not open it.",
    ),
    (
        "ticket_invalid",
        "Get another ticket: each is good once, for a minute.",
        "See whether something in front or a preview opens links before the user does.",
    ),
    (
        "other_browser_needed",
        "Open the page in WeChat, or in a browser outside it.",
        "Configure an app of kind \"official_account\" or \"website\" for this route.",
    ),
    (
        "internal_error",
        "Try again later.",
        "Look for this request id in the log at level error, and report it.",
    ),
];

/// Returns what should be done about a refusal with this code.
pub fn advice(code: &str) -> Advice {
    let found = ALL.iter().find(|(known, ..)| *known == code);
    let (_, client, operator) = found.copied().unwrap_or(("", "", ""));
    Advice { client, operator }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::CODES;

    #[test]
    fn there_is_advice_about_every_code_and_no_other() {
        let mut known = ALL.map(|(code, ..)| code);
        let mut codes = CODES;
        known.sort_unstable();
        codes.sort_unstable();
        assert_eq!(known, codes);
        for (code, client, operator) in ALL {
            for text in [client, operator] {
                assert!(text.ends_with('.'), "{code}: {text}");
            }
        }
    }
}

//! The codes of all refusals, in an order that counters use.

use super::Denial;

/// The stable codes.
pub const CODES: [&str; 44] = [
    "bad_request",
    "token_ambiguous",
    "app_ambiguous",
    "app_unknown",
    "code_missing",
    "path_ambiguous",
    "token_missing",
    "token_invalid",
    "token_expired",
    "session_ended",
    "refresh_invalid",
    "refresh_reused",
    "code_invalid",
    "code_used",
    "app_not_allowed",
    "user_blocked",
    "route_unknown",
    "method_not_allowed",
    "body_too_large",
    "client_left",
    "headers_too_large",
    "request_timeout",
    "too_many_requests",
    "wechat_misconfigured",
    "wechat_error",
    "proxy_busy",
    "upstream_unreachable",
    "upstream_error",
    "wechat_busy",
    "wechat_unreachable",
    "store_unavailable",
    "login_not_stored",
    "wechat_timeout",
    "upstream_timeout",
    "origin_not_allowed",
    "signature_invalid",
    "state_invalid",
    "return_to_invalid",
    "host_not_allowed",
    "login_denied",
    "snapshot_user",
    "ticket_invalid",
    "other_browser_needed",
    "internal_error",
];

impl Denial {
    /// Returns the place of its code among [`CODES`].
    pub fn number(&self) -> usize {
        let code = self.code();
        let found = CODES.iter().position(|known| *known == code);
        // The last is the one for what nobody foresaw.
        found.unwrap_or(CODES.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_a_place() {
        let source = include_str!("denial.rs");
        let (_, rows) = source.split_once("pub fn response").unwrap();
        let (rows, _) = rows.split_once("pub fn code").unwrap();
        let words = rows.split('"').skip(1).step_by(2);
        let is_code = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let found: BTreeSet<&str> = words.filter(is_code).collect();
        assert_eq!(found, CODES.into_iter().collect());
        assert_eq!(Denial::Internal.number(), CODES.len() - 1);
        assert_eq!(
            CODES.get(Denial::TokenExpired.number()),
            Some(&"token_expired")
        );
    }
}

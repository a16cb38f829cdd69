//! What tokens, their cache and the headers made of them are refused for.

use super::{refused, with};

#[test]
fn mistakes_about_tokens_and_headers_are_refused_with_their_key_and_a_reason() {
    refused([
        (
            with(
                "[headers]",
                "assertion = true\n[token]\nalgorithm = \"HS256\"",
            ),
            "headers.assertion (line 14): must be false with HS256",
        ),
        (
            with("[token]", "algorithm = \"none\""),
            "token.algorithm (line 14): must be \"ES256\", \"EdDSA\", \"RS256\" or \"HS256\", not \"none\"",
        ),
        (
            with("[token]", "ttl = \"8d\""),
            "token.ttl (line 14): must be a duration with a unit, such as \"2h\", from 1s to 7d, not \"8d\"",
        ),
        (
            with("[token]", "ttl = \"0s\""),
            "token.ttl (line 14): must be a duration",
        ),
        (
            with("[token]", "issuer = \"\""),
            "token.issuer (line 14): must be a string that is not empty, not \"\"",
        ),
        (
            with("[token]", "keys_dir = []"),
            "token.keys_dir (line 14): must be a string that is not empty, not a list",
        ),
        (
            with("[cache]", "max_tokens = 0"),
            "cache.max_tokens (line 14): must be a whole number of at least 1, not 0",
        ),
        (
            with("[headers]", "env = \"\""),
            "headers.env (line 14): must be a header value",
        ),
        (
            with("[headers]", "assertion = 1"),
            "headers.assertion (line 14): must be true or false, not 1",
        ),
        (
            with("[headers.rename]", "openid = \"X User\""),
            "headers.rename.openid (line 14): must be the name of a header",
        ),
        (
            with("[headers.rename]", "openid = \"Content_Type\""),
            "headers.rename.openid (line 14): must be the name of a header",
        ),
        (
            with("[headers.rename]", "openid = \"Proxy-User\""),
            "headers.rename.openid (line 14): must be the name of a header",
        ),
        (
            with("[headers.rename]", "openid = \"X-Forwarded-User\""),
            "headers.rename.openid (line 14): must be the name of a header",
        ),
        (
            with("[headers.rename]", "openid = \"x_wx_appid\""),
            "headers.rename.openid (line 14): must differ from the name of appid",
        ),
        (
            with("[headers.rename]", "appid = \"x_wx_openid\""),
            "headers.rename.appid (line 14): must differ from the name of openid",
        ),
        (
            with("[headers.rename]", "user = \"X-User\""),
            "headers.rename.user (line 14): is not a known key",
        ),
    ]);
}

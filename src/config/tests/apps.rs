//! What apps, and WeChat behind them, are refused for.

use super::{APP, ROUTE, SERVER, UPSTREAM, instead, problems, read, refused, with};

#[test]
fn mistakes_about_apps_and_wechat_are_refused_with_their_key_and_a_reason() {
    let long_name = format!("name = \"{}\"", "x".repeat(33));
    refused([
        (
            with("[wechat]", "api_base = \"https://a.example/api?x\""),
            "wechat.api_base (line 14): must be an origin",
        ),
        (
            with("[wechat]", "api_base = \"http://a.example\""),
            "wechat.api_base (line 14): must be https",
        ),
        (
            with("[wechat]", "allow_plain_http = \"yes\""),
            "wechat.allow_plain_http (line 14): must be true or false, not \"yes\"",
        ),
        (
            with("[wechat]", "open_base = \"a.example\""),
            "wechat.open_base (line 14): must be an origin",
        ),
        (
            with("[wechat]", "connect_timeout = 1.5"),
            "wechat.connect_timeout (line 14): must be a duration",
        ),
        (
            with("[wechat]", "timeout = 1979-05-27"),
            "wechat.timeout (line 14): must be a duration",
        ),
        (
            instead("name = \"shop\"\n", ""),
            "app[1].name (line 3): is required and must be a name of 1 to 32",
        ),
        (
            instead("\"shop\"", "\"Shop\""),
            "app[1].name (line 4): must be a name of 1 to 32",
        ),
        (
            instead("name = \"shop\"", &long_name),
            "app[1].name (line 4): must be a name of 1 to 32",
        ),
        (
            instead("\"mini_program\"", "\"web_site\""),
            "app[1].kind (line 5): must be \"mini_program\", \"official_account\" or \"website\", not \"web_site\"",
        ),
        (
            instead("\"wx1\"", "\"wx 1\""),
            "app[1].appid (line 6): must be an appid",
        ),
        (
            instead("\"wx1\"", "\"\""),
            "app[1].appid (line 6): must be an appid",
        ),
        (
            instead("secret_env = \"SECRET\"\n", ""),
            "app[1].secret_file (line 3): is required, or secret_env instead of it",
        ),
        (
            instead("\"SECRET\"", "\"UNSET\""),
            "app[1].secret_env (line 7): must name an environment variable that is set",
        ),
        (
            instead("\"SECRET\"", "\"EMPTY\""),
            "app[1].secret_env (line 7): must lead to a secret, but what it names is empty",
        ),
        (
            instead("secret_env = \"SECRET\"", "secret_file = \"/none/secret\""),
            "app[1].secret_file (line 7): cannot be read: no such file",
        ),
        (
            with("app", "secret_file = \"/none/secret\""),
            "app[1].secret_file (line 8): cannot be given together with secret_env",
        ),
        (
            with("app", "secret = \"abc\""),
            "app[1].secret (line 8): is not a known key; secrets come from secret_file or secret_env",
        ),
        (
            with("app", "previous_secret_env = \"X\""),
            "app[1].previous_secret_env (line 8): must name an environment variable that is set",
        ),
        (
            with("app", "quota_per_minute = \"2000\""),
            "app[1].quota_per_minute (line 8): must be a whole number from 0 to 10000000, not \"2000\"",
        ),
        (
            [SERVER, APP, &APP.replace("wx1", "wx2"), UPSTREAM, ROUTE].concat(),
            "app[2].name (line 9): must be unique, not \"shop\", which app[1] has already",
        ),
        (
            [SERVER, APP, &APP.replace("shop", "club"), UPSTREAM, ROUTE].concat(),
            "app[2].appid (line 11): must be unique, not \"wx1\", which app[1] has already",
        ),
    ]);
}

#[test]
fn plain_http_to_wechat_needs_permission_unless_it_stays_here() {
    for lines in [
        "api_base = \"http://127.0.0.1:8600\"",
        "api_base = \"http://sim.internal\"\nallow_plain_http = true",
    ] {
        assert_eq!(problems(&with("[wechat]", lines)), Vec::<String>::new());
    }
}

#[test]
fn a_secret_that_wechat_cannot_have_given_is_doubted_and_no_problem() {
    let appid = |text: String| text.replace("wx1", "wx0123456789abcdef");
    let warnings = |lines: &str| read(&appid(with("[wechat]", lines))).unwrap().warnings();
    let told = warnings("");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("app[1]: the secret of shop has 14 characters"),
        "{told:?}"
    );
    assert!(!told[0].contains(super::SECRET));
    assert!(warnings("api_base = \"http://127.0.0.1:8600\"").is_empty());
    let whole = appid(instead("\"SECRET\"", "\"WHOLE_SECRET\""));
    assert!(read(&whole).unwrap().warnings().is_empty());
    let upper = appid(instead("\"SECRET\"", "\"UPPER_CASE\""));
    let told = read(&upper).unwrap().warnings();
    assert!(
        told.len() == 1 && told[0].contains("0-9 and a-f"),
        "{told:?}"
    );
}

#[test]
fn an_appid_that_cannot_be_one_is_doubted_without_being_shown() {
    for (appid, told) in [
        ("wx1", "is not \"wx\" and 16"),
        ("wx0123456789ABCDEF", "is not \"wx\" and 16"),
        ("wx0123456789abcdef0", "is not \"wx\" and 16"),
        ("gh_0123456789ab", "is an original ID"),
        (
            "0123456789abcdef0123456789abcdef",
            "looks like an AppSecret",
        ),
    ] {
        let text = instead("\"SECRET\"", "\"WHOLE_SECRET\"").replace("wx1", appid);
        let warnings = read(&text).unwrap().warnings();
        let begins = format!("app[1]: the appid of shop {told}");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(&begins), "{warnings:?}");
        assert!(!warnings[0].contains(appid), "{warnings:?}");
        // A simulator may have appids of any form.
        let simulated = format!("{text}[wechat]\napi_base = \"http://127.0.0.1:8600\"\n");
        assert!(read(&simulated).unwrap().warnings().is_empty());
    }
}

#[test]
fn a_scope_is_an_official_accounts() {
    let kind =
        |kind: &str, scope: &str| instead("\"mini_program\"", &format!("\"{kind}\"\n{scope}"));
    for scope in ["snsapi_base", "snsapi_userinfo"] {
        let text = kind("official_account", &format!("scope = \"{scope}\""));
        assert_eq!(problems(&text), Vec::<String>::new());
    }
    let refused = problems(&kind("website", "scope = \"snsapi_userinfo\"")).join("\n");
    assert!(refused.contains("app[1].scope"), "{refused}");
    let odd = problems(&kind("official_account", "scope = \"snsapi_login\"")).join("\n");
    assert!(
        odd.contains("\"snsapi_base\" or \"snsapi_userinfo\""),
        "{odd}"
    );
}

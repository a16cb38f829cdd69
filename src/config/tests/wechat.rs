//! What `[wechat]` is refused for.

use super::{SECRET, problems, read, refused, with};
use crate::config::Proxy;

#[test]
fn a_proxy_is_an_http_origin_or_the_environments() {
    let read = |lines: &str| read(&with("[wechat]", lines)).unwrap().wechat;
    assert_eq!(read("").proxy, Proxy::None);
    assert_eq!(read("proxy = \"environment\"").proxy, Proxy::Environment);
    let named = read("proxy = \"http://proxy.internal:3128/\"\nproxy_auth_env = \"PROXY_AUTH\"");
    assert_eq!(
        named.proxy,
        Proxy::Url("http://proxy.internal:3128".to_owned())
    );
    assert_eq!(named.proxy_auth.unwrap().expose(), "me:a:b");
    let expected = "wechat.proxy (line 14): must be an http origin without user";
    refused([
        (
            with("[wechat]", "proxy = \"https://proxy.internal\""),
            expected,
        ),
        (
            with("[wechat]", "proxy = \"socks5://proxy.internal\""),
            expected,
        ),
        (
            with("[wechat]", "proxy = \"proxy.internal:3128\""),
            expected,
        ),
        (
            with("[wechat]", "proxy = \"http://me:pw@proxy.internal\""),
            expected,
        ),
        (with("[wechat]", "proxy = \"env\""), expected),
        (with("[wechat]", "proxy = \"\""), expected),
    ]);
}

#[test]
fn a_user_and_password_belong_to_a_proxy_that_is_named() {
    let proxy = "proxy = \"http://proxy.internal:3128\"";
    refused([
        (
            with("[wechat]", "proxy_auth_env = \"PROXY_AUTH\""),
            "wechat.proxy_auth_env (line 14): needs a proxy",
        ),
        (
            with(
                "[wechat]",
                "proxy = \"environment\"\nproxy_auth_env = \"PROXY_AUTH\"",
            ),
            "wechat.proxy_auth_env (line 15): needs a proxy",
        ),
        (
            with("[wechat]", &format!("{proxy}\nproxy_auth_env = \"SECRET\"")),
            "wechat.proxy_auth_env (line 15): must lead to a user and a password, as user:password",
        ),
        (
            with(
                "[wechat]",
                &format!("{proxy}\nproxy_auth_file = \"/nowhere\""),
            ),
            "wechat.proxy_auth_file (line 15): cannot be read: no such file",
        ),
        (
            with("[wechat]", &format!("{proxy}\nproxy_auth = \"{SECRET}\"")),
            "wechat.proxy_auth (line 15): ",
        ),
    ]);
    let told = problems(&with(
        "[wechat]",
        &format!("{proxy}\nproxy_auth_env = \"SECRET\""),
    ));
    assert!(!told.concat().contains(SECRET), "{told:?}");
}

#[test]
fn authorities_are_certificates_in_pem() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "none").unwrap();
    refused([
        (
            with("[wechat]", "ca_file = \"/nowhere\""),
            "wechat.ca_file (line 14): cannot be read",
        ),
        (
            with("[wechat]", &format!("ca_file = {file:?}")),
            "wechat.ca_file (line 14): must name a PEM file",
        ),
        (
            with("[wechat]", "api_base = \"https://a/b?c\""),
            "wechat.api_base (line 14): must be an origin, with or without a path",
        ),
        (
            with("[wechat]", "api_base = \"http://a.example/b\""),
            "wechat.api_base (line 14): must be https",
        ),
    ]);
}

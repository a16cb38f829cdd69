//! Header lines of any bytes hold at most one credential, and a token among sub-protocols stays here.
#![no_main]

use std::sync::LazyLock;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use libfuzzer_sys::fuzz_target;
use menshen::request::{
    Cors, Credential, DecidingHeaders, RequestId, Subprotocols, credential, is_placeholder,
    stands_for_no_token, without_tokens,
};
use menshen_fuzz::{Head, config};

static CORS: LazyLock<Cors> = LazyLock::new(|| Cors::new(&config().cors).expect("origins"));

fuzz_target!(|lines: &[u8]| {
    let head = Head::of_lines(lines, "");
    let headers = &head.headers;
    let deciding = DecidingHeaders::of(headers);
    for found in [false, true]
        .into_iter()
        .filter_map(|https| credential(&deciding, https).ok())
    {
        // What stands for none is as good as no header.
        let bearer = headers.get_all("authorization").iter();
        let bearer = bearer.filter(|value| !stands_for_no_token(value)).count();
        let codes = headers.get_all("x-wx-code").iter();
        let codes = codes
            .filter(|code| !is_placeholder(code.as_bytes()))
            .count();
        assert!(bearer < 2 && codes < 2);
        match found {
            Credential::Token(_) | Credential::Cookie(_) => assert_eq!(codes, 0),
            Credential::Code { .. } => assert_eq!(codes, 1),
            Credential::None => assert_eq!(codes, 0),
        }
    }
    let mut left = headers.clone();
    match without_tokens(headers) {
        Subprotocols::Unchanged => {}
        Subprotocols::Left(value) => drop(left.insert(SEC_WEBSOCKET_PROTOCOL, value)),
        Subprotocols::None => drop(left.remove(SEC_WEBSOCKET_PROTOCOL)),
    }
    for line in left.get_all(SEC_WEBSOCKET_PROTOCOL) {
        let seen = String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase();
        let mut names = seen.split(',').map(|name| name.trim_matches([' ', '\t']));
        assert!(
            !names.any(|name| name.starts_with("menshen.bearer.")),
            "{seen}"
        );
    }
    for value in headers.values() {
        let _ = RequestId::adopt(value);
    }
    for (name, value) in [CORS.preflight(headers), CORS.actual(headers)].concat() {
        assert!(name != "access-control-allow-origin" || value == "https://a.example");
    }
});

//! A request of any lines is decided on by its route's rule, and the same way when another gateway asks about it.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use menshen::config::{Auth, Route};
use menshen::request::{Asker, Connection, Decision, NormalPath, Peer, client};
use menshen_fuzz::{Door, Head, PLACE};

static DOOR: LazyLock<Door> = LazyLock::new(Door::open);

fuzz_target!(|bytes: &[u8]| {
    let door = &*DOOR;
    let mut head = Head::of_lines(bytes, &door.token);
    let may_know = bytes.windows(PLACE.len()).any(|part| part == PLACE);
    let peer = Some(Peer::new([127, 0, 0, 1].into()));
    let connection = Connection { peer, tls: false };
    let seen = client(
        &connection,
        &head.headers,
        None,
        &["127.0.0.0/8".parse().expect("a net")],
    );
    let needs = |route: &Route| route.auth == Auth::Required;
    let mut direct = None;
    if let Ok(Decision::Forward(pass)) = door.requests.decide(&head.message(), &seen) {
        assert!(may_know || pass.who.is_none());
        assert!(pass.who.is_some() || !needs(&pass.route));
        let sent = String::from_utf8(head.target.clone()).expect("text");
        let target = pass.target.clone().unwrap_or(sent);
        let path = target.split('?').next().unwrap_or_default();
        let again = NormalPath::parse(path.as_bytes()).expect("a normal path");
        assert_eq!(again.as_str(), path, "what is forwarded is in normal form");
        assert!(!target.bytes().any(|b| b <= b' ' || b == b'#' || b == 0x7f));
        direct = Some((Arc::as_ptr(&pass.route), pass.who.is_some()));
    }
    for trusted in [false, true] {
        let mut gateway = seen.clone();
        gateway.trusted = trusted;
        if let Ok(allowed) = door.requests.verify(&head.message(), &Asker::of(&head.headers, &gateway)) {
            assert!(may_know || allowed.who.is_none());
            let known = allowed.who.is_some();
            assert!(known || allowed.route.is_none_or(|route| !needs(&route)));
        }
    }
    assert!(seen.trusted && seen.address.is_some());
    if head.target.starts_with(b"/") {
        head.target.splice(..0, *b"/_auth/verify");
        let mut stranger = seen.clone();
        stranger.trusted = false;
        if let Ok(allowed) = door.requests.verify(&head.message(), &Asker::of(&head.headers, &stranger)) {
            let asked = allowed
                .route
                .map(|route| (Arc::as_ptr(&route), allowed.who.is_some()));
            assert_eq!(asked, direct, "the same rule as if it had come here");
        }
    }
});

//! A token or refresh token of any bytes, or with any changed, is refused unless it is the one that was given.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use menshen::session::{RefreshError, RefreshToken};
use menshen_fuzz::{Door, edited};

static DOOR: LazyLock<Door> = LazyLock::new(Door::open);

fuzz_target!(|bytes: &[u8]| {
    let door = &*DOOR;
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let refresh = door.opened.refresh.expose();
    let presented = match kind % 3 {
        0 => rest.to_vec(),
        1 => edited(&door.token, rest),
        _ => edited(refresh, rest),
    };
    assert_eq!(
        door.tokens.check(&presented).is_ok(),
        presented == door.token.as_bytes(),
        "{presented:?}"
    );
    let Ok(text) = String::from_utf8(presented) else {
        return;
    };
    if text != refresh {
        let before = door.store.operations();
        let shown = RefreshToken::from_client(text);
        let refreshed = door.store.refresh(&shown, &door.apps);
        let refreshed = menshen_fuzz::wait(refreshed);
        assert!(matches!(refreshed, Err(RefreshError::Invalid)));
        assert_eq!(door.store.operations(), before, "the store was not asked");
    }
});

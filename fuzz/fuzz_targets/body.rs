//! A body of any bytes at one of Menshen's own endpoints is refused or read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::login::{LoginBody, LogoutBody, RefreshBody};
use menshen::wechat::Code;

fuzz_target!(|body: &[u8]| {
    if let Ok(login) = LoginBody::parse(body)
        && let Some(Ok(code)) = login.code.as_deref().map(Code::parse)
    {
        assert!(
            code.expose()
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
        );
    }
    let _ = RefreshBody::parse(body);
    let _ = LogoutBody::parse(body);
});

//! The first bytes of a connection are a header of the PROXY protocol, a part of one, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::request::ProxyHeader;

fuzz_target!(|bytes: &[u8]| {
    let parsed = ProxyHeader::parse(bytes);
    let ProxyHeader::Whole(length, _) = parsed else {
        return;
    };
    assert!(0 < length && length <= bytes.len());
    let (header, _) = bytes.split_at(length);
    assert_eq!(
        ProxyHeader::parse(header),
        parsed,
        "what follows it does not matter"
    );
    for cut in 0..length {
        let part = ProxyHeader::parse(&header[..cut]);
        // A part may be refused before the rest comes, but it is never another header.
        assert!(
            !matches!(part, ProxyHeader::Whole(..)),
            "it can come in any parts: {cut}"
        );
    }
});

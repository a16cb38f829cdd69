//! Reads the id of a trace out of `traceparent` (W3C Trace Context, <https://www.w3.org/TR/trace-context/>, section 3.2).

use http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The length of version 00, which others begin with.
const LENGTH: usize = 55;

/// Returns the id of the trace that a request is part of; `None` where the header is missing, repeated or not valid.
pub fn trace_id(headers: &HeaderMap) -> Option<&str> {
    // Most requests have none, and one look finds that out.
    let value = headers.get(TRACEPARENT)?.as_bytes();
    if headers.get_all(TRACEPARENT).iter().nth(1).is_some() {
        return None;
    }
    parse(value)
}

fn parse(value: &[u8]) -> Option<&str> {
    let (known, more) = value.split_at_checked(LENGTH)?;
    let mut parts = known.split(|b| *b == b'-');
    let part = |part: Option<&'_ [u8]>, length| {
        part.is_some_and(|part: &[u8]| part.len() == length && part.iter().all(is_hex))
    };
    let version = parts.next()?;
    let trace = parts.next()?;
    let parent = parts.next()?;
    let whole = part(Some(version), 2)
        && part(Some(trace), 32)
        && part(Some(parent), 16)
        && part(parts.next(), 2)
        && parts.next().is_none();
    let is_known = match version {
        b"00" => more.is_empty(),
        b"ff" => false,
        // A later version may say more, behind another hyphen.
        _ => more.first().is_none_or(|b| *b == b'-'),
    };
    let names = |id: &[u8]| id.iter().any(|b| *b != b'0');
    if whole && is_known && names(trace) && names(parent) {
        return std::str::from_utf8(trace).ok();
    }
    None
}

fn is_hex(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_valid_header_names_its_trace() {
        assert_eq!(parse(GOOD.as_bytes()), Some(TRACE));
        for later in ["", "-what-comes-then"] {
            let value = format!("cc{}{later}", GOOD.trim_start_matches("00"));
            assert_eq!(parse(value.as_bytes()), Some(TRACE), "{value}");
        }
    }

    #[test]
    fn what_is_not_valid_names_none() {
        for value in [
            "",
            "00",
            GOOD.trim_end_matches('1'),
            &format!("{GOOD}-00"),
            &format!("{GOOD}0"),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00-", "ff-", 1),
            &GOOD.replacen("00-", "0x-", 1),
            &GOOD.replace(TRACE, &"0".repeat(32)),
            &GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &GOOD.replace('-', "_"),
            &GOOD.replacen("4bf9", "4bg9", 1),
            &format!("cc{}.", GOOD.trim_start_matches("00")),
            "00-4bf92f3577b34da6a3ce929d0e0e4736000f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
    }

    #[test]
    fn two_headers_name_none() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(trace_id(&headers), Some(TRACE));
        headers.append(TRACEPARENT, HeaderValue::from_static(GOOD));
        assert_eq!(trace_id(&headers), None);
    }

    proptest! {
        #[test]
        fn an_id_is_32_hex_digits_whatever_comes(value: Vec<u8>, spoiled in 0_usize..55, byte: u8) {
            let mut near = GOOD.as_bytes().to_vec();
            near[spoiled] = byte;
            for value in [value, near] {
                if let Some(id) = parse(&value) {
                    prop_assert_eq!(id.len(), 32);
                    prop_assert!(id.bytes().all(|b| is_hex(&b)));
                }
            }
        }
    }
}

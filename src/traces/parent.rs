//! Reads the trace that a request is part of out of `traceparent` and `tracestate` (W3C Trace Context,
//! <https://www.w3.org/TR/trace-context/>, sections 3.2 and 3.3).

use http::{HeaderMap, HeaderName};
use opentelemetry::{SpanId, TraceId};

/// Names the trace and the span that a request is part of.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems add to it for each other.
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of version 00, which others begin with.
const LENGTH: usize = 55;
/// The most entries of a `tracestate`, and the longest key and value.
const MOST_ENTRIES: usize = 32;
const LONGEST: usize = 256;

/// Whom a request says that it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    /// Whether whoever sent it records the trace.
    pub(super) is_sampled: bool,
}

/// Returns the id of the trace that a request is part of; `None` where the header is missing, repeated or not valid.
pub fn trace_id(headers: &HeaderMap) -> Option<&str> {
    only(headers).and_then(parse).map(|parts| parts.trace)
}

/// Returns whom a request says that it is part of, under the same conditions.
pub(super) fn parent(headers: &HeaderMap) -> Option<Parent> {
    let parts = only(headers).and_then(parse)?;
    Some(Parent {
        trace: TraceId::from_hex(parts.trace).ok()?,
        span: SpanId::from_hex(parts.span).ok()?,
        is_sampled: u8::from_str_radix(parts.flags, 16).ok()? & 1 == 1,
    })
}

fn only(headers: &HeaderMap) -> Option<&[u8]> {
    // Most requests have none, and one look finds that out.
    let value = headers.get(TRACEPARENT)?.as_bytes();
    if headers.get_all(TRACEPARENT).iter().nth(1).is_some() {
        return None;
    }
    Some(value)
}

/// Returns whether the lines of `tracestate` are a list that may go on.
pub(super) fn is_state_valid(headers: &HeaderMap) -> bool {
    let mut keys: Vec<&[u8]> = Vec::new();
    for line in headers.get_all(TRACESTATE) {
        for entry in line.as_bytes().split(|b| *b == b',') {
            let entry = entry.trim_ascii();
            if entry.is_empty() {
                continue;
            }
            let Some(at) = entry.iter().position(|b| *b == b'=') else {
                return false;
            };
            let (key, value) = entry.split_at(at);
            let value = value.get(1..).unwrap_or_default();
            // The number first, since each is compared with all before it.
            if keys.len() == MOST_ENTRIES || !is_key(key) || !is_value(value) || keys.contains(&key)
            {
                return false;
            }
            keys.push(key);
        }
    }
    true
}

fn is_key(key: &[u8]) -> bool {
    let inside = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let begins = matches!(key.first(), Some(b'a'..=b'z' | b'0'..=b'9'));
    let tenants = key.iter().filter(|b| **b == b'@').count();
    begins && key.len() <= LONGEST && tenants <= 1 && key.iter().all(inside)
}

fn is_value(value: &[u8]) -> bool {
    // Neither of them can stand inside: both end an entry or its key.
    let inside = |b: &u8| matches!(b, b' '..=b'~') && *b != b',' && *b != b'=';
    (1..=LONGEST).contains(&value.len()) && value.iter().all(inside)
}

struct Parts<'h> {
    trace: &'h str,
    span: &'h str,
    flags: &'h str,
}

fn parse(value: &[u8]) -> Option<Parts<'_>> {
    let (known, more) = value.split_at_checked(LENGTH)?;
    let mut parts = known.split(|b| *b == b'-');
    let mut part = |length| {
        let part = parts.next()?;
        let fits = part.len() == length && part.iter().all(is_hex);
        std::str::from_utf8(part).ok().filter(|_| fits)
    };
    let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let is_known = match version {
        "00" => more.is_empty(),
        "ff" => false,
        // A later version may say more, behind another hyphen.
        _ => more.first().is_none_or(|b| *b == b'-'),
    };
    let names = |id: &str| id.bytes().any(|b| b != b'0');
    (is_known && names(trace) && names(span)).then_some(Parts { trace, span, flags })
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

    fn parsed(value: &[u8]) -> Option<&str> {
        parse(value).map(|parts| parts.trace)
    }

    fn of(name: HeaderName, values: &[&str]) -> HeaderMap {
        let values = values
            .iter()
            .map(|value| HeaderValue::from_str(value).unwrap());
        values.map(|value| (name.clone(), value)).collect()
    }

    #[test]
    fn the_sampled_flag_is_the_last_bit() {
        for (flags, is_sampled) in [("00", false), ("01", true), ("02", false), ("ff", true)] {
            let value = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
            let found = parent(&of(TRACEPARENT, &[&value])).unwrap();
            assert_eq!(found.is_sampled, is_sampled, "{flags}");
            assert_eq!(found.trace.to_string(), TRACE);
            assert_eq!(found.span.to_string(), "00f067aa0ba902b7");
        }
    }

    #[test]
    fn a_state_is_a_list_of_different_keys() {
        let many = |count| {
            let entries = (0..count).map(|number| format!("k{number}=1"));
            entries.collect::<Vec<_>>().join(",")
        };
        let long = format!("k={}", "v".repeat(256));
        let good: [&[&str]; 7] = [
            &[],
            &["rojo=00f067aa0ba902b7"],
            &["rojo=1 , congo=t61rcWkgMzE,", "0tenant@vendor=a b"],
            &[""],
            &[&many(32)],
            &[&long],
            &["a*-_/=!~"],
        ];
        for lines in good {
            assert!(is_state_valid(&of(TRACESTATE, lines)), "{lines:?}");
        }
        let longer = format!("{long}v");
        let bad: [&[&str]; 8] = [
            &["rojo"],
            &["rojo="],
            &["Rojo=1"],
            &["rojo=1", "rojo=2"],
            &[&many(33)],
            &[&longer],
            &["a@b@c=1"],
            &["a=b=c"],
        ];
        for lines in bad {
            assert!(!is_state_valid(&of(TRACESTATE, lines)), "{lines:?}");
        }
    }

    #[test]
    fn a_valid_header_names_its_trace() {
        assert_eq!(parsed(GOOD.as_bytes()), Some(TRACE));
        for later in ["", "-what-comes-then"] {
            let value = format!("cc{}{later}", GOOD.trim_start_matches("00"));
            assert_eq!(parsed(value.as_bytes()), Some(TRACE), "{value}");
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
            assert_eq!(parsed(value.as_bytes()), None, "{value}");
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
                if let Some(id) = parsed(&value) {
                    prop_assert_eq!(id.len(), 32);
                    prop_assert!(id.bytes().all(|b| is_hex(&b)));
                }
            }
        }
    }
}

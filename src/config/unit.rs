//! Durations and sizes, which are strings with a unit.

use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;

use super::kind::{self, Kind};

/// A limit on waiting, which must leave some time to wait.
pub(super) const TIMEOUT: Kind<Duration> = Kind {
    expected: "a duration with a unit, such as \"5s\", from 1ms to 365d",
    read: |value| duration(value).filter(|limit| *limit >= Duration::from_millis(1)),
};

/// A time to keep something, which may be none.
pub(super) const PERIOD: Kind<Duration> = Kind {
    expected: "a duration with a unit, such as \"30s\", up to 365d",
    read: duration,
};

/// A lifetime that outlasts the second in which it begins.
pub(super) const LIFETIME: Kind<Duration> = Kind {
    expected: "a duration with a unit, such as \"30d\", from 1s to 365d",
    read: |value| duration(value).filter(|ttl| *ttl >= Duration::from_secs(1)),
};

/// A number of bytes.
pub(super) const SIZE: Kind<u64> = Kind {
    expected: "a size with a unit, such as \"1MiB\"",
    read: size,
};

/// A number of bytes each second.
pub(super) const RATE: Kind<u64> = Kind {
    expected: "a size for each second with a unit, such as \"100B\"; \"0B\" is no limit",
    read: size,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns a duration of up to a year, so that no sum of a time and a duration overflows.
pub(super) fn duration(value: &DeValue<'_>) -> Option<Duration> {
    let text = with_unit(value)?;
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| *duration <= DAY * 365)
}

fn size(value: &DeValue<'_>) -> Option<u64> {
    let size: ByteSize = with_unit(value)?.parse().ok()?;
    // bytesize turns what does not fit into the largest number.
    Some(size.as_u64()).filter(|bytes| *bytes < u64::MAX)
}

/// Returns a text that ends in a unit: both crates take some numbers without one.
fn with_unit<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    kind::text(value).filter(|text| text.ends_with(|end: char| end.is_ascii_alphabetic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(kind: &Kind<T>, toml: &str) -> Option<T> {
        (kind.read)(DeValue::parse(toml).unwrap().get_ref())
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, millis) in [
            (r#""2h""#, Some(7_200_000)),
            (r#""1h 30m""#, Some(5_400_000)),
            (r#""0s""#, Some(0)),
            (r#""365d""#, Some(31_536_000_000)),
            (r#""0""#, None),
            (r#""60""#, None),
            ("60", None),
            (r#""-1s""#, None),
            (r#""366d""#, None),
            (r#""s""#, None),
            (r#""""#, None),
        ] {
            let read = read(&PERIOD, text).map(|duration| duration.as_millis());
            assert_eq!(read, millis, "{text}");
        }
    }

    #[test]
    fn a_timeout_of_nothing_is_refused() {
        assert_eq!(read(&TIMEOUT, r#""0s""#), None);
        assert_eq!(read(&LIFETIME, r#""999ms""#), None);
    }

    #[test]
    fn sizes_have_a_unit() {
        for (text, bytes) in [
            (r#""64KiB""#, Some(65_536)),
            (r#""1MiB""#, Some(1_048_576)),
            (r#""1.5 MB""#, Some(1_500_000)),
            (r#""0B""#, Some(0)),
            (r#""64""#, None),
            ("64", None),
            (r#""lots""#, None),
            (r#""-1MiB""#, None),
            (r#""99999999EiB""#, None),
        ] {
            assert_eq!(read(&SIZE, text), bytes, "{text}");
        }
    }
}

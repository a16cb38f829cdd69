//! A configuration of any text is refused with problems or is one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use menshen::config;

fuzz_target!(|text: &str| {
    if let Err(problems) = config::parse(text, "fuzzed", &|_| Some("s3cret-value".to_owned())) {
        assert!(!problems.problems.is_empty());
        assert!(!problems.to_string().contains("s3cret-value") || text.contains("s3cret-value"));
    }
});

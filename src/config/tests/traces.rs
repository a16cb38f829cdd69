//! What traces are refused for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{problems, read, refused, with};
use crate::config::Decider;

const ENDPOINT: &str = "endpoint = \"http://127.0.0.1:4318\"";

#[test]
fn mistakes_about_traces_are_refused_with_their_key_and_a_reason() {
    let traces = |lines: &str| with("[traces]", lines);
    refused([
        (
            traces("endpoint = \"127.0.0.1:4318\""),
            "traces.endpoint (line 14): must be an origin, with or without a path",
        ),
        (
            traces("endpoint = \"http://me:hunter2@127.0.0.1\""),
            "traces.endpoint (line 14): must be an origin, with or without a path, such as \"https://api.weixin.qq.com\", \
             not a text with \"@\" in it",
        ),
        (
            traces("sample = 1.5"),
            "traces.sample (line 14): must be a number from 0 to 1, such as 0.1, not 1.5",
        ),
        (
            traces("sample = nan"),
            "traces.sample (line 14): must be a number from 0 to 1",
        ),
        (
            traces("sample = \"0.1\""),
            "traces.sample (line 14): must be a number from 0 to 1",
        ),
        (
            traces("sampled_by = \"clients\""),
            "traces.sampled_by (line 14): must be \"trusted_proxies\", \"everyone\" or \"nobody\", not \"clients\"",
        ),
        (
            traces("queue = 0"),
            "traces.queue (line 14): must be a whole number from 1 to 100000, not 0",
        ),
        (
            traces("service_name = \"\""),
            "traces.service_name (line 14): must be a name of up to 255 characters",
        ),
        (
            traces("timeout = \"0s\""),
            "traces.timeout (line 14): must be a duration with a unit",
        ),
        (
            traces("headers_file = \"nowhere\""),
            "traces.headers_file (line 14): cannot be read: no such file",
        ),
        (
            traces("headers_file = \"Cargo.toml\""),
            "traces.headers_file (line 14): is of no use without endpoint",
        ),
        (
            traces("ca_file = \"Cargo.toml\""),
            "traces.ca_file (line 14): must name a PEM file with a certificate in it",
        ),
        (
            traces("protocol = \"grpc\""),
            "traces.protocol (line 14): is not a known key",
        ),
    ]);
}

#[test]
fn an_endpoint_is_where_spans_are_taken_whether_its_path_is_written_or_not() {
    for (written, meant) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://a.example/otlp", "https://a.example/otlp/v1/traces"),
        (
            "https://a.example/otlp/v1/traces",
            "https://a.example/otlp/v1/traces",
        ),
    ] {
        let config = read(&with("[traces]", &format!("endpoint = \"{written}\""))).unwrap();
        assert_eq!(config.traces.endpoint.as_deref(), Some(meant));
    }
}

#[test]
fn nothing_is_traced_where_nothing_is_written_and_nobody_decides_but_trusted_proxies() {
    let traces = read(&with("", "")).unwrap().traces;
    assert_eq!(traces.endpoint, None);
    assert_eq!(traces.decider, Decider::TrustedProxies);
    assert!((traces.sample - 0.1).abs() < f64::EPSILON);
    for (written, ratio) in [("0", 0.0), ("1", 1.0), ("1.0", 1.0), ("0.25", 0.25)] {
        let config = read(&with("[traces]", &format!("sample = {written}"))).unwrap();
        assert!(
            (config.traces.sample - ratio).abs() < f64::EPSILON,
            "{written}"
        );
    }
}

#[test]
fn a_file_of_headers_is_read_and_never_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers");
    let with_file = |endpoint: &str| {
        let lines = format!("{endpoint}\nheaders_file = '{}'", file.display());
        with("[traces]", &lines)
    };
    fs::write(&file, "Authorization: Bearer hunter2\n\nX-Tenant:shop\n").unwrap();
    let traces = read(&with_file(ENDPOINT)).unwrap().traces;
    let names: Vec<_> = traces
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["authorization", "x-tenant"]);
    assert!(!format!("{traces:?}").contains("hunter2"));
    let remote = "endpoint = \"http://collector.example:4318\"";
    let said = problems(&with_file(remote));
    assert!(
        said[0].contains("traces.endpoint (line 14): must be https"),
        "{said:?}"
    );
    let allowed = format!("{remote}\nallow_plain_http = true");
    assert_eq!(problems(&with_file(&allowed)), Vec::<String>::new());
    for (text, told) in [
        ("hunter2\n", "its line 1 is not"),
        ("A: b\nhunter2 x: y\n", "its line 2 is not"),
        ("A: hunter2\u{7f}\n", "its line 1 is not"),
        ("Content-Length: 1\n", "content-length"),
    ] {
        fs::write(&file, text).unwrap();
        let said = problems(&with_file(ENDPOINT)).concat();
        assert!(said.contains(told) && !said.contains("hunter2"), "{said}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let said = problems(&with_file(ENDPOINT)).concat();
    assert!(said.contains("not every user may write to"), "{said}");
}

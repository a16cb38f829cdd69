//! Reads `[traces]`: where spans are sent, and of which requests there are any.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::address::{BASE, is_plain_and_remote};
use super::contents::secret_contents;
use super::kind::{Kind, SWITCH, TEXT, number, text};
use super::pem::{check_certificates, file};
use super::reader::Table;
use super::unit::TIMEOUT;

/// What is traced, and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// Where the collector takes spans; `None` means that nothing is traced.
    pub endpoint: Option<String>,
    /// Headers that the collector asks for; they may be secret.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The authorities trusted instead of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// Of how many requests there is a trace, from 0 (none) to 1 (all), where nobody else has decided.
    pub sample: f64,
    /// Who decides with a `traceparent` whether there is a trace.
    pub decider: Decider,
    /// What the spans say that they come from.
    pub service_name: String,
    /// The most spans that wait to be sent.
    pub queue: usize,
    /// How long the collector may take for each call.
    pub timeout: Duration,
}

/// Whose sampled flag counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// That of the proxies in `server.trusted_proxies`.
    TrustedProxies,
    /// That of every client.
    Everyone,
    /// Nobody's.
    Nobody,
}

/// What is added to the endpoint, as OTLP over HTTP has it.
const PATH: &str = "/v1/traces";

const RATIO: Kind<f64> = Kind {
    expected: "a number from 0 to 1, such as 0.1",
    read: |value| {
        let ratio = match value.as_float() {
            Some(float) => float.as_str().parse().ok()?,
            None => f64::from(u32::try_from(number(value)?).ok()?),
        };
        (0.0..=1.0).contains(&ratio).then_some(ratio)
    },
};

const DECIDER: Kind<Decider> = Kind {
    expected: "\"trusted_proxies\", \"everyone\" or \"nobody\"",
    read: |value| match value.as_str()? {
        "trusted_proxies" => Some(Decider::TrustedProxies),
        "everyone" => Some(Decider::Everyone),
        "nobody" => Some(Decider::Nobody),
        _ => None,
    },
};

const QUEUE: Kind<usize> = Kind {
    expected: "a whole number from 1 to 100000",
    read: |value| {
        let count = usize::try_from(number(value)?).ok();
        count.filter(|count| (1..=100_000).contains(count))
    },
};

const NAME: Kind<String> = Kind {
    expected: "a name of up to 255 characters",
    read: |value| {
        let name = text(value)?;
        (name.chars().count() <= 255).then(|| name.to_owned())
    },
};

/// Reads the section.
pub(super) fn read(table: &mut Table<'_, '_>) -> Option<Traces> {
    let endpoint = table.optional("endpoint", &BASE);
    let allow_plain_http = table.or("allow_plain_http", "false", &SWITCH);
    let headers = headers(table);
    let ca_file = file(table, "ca_file", check_certificates);
    let sample = table.or("sample", "0.1", &RATIO);
    let decider = table.or("sampled_by", r#""trusted_proxies""#, &DECIDER);
    let service_name = table.or("service_name", r#""menshen""#, &NAME);
    let queue = table.or("queue", "4096", &QUEUE);
    let timeout = table.or("timeout", r#""10s""#, &TIMEOUT);
    for key in ["headers_file", "ca_file"] {
        if table.has(key) && !table.has("endpoint") {
            table.refuse(key, "is of no use without endpoint".to_owned());
        }
    }
    let has_secret = table.has("headers_file");
    let is_clear = endpoint.as_deref().is_some_and(is_plain_and_remote);
    if is_clear && has_secret && allow_plain_http == Some(false) {
        table.refuse(
            "endpoint",
            "must be https, since the headers of headers_file are sent there; allow_plain_http = true permits http"
                .to_owned(),
        );
    }
    Some(Traces {
        endpoint: endpoint.map(|base| match base.ends_with(PATH) {
            true => base,
            false => base + PATH,
        }),
        headers: headers?,
        ca_file,
        sample: sample?,
        decider: decider?,
        service_name: service_name?,
        queue: queue?,
        timeout: timeout?,
    })
}

/// Reads the file of headers; `None` says that a problem was noted.
fn headers(table: &mut Table<'_, '_>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    const KEY: &str = "headers_file";
    // Unshown: somebody may have put a header where its file belongs.
    let Some(path) = table.unshown(KEY, &TEXT) else {
        return (!table.has(KEY)).then(Vec::new);
    };
    let path = table.located(path);
    from_file(&path)
        .map_err(|message| table.refuse(KEY, message))
        .ok()
}

fn from_file(path: &Path) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let bytes = secret_contents(path)?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| "must name a file that holds text".to_owned())?;
    let mut headers = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        // The line is not quoted: it may be the secret.
        let wrong = || {
            format!(
                "must name a file of lines such as \"Authorization: Bearer …\", which its line {} is not",
                at + 1
            )
        };
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.parse().map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        if is_ours(&name) {
            return Err(format!(
                "must name no header that Menshen sets itself, as {name} is"
            ));
        }
        headers.push((name, value));
    }
    Ok(headers)
}

/// Returns whether a header is about the message that Menshen makes.
fn is_ours(name: &HeaderName) -> bool {
    const OURS: [&str; 7] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "te",
        "transfer-encoding",
    ];
    OURS.contains(&name.as_str())
}

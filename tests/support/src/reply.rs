//! A response that was read whole.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Status, headers and body of a response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status as a number.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Sends a request and reads the whole response.
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("there should be a response");
        let status: StatusCode = response.status();
        let headers = response.headers().clone();
        let body = response.bytes().await.expect("the body should be whole");
        Self {
            status: status.as_u16(),
            headers,
            body: body.to_vec(),
        }
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the body as JSON, or null.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Returns the `error` of a refusal, or "".
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or("").to_owned()
    }

    /// Returns status and `error` together.
    pub fn refusal(&self) -> (u16, String) {
        (self.status, self.error())
    }

    /// Checks a refusal: its status, its code and everything about its shape. Returns its body.
    #[track_caller]
    pub fn refused(&self, status: u16, error: &str) -> Value {
        assert_eq!(self.refusal(), (status, error.to_owned()));
        let json = self.json();
        let names: Vec<_> = json.as_object().expect("an object").keys().collect();
        let with_errcode = ["errcode", "error", "message", "request_id"];
        assert_eq!(
            names,
            &with_errcode[usize::from(json.get("errcode").is_none())..]
        );
        assert!(json["message"].as_str().expect("a text").ends_with('.'));
        assert_eq!(json["request_id"], self.header("x-request-id"));
        assert!(self.header("x-request-id").len() >= 16);
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.header("www-authenticate").is_empty(), status != 401);
        let later = [429, 503].contains(&status);
        assert_eq!(self.header("retry-after").is_empty(), !later);
        assert_eq!(self.headers.contains_key("allow"), status == 405);
        json
    }

    /// Returns the seconds of `Retry-After`.
    pub fn retry_after(&self) -> Option<u64> {
        self.header("retry-after").parse().ok()
    }

    /// Returns a header's value, or "".
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }
}

/// Makes a client that asks no proxy.
pub fn make_client() -> reqwest::Client {
    menshen::app::install_crypto();
    let client = reqwest::Client::builder().no_proxy().build();
    client.expect("a client")
}

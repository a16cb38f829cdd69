//! What `menshen dev` runs beside the proxy: a small backend that shows what it received, and the `playground`.

use std::future::Future;
use std::io;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::{Serialize, Serializer};
use tokio::net::TcpListener;

pub use self::playground::Playground;

mod playground;

/// Answers every request on this listener with a description of it, until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let app = Router::new().fallback(describe);
    axum::serve(listener, app)
        .with_graceful_shutdown(shutdown)
        .await
}

#[derive(Serialize)]
struct Description<'a> {
    hello: String,
    method: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    body_bytes: u64,
    #[serde(serialize_with = "name_by_name")]
    headers: &'a HeaderMap,
}

async fn describe(request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body_bytes) = length(body).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let description = Description {
        hello: hello(&head.headers),
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query(),
        body_bytes,
        headers: &head.headers,
    };
    match serde_json::to_string_pretty(&description) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Counts a body piece by piece, so that its size does not matter.
async fn length(body: Body) -> Result<u64, axum::Error> {
    let mut pieces = body.into_data_stream();
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        bytes += piece?.len() as u64;
    }
    Ok(bytes)
}

fn hello(headers: &HeaderMap) -> String {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let app = text("x-menshen-app").or(text("x-wx-appid"));
    // As backends for Cloud Run do: the source tells that somebody is logged in, the openid who.
    match (text("x-wx-source"), text("x-wx-openid")) {
        (Some(_), Some(openid)) => {
            format!("You are {openid} in app {}", app.unwrap_or("(unnamed)"))
        }
        _ => "Nobody is logged in".to_owned(),
    }
}

/// Writes headers as an object in the order received; one that came twice has a list of values.
fn name_by_name<S: Serializer>(headers: &HeaderMap, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Values {
        One(String),
        Many(Vec<String>),
    }
    to.collect_map(headers.keys().map(|name| {
        let values = headers.get_all(name).iter();
        let mut texts: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        let values = match texts.pop() {
            Some(only) if texts.is_empty() => Values::One(only),
            last => Values::Many(texts.into_iter().chain(last).collect()),
        };
        (name.as_str(), values)
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    async fn described(request: Request) -> Value {
        let body = describe(request).await.into_body();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn request(headers: &[(&str, &str)]) -> Request {
        let builder = Request::builder().method("PUT").uri("/orders?page=2");
        let builder = headers.iter().fold(builder, |builder, (name, value)| {
            builder.header(*name, *value)
        });
        builder.body(Body::from("12345")).unwrap()
    }

    #[tokio::test]
    async fn a_user_is_greeted_by_openid_and_app() {
        let headers = [
            ("x-wx-source", "wx_client"),
            ("x-wx-openid", "o1"),
            ("x-menshen-app", "shop"),
        ];
        let hello = described(request(&headers)).await["hello"].take();
        assert_eq!(hello, "You are o1 in app shop");
    }

    #[tokio::test]
    async fn an_openid_without_a_source_is_nobody() {
        let hello = described(request(&[("x-wx-openid", "o1")])).await["hello"].take();
        assert_eq!(hello, "Nobody is logged in");
    }

    #[tokio::test]
    async fn a_request_is_described_without_showing_its_body() {
        let shown = described(request(&[("x-a", "1"), ("x-b", "2"), ("x-b", "3")])).await;
        let expected = json!({
            "hello": "Nobody is logged in",
            "method": "PUT",
            "path": "/orders",
            "query": "page=2",
            "body_bytes": 5,
            "headers": { "x-a": "1", "x-b": ["2", "3"] },
        });
        assert_eq!(shown, expected);
    }
}

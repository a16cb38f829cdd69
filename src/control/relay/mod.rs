//! Passes calls of backends on to WeChat's API, with the access_token put in.
//!
//! # Layout
//! `target` reads which app and call is meant and whether it is open, `admission` who asks. `upload` is the body on its way there, from which
//! `names` says what is taken out, `json`, `form` and `parts` how. `answer` is what comes back, `progress` how far both are. `own_token` answers
//! clients that want an access_token first.

mod admission;
mod answer;
mod form;
mod json;
mod names;
mod own_token;
mod parts;
mod progress;
mod target;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;

use self::answer::RelayAnswer;
use self::progress::Progress;
use self::upload::Upload;
use super::denial::ControlDenial;
use super::{Control, WeChatApi};
use crate::config::App;
use crate::secret::Secret;
use crate::wechat::{CallError, Lease};

pub(super) use self::progress::Moved;
pub(super) use self::target::{PREFIX, Target};

/// The route that every call of the relay takes.
pub(super) const ROUTE: &str = "/wechat/{app}/{*path}";
/// The headers of callers that go on.
const PASSED: [HeaderName; 3] = [CONTENT_TYPE, ACCEPT, USER_AGENT];
/// The methods of WeChat's API.
const METHODS: [Method; 5] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
];
/// What is escaped in a query.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// What wants to have the appid named in its body, and is told this one.
const WITH_APPID: [&str; 2] = ["/wxa/getuserriskrank", "/cgi-bin/clear_quota"];

/// A call that may be made.
struct Call {
    app: Arc<App>,
    path: String,
    query: String,
    method: Method,
    /// Those of the caller's that go on.
    headers: HeaderMap,
    moved: Moved,
}

/// `ANY /wechat/{app}/{path}`, and whatever was sent to WeChat by name
pub(super) async fn relay(
    State(control): State<Control>,
    request: Request,
) -> Result<Response, ControlDenial> {
    let target = Target::of(&request).ok_or(ControlDenial::RouteUnknown)??;
    if !METHODS.contains(request.method()) {
        return Err(ControlDenial::MethodNotAllowed);
    }
    // Each on its own, so that nothing of the request is kept for as long as a call lasts.
    if target.asks_for_token() {
        return Box::pin(give_token(control, target, request)).await;
    }
    let (call, body) = Call::of(&control, target, request)?;
    let api = control.known.wechat();
    Box::pin(async move {
        let upload = Upload::of(&call.headers, body).await?;
        call.make(&api, upload).await
    })
    .await
}

async fn give_token(
    control: Control,
    target: Target,
    request: Request,
) -> Result<Response, ControlDenial> {
    let (head, body) = request.into_parts();
    let query = head.uri.query().unwrap_or_default();
    let credentials = own_token::credentials(query, body).await?;
    let request = Request::from_parts(head, Body::empty());
    let admitted = admission::admit(&control, target, &request, Some(&credentials))?;
    own_token::give(&control, &admitted.app)
}

impl Call {
    /// Admits a call.
    fn of(
        control: &Control,
        target: Target,
        request: Request,
    ) -> Result<(Self, Body), ControlDenial> {
        let allowed = target.is_allowed(&control.known.relayed().allow);
        let admitted = admission::admit(control, target, &request, None)?;
        if !allowed {
            return Err(ControlDenial::PathNotAllowed);
        }
        let (head, body) = request.into_parts();
        let call = Self {
            app: admitted.app,
            path: admitted.path,
            query: names::without(head.uri.query().unwrap_or_default()),
            method: head.method,
            headers: passed(&head.headers),
            moved: head.extensions.get().cloned().unwrap_or_default(),
        };
        Ok((call, body))
    }

    /// Makes the call; once more with another token where WeChat refuses the first and the body can be sent again.
    async fn make(self, api: &WeChatApi, upload: Upload) -> Result<Response, ControlDenial> {
        let (client, tokens, app) = (&api.client, &api.tokens, &*self.app);
        let limit = api.transport.timeout();
        let token = Box::pin(tokens.of(client, app)).await?.token;
        let again = match &upload {
            Upload::Whole(body) => Some(self.with_appid(body)),
            Upload::Passing(_) => None,
        };
        let upload = again.clone().map_or(upload, Upload::Whole);
        let mut answer = self.ask(api, &token, upload).await?;
        if let Some(error) = answer.error.as_ref().filter(|error| error.says_stale()) {
            let errcode = error.errcode();
            let other = tokens.in_place_of(&token, &self.path, client, app);
            let other = Box::pin(other).await?;
            tracing::info!(
                app = app.name,
                errcode,
                renewed = other.token != token,
                "WeChat refused the access_token of a call"
            );
            if let Some(body) = again.filter(|_| other.token != token) {
                answer = self.ask(api, &other.token, Upload::Whole(body)).await?;
            }
        } else {
            tokens.worked(&token, client, app);
        }
        client.count_relayed(app, answer.error.as_ref());
        Ok(answer.into_response(limit, self.moved))
    }

    /// Sends the call once and reads the beginning of the answer.
    async fn ask(
        &self,
        api: &WeChatApi,
        token: &Secret,
        upload: Upload,
    ) -> Result<RelayAnswer, ControlDenial> {
        let asked = self.attempt(api, token, upload).await;
        match &asked {
            Ok(_) => api.transport.reached(),
            Err(Failed::Call(CallError::NotWeChat(what))) => api.transport.met_a_page(what),
            Err(_) => {}
        }
        asked.map_err(ControlDenial::from)
    }

    async fn attempt(
        &self,
        api: &WeChatApi,
        token: &Secret,
        upload: Upload,
    ) -> Result<RelayAnswer, Failed> {
        let progress = Arc::new(Progress::on(self.moved.clone()));
        let (body, length) = match upload {
            Upload::Whole(body) => {
                progress.is_sent();
                let length = body.len() as u64;
                (upload::in_slices(body), length)
            }
            Upload::Passing(passing) => {
                let length = passing.length;
                (passing.into_body(Arc::clone(&progress)), length)
            }
        };
        let request = self.request(token, body, length)?;
        let limit = api.transport.timeout();
        let sent = api.transport.send(request);
        let (answer, lease): (_, Lease<Body>) = patiently(sent, &progress, limit).await?;
        Ok(RelayAnswer::of(answer, lease, limit).await?)
    }

    fn request(
        &self,
        token: &Secret,
        body: Body,
        length: u64,
    ) -> Result<http::Request<Body>, Failed> {
        let separator = if self.query.is_empty() { "" } else { "&" };
        let token = utf8_percent_encode(token.expose(), RESERVED);
        let (path, query) = (&self.path, &self.query);
        let target = format!("{path}?access_token={token}{separator}{query}");
        let mut request = http::Request::new(body);
        let unwritable = CallError::NotAnAnswer("the request cannot be written");
        *request.uri_mut() = target.parse().map_err(|_| unwritable)?;
        request.method_mut().clone_from(&self.method);
        request.headers_mut().clone_from(&self.headers);
        let bodiless = matches!(self.method, Method::GET | Method::HEAD) && length == 0;
        if !bodiless {
            // WeChat answers 412 to a body in chunks.
            let length = HeaderValue::from(length);
            request.headers_mut().insert(CONTENT_LENGTH, length);
        }
        Ok(request)
    }

    /// Names the app in a body where WeChat wants that.
    fn with_appid(&self, body: &Bytes) -> Bytes {
        let object = body.trim_ascii_start().strip_prefix(b"{");
        let Some(rest) = object.filter(|_| WITH_APPID.contains(&self.path.as_str())) else {
            return body.clone();
        };
        let comma = if rest.trim_ascii() == b"}" { "" } else { "," };
        let appid = serde_json::Value::from(self.app.appid.as_str());
        let begins = format!("{{\"appid\":{appid}{comma}");
        [begins.as_bytes(), rest].concat().into()
    }
}

fn passed(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in PASSED {
        // A clone would keep the buffer into which the whole head was read.
        let value = headers.get(&name).map(HeaderValue::as_bytes);
        if let Some(Ok(value)) = value.map(HeaderValue::from_bytes) {
            passed.insert(name, value);
        }
    }
    passed
}

/// Why a call brought nothing.
enum Failed {
    Call(CallError),
    Refused(ControlDenial),
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<Failed> for ControlDenial {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Call(error) => error.into(),
            Failed::Refused(refusal) => refusal,
        }
    }
}

/// Waits for the head of an answer: for as long as the body moves, and then as long as WeChat may take.
async fn patiently<T>(
    sent: impl Future<Output = Result<T, CallError>>,
    progress: &Progress,
    limit: Duration,
) -> Result<T, Failed> {
    let mut sent = std::pin::pin!(sent);
    let mut before = progress.state();
    let mut stalled = Duration::ZERO;
    loop {
        let waited = timeout(limit, &mut sent).await;
        if let Some(refusal) = progress.refused() {
            return Err(Failed::Refused(refusal));
        }
        if let Ok(answered) = waited {
            return Ok(answered?);
        }
        let now = progress.state();
        let (_, is_sent) = now;
        stalled = if now == before {
            stalled + limit
        } else {
            Duration::ZERO
        };
        // A caller that says nothing is refused where its body is read.
        if is_sent && stalled > Duration::ZERO || stalled > 2 * upload_patience() {
            return Err(CallError::NoAnswer.into());
        }
        before = now;
    }
}

const fn upload_patience() -> Duration {
    Duration::from_secs(30)
}

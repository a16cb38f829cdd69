//! The spans of a login: its wait for a turn, its calls to WeChat, and the store.
//!
//! The secret, the code and what WeChat answers are in none of them; neither is the query of a call, which holds the first two.

use std::sync::{Arc, OnceLock};

use crate::traces::{Scope, Span, SpanKind};

/// The trace that a login is part of.
#[derive(Clone, Debug)]
pub struct LoginTrace {
    scope: Scope,
    app: Arc<OnceLock<String>>,
}

impl LoginTrace {
    /// Has the spans of a login be below another one.
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            app: Arc::default(),
        }
    }

    /// Returns the name of the app, once it is known.
    pub fn app(&self) -> Option<&str> {
        self.app.get().map(String::as_str)
    }

    pub(super) fn name_app(&self, app: &str) {
        self.app.get_or_init(|| app.to_owned());
    }

    /// Begins something that a login does here.
    pub(super) fn step(&self, name: &'static str) -> Span {
        self.scope.begin(SpanKind::Internal, name)
    }

    /// Begins a call to WeChat; `place` is its host, with a port where that is not the usual one.
    pub(super) fn call(&self, endpoint: &'static str, place: &str, tries: u32) -> Span {
        let name = format!("GET {endpoint}");
        let mut span = self.scope.begin(SpanKind::Client, name);
        span.set("http.request.method", "GET");
        span.set_address(place);
        span.set("menshen.wechat.endpoint", endpoint);
        if let Some(app) = self.app() {
            span.set("menshen.app", app.to_owned());
        }
        if tries > 0 {
            span.set_number("http.request.resend_count", u64::from(tries));
        }
        span
    }
}

/// Ends something that a login did here; `error` says what came of it otherwise.
pub(super) fn end_step(span: Option<Span>, error: Option<&'static str>) {
    let Some(mut span) = span else {
        return;
    };
    if let Some(error) = error {
        span.failed(error);
    }
    span.end();
}

/// Ends a call to WeChat; `result` is the word under which it is counted, and `errcode` what WeChat said.
pub(super) fn end_call(span: Option<Span>, result: &str, errcode: Option<i64>) {
    let Some(mut span) = span else {
        return;
    };
    if let Some(errcode) = errcode {
        span.set("menshen.wechat.errcode", errcode);
    }
    if result != "ok" {
        span.failed(result.to_owned());
    }
    span.end();
}

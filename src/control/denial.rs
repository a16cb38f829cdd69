//! Every refusal of the private listener, in the shape of the public ones.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::request::{RefusalBody, retry_after_secs};
use crate::session::StoreError;
use crate::wechat::{ApiError, FailureClass, TOKEN_EXPIRED, TOKEN_INVALID, advice};

/// How long a caller should wait before it asks again.
const RETRY_SECS: u64 = 5;

/// Why a request was refused.
#[derive(Clone, Debug)]
pub(super) enum ControlDenial {
    /// The request is malformed; the text says how.
    BadRequest(&'static str),
    /// It comes from a web page.
    OriginNotAllowed,
    /// The secret is missing.
    TokenMissing,
    /// What was sent is not the secret.
    TokenInvalid,
    /// The secret is not good for this call.
    CallNotAllowed,
    /// The secret is not good for this app.
    AppNotAllowed,
    /// Too many wrong secrets came from this address, for this long.
    TooManySecrets(Duration),
    /// There is no such app.
    AppUnknown,
    /// No app is named, and there are several.
    AppAmbiguous,
    /// A path has two readings.
    PathAmbiguous,
    /// A call of WeChat's is closed to backends.
    PathNotAllowed,
    /// What was sent as a token of the relay's is none.
    RelayTokenInvalid,
    /// It was one.
    RelayTokenExpired,
    /// It is one of another app.
    RelayTokenOfAnotherApp,
    /// A large body did not say how long it is.
    LengthRequired,
    /// A body did not come in time.
    RequestTimeout,
    /// No such request is among the last ones.
    RequestUnknown,
    /// Nobody is looked up by unionid here.
    UnionidsNotKept,
    /// There is no such call.
    RouteUnknown,
    /// The call has other methods.
    MethodNotAllowed,
    /// The body is over the limit.
    BodyTooLarge,
    /// The changed configuration was not taken over; each problem is one line.
    ConfigurationInvalid(Vec<String>),
    /// The store did not answer.
    StoreUnavailable,
    /// The program is stopping.
    ShuttingDown,
    /// A fault in the program.
    Internal,
    /// The user has no session, so that there is no session_key.
    SessionKeyUnknown,
    /// Something did not open; nobody is told why.
    DecryptFailed,
    /// Too much did not open, for this long.
    TooManyFailures(Duration),
    /// WeChat has given another session_key, which was lost.
    ResetNotStored,
    /// The code of a tap is not good for this user; WeChat's number for it.
    CodeInvalid(i64),
    /// It was used before.
    CodeUsed(i64),
    /// WeChat could not be asked, or refused.
    WeChat(ApiError),
}

impl ControlDenial {
    /// Says whether it is about who asked, which somebody should hear of, and not about what was asked.
    pub(super) fn is_about_the_caller(&self) -> bool {
        matches!(
            self,
            Self::OriginNotAllowed
                | Self::TokenMissing
                | Self::TokenInvalid
                | Self::CallNotAllowed
                | Self::AppNotAllowed
                | Self::TooManySecrets(_)
                | Self::RelayTokenInvalid
                | Self::RelayTokenOfAnotherApp
        )
    }

    /// Returns the status, the stable code and the sentence that a caller gets.
    fn response(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadRequest(how) => (S::BAD_REQUEST, "bad_request", how),
            Self::OriginNotAllowed => (
                S::FORBIDDEN,
                "origin_not_allowed",
                "Web pages may not ask this listener.",
            ),
            Self::TokenMissing => (
                S::UNAUTHORIZED,
                "token_missing",
                "Send a secret of [control] as a bearer token.",
            ),
            Self::TokenInvalid => (
                S::UNAUTHORIZED,
                "token_invalid",
                "This is no secret of [control].",
            ),
            Self::CallNotAllowed => (
                S::FORBIDDEN,
                "call_not_allowed",
                "This secret is not good for this call.",
            ),
            Self::AppNotAllowed => (
                S::FORBIDDEN,
                "app_not_allowed",
                "This secret is not good for this app.",
            ),
            Self::TooManySecrets(_) => (
                S::TOO_MANY_REQUESTS,
                "too_many_requests",
                "Too many wrong secrets came from this address; try again later.",
            ),
            Self::AppUnknown => (S::NOT_FOUND, "app_unknown", "There is no app of this name."),
            Self::AppAmbiguous => (
                S::BAD_REQUEST,
                "app_ambiguous",
                "There are several apps; name one, or set relay.app.",
            ),
            Self::PathAmbiguous => (
                S::BAD_REQUEST,
                "path_ambiguous",
                "A path of WeChat's has letters, digits, -, _ and . only.",
            ),
            Self::PathNotAllowed => (
                S::FORBIDDEN,
                "path_not_allowed",
                "relay.allow does not open this call, or it is one that takes or gives a secret.",
            ),
            Self::RelayTokenInvalid => (
                S::UNAUTHORIZED,
                "token_invalid",
                "This is not a token of this relay's.",
            ),
            Self::RelayTokenExpired => (
                S::UNAUTHORIZED,
                "token_expired",
                "The token of the relay's has expired; take the one that came with the latest request.",
            ),
            Self::RelayTokenOfAnotherApp => (
                S::FORBIDDEN,
                "app_not_allowed",
                "The token of the relay's is another app's.",
            ),
            Self::LengthRequired => (
                S::LENGTH_REQUIRED,
                "length_required",
                "WeChat takes no body without a length; send Content-Length.",
            ),
            Self::RequestTimeout => (
                S::REQUEST_TIMEOUT,
                "request_timeout",
                "The body did not arrive in time.",
            ),
            Self::RequestUnknown => (
                S::NOT_FOUND,
                "request_unknown",
                "No request of this id is among the last 10,000 of this node.",
            ),
            Self::UnionidsNotKept => (
                S::NOT_FOUND,
                "route_unknown",
                "Nobody is looked up by unionid here; set session.unionid_lookup.",
            ),
            Self::RouteUnknown => (S::NOT_FOUND, "route_unknown", "There is nothing here."),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This method is not allowed here.",
            ),
            Self::BodyTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The request body is over the limit.",
            ),
            Self::ConfigurationInvalid(_) => (
                S::UNPROCESSABLE_ENTITY,
                "configuration_invalid",
                "The configuration has problems; what runs goes on as it was.",
            ),
            Self::StoreUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "The session store does not answer; try again later.",
            ),
            Self::ShuttingDown => (
                S::SERVICE_UNAVAILABLE,
                "shutting_down",
                "This process is stopping.",
            ),
            Self::Internal => (
                S::INTERNAL_SERVER_ERROR,
                "internal_error",
                "Something went wrong in the proxy.",
            ),
            Self::SessionKeyUnknown => (
                S::NOT_FOUND,
                "session_key_unknown",
                "This user has no session in this app, and so no session_key.",
            ),
            Self::DecryptFailed => (
                S::UNPROCESSABLE_ENTITY,
                "decrypt_failed",
                "The data does not open for this user; the session_key may have changed since: log in first, then get the data anew.",
            ),
            Self::TooManyFailures(_) => (
                S::TOO_MANY_REQUESTS,
                "too_many_requests",
                "Too much of this user's data did not open; try again later.",
            ),
            Self::ResetNotStored => (
                S::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "WeChat has reset the session_key, but it could not be stored; the user must log in again.",
            ),
            Self::CodeInvalid(_) => (
                S::UNPROCESSABLE_ENTITY,
                "code_invalid",
                "The code is wrong, expired, of another kind or another user's; the user must tap again.",
            ),
            Self::CodeUsed(_) => (
                S::UNPROCESSABLE_ENTITY,
                "code_used",
                "The code was used before; the user must tap again.",
            ),
            Self::WeChat(error) => of_wechat(error.class()),
        }
    }

    /// Returns what is told of this very case.
    fn message(&self) -> Option<String> {
        let Self::WeChat(error) = self else {
            return None;
        };
        let advice = error.errcode().and_then(advice)?;
        let address = error.address()?;
        Some(format!(
            "WeChat refuses this machine's address, {address}: {advice}."
        ))
    }

    /// Returns the stable code.
    pub(super) fn code(&self) -> &'static str {
        self.response().1
    }

    /// Returns the seconds after which trying again makes sense.
    pub(super) fn retry_after_secs(&self) -> Option<u64> {
        let pause = if let Self::TooManyFailures(pause) | Self::TooManySecrets(pause) = self {
            Some(*pause)
        } else if let Self::WeChat(error) = self {
            error.class().pause()
        } else {
            None
        };
        let pause = pause.map(retry_after_secs);
        let usual = (self.response().0 == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_SECS);
        pause.or(usual)
    }

    /// Returns whether the secret would have helped.
    pub(super) fn wants_bearer(&self) -> bool {
        self.response().0 == StatusCode::UNAUTHORIZED
    }

    /// Returns the JSON that a caller gets.
    pub(super) fn body(&self, request_id: &str) -> Vec<u8> {
        let (_, error, message) = self.response();
        let problems = if let Self::ConfigurationInvalid(problems) = self {
            Some(problems.as_slice())
        } else {
            None
        };
        let errcode = if let Self::WeChat(error) = self {
            error.errcode()
        } else if let Self::CodeInvalid(errcode) | Self::CodeUsed(errcode) = self {
            Some(*errcode)
        } else if let Self::RelayTokenInvalid = self {
            // By these, WeChat's clients know that they need another token.
            Some(TOKEN_INVALID)
        } else if let Self::RelayTokenExpired = self {
            Some(TOKEN_EXPIRED)
        } else {
            None
        };
        let own = self.message();
        let body = RefusalBody {
            error,
            message: own.as_deref().unwrap_or(message),
            request_id,
            errcode,
            problems,
        };
        body.to_json()
    }
}

fn of_wechat(class: FailureClass) -> (StatusCode, &'static str, &'static str) {
    use StatusCode as S;
    match class {
        FailureClass::Busy(_) => (
            S::SERVICE_UNAVAILABLE,
            "wechat_busy",
            "WeChat is busy; try again later.",
        ),
        FailureClass::Unreachable => (
            S::SERVICE_UNAVAILABLE,
            "wechat_unreachable",
            "WeChat cannot be reached; try again later.",
        ),
        FailureClass::NoAnswer => (
            S::GATEWAY_TIMEOUT,
            "wechat_timeout",
            "WeChat did not answer; whether it did what it was asked for is not known.",
        ),
        FailureClass::StoreAway => (
            S::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "The store in which nodes share the access_token does not answer; try again later.",
        ),
        FailureClass::SessionKeyStale => (
            S::CONFLICT,
            "session_key_stale",
            "WeChat does not know this session_key any more; the user must log in again.",
        ),
        FailureClass::Misconfigured => (
            S::BAD_GATEWAY,
            "wechat_misconfigured",
            "WeChat refuses this app or this machine; the operator must act.",
        ),
        FailureClass::TokenStale | FailureClass::Unknown => (
            S::BAD_GATEWAY,
            "wechat_error",
            "WeChat's answer is not a valid one.",
        ),
    }
}

impl IntoResponse for ControlDenial {
    /// Leaves the body to what knows the id of the request.
    fn into_response(self) -> Response {
        let mut response = self.response().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ControlDenial {
    fn from(_: StoreError) -> Self {
        Self::StoreUnavailable
    }
}

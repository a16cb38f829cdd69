//! Every refusal: what the client is told, and with which status.

use std::time::Duration;

use crate::token::TokenError;
use http::{Method, StatusCode};

/// WeChat's number for what went wrong.
pub type Errcode = i64;

/// Why an exchange was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// The message or its body is malformed; the text says how.
    BadRequest(&'static str),
    /// There is more than one credential.
    TokenAmbiguous,
    /// It is not clear which app is meant.
    AppAmbiguous,
    /// There is no app of that name.
    AppUnknown,
    /// A login without a code.
    CodeMissing,
    /// Two parties could read the path in two ways.
    PathAmbiguous,
    /// A protected route without a token.
    TokenMissing,
    /// `Authorization` holds a token, but not the scheme with which it counts.
    TokenSchemeMissing,
    /// `Authorization` has the scheme twice before what may be a token.
    TokenSchemeRepeated,
    /// The token is not one of ours; the text is for the log.
    TokenInvalid(&'static str),
    /// The token's time is over.
    TokenExpired,
    /// The session was ended.
    SessionEnded,
    /// The refresh token is not one of ours.
    RefreshInvalid,
    /// The refresh token was used before; its session is ended.
    RefreshReused,
    /// WeChat does not know the code.
    CodeInvalid(Errcode),
    /// The simulated WeChat of `menshen dev` did not make the code.
    CodeNotSimulated(Errcode),
    /// The code was redeemed before, as WeChat says or as we know.
    CodeUsed(Option<Errcode>),
    /// The token's app may not use this route.
    AppNotAllowed,
    /// Another site had a browser send this with our cookie.
    OriginNotAllowed,
    /// The signature of a URL is not good for it; the text is for the log.
    SignatureInvalid(&'static str),
    /// A browser came back from WeChat with a login that it did not begin, or that is over; the text is for the log.
    StateInvalid(&'static str),
    /// Where a browser is to go after a login is not allowed.
    ReturnInvalid,
    /// The host is not one that logins are for.
    HostNotOurs,
    /// The user said no to WeChat's question.
    LoginDenied,
    /// WeChat shows a snapshot of the page, where nobody can log in.
    SnapshotUser,
    /// A ticket is not one of ours, is too old or was used before; the text is for the log.
    TicketInvalid(&'static str),
    /// No app can log a user in in this browser.
    OtherBrowser,
    /// WeChat has blocked the user.
    UserBlocked(Errcode),
    /// Nothing is served here.
    RouteUnknown,
    /// The method is not served here; these are.
    MethodNotAllowed(Vec<Method>),
    /// The body is over its limit.
    BodyTooLarge,
    /// The header section is over its limit.
    HeadersTooLarge,
    /// The client did not send its request in time.
    RequestTimeout,
    /// The client's address sent more than its share; after this time it may send again.
    TooManyRequests(Duration),
    /// There is no place left for the client's connection.
    TooManyConnections,
    /// WeChat refuses our credentials or call.
    WechatMisconfigured(Errcode),
    /// WeChat's answer is not a valid one, or a number that nobody knows.
    WechatError(Option<Errcode>),
    /// No server of the upstream could be reached.
    UpstreamUnreachable,
    /// The upstream's answer is not a valid one.
    UpstreamError,
    /// There are no file descriptors for another connection to a server.
    ProxyBusy,
    /// WeChat is busy or over quota, or calls are kept back; the code was not spent.
    WechatBusy(Option<Errcode>, Duration),
    /// WeChat cannot be reached; the code was not spent.
    WechatUnreachable(Duration),
    /// Something else answers in WeChat's place, and may have passed the code on.
    NotWechat(Duration),
    /// The session store did not answer.
    StoreUnavailable,
    /// The session of a login could not be stored, and its code is spent.
    LoginNotStored,
    /// WeChat did not answer in time, and may have spent the code.
    WechatTimeout,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The client has left; nobody reads this.
    ClientLeft,
    /// Something failed that is not the client's doing.
    Internal,
}

impl Denial {
    /// Returns the status, the stable code and the sentence that a client gets.
    pub fn response(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadRequest(how) => (S::BAD_REQUEST, "bad_request", how),
            Self::TokenAmbiguous => (
                S::BAD_REQUEST,
                "token_ambiguous",
                "More than one credential was sent; send exactly one.",
            ),
            Self::AppAmbiguous => (
                S::BAD_REQUEST,
                "app_ambiguous",
                "It is not clear which app is meant; name it.",
            ),
            Self::AppUnknown => (
                S::BAD_REQUEST,
                "app_unknown",
                "There is no app of this name.",
            ),
            Self::CodeMissing => (
                S::BAD_REQUEST,
                "code_missing",
                "The code from wx.login is missing.",
            ),
            Self::PathAmbiguous => (
                S::BAD_REQUEST,
                "path_ambiguous",
                "The path could be read in more than one way.",
            ),
            Self::TokenMissing => (S::UNAUTHORIZED, "token_missing", "Log in first."),
            Self::TokenSchemeMissing => (
                S::UNAUTHORIZED,
                "token_missing",
                "Authorization holds a token without its scheme; send Authorization: Bearer TOKEN.",
            ),
            Self::TokenSchemeRepeated => (
                S::UNAUTHORIZED,
                "token_invalid",
                "Authorization names its scheme twice; send Authorization: Bearer TOKEN.",
            ),
            Self::TokenInvalid(_) => (
                S::UNAUTHORIZED,
                "token_invalid",
                "The token is not valid; log in again.",
            ),
            Self::TokenExpired => (
                S::UNAUTHORIZED,
                "token_expired",
                "The token has expired; refresh it or log in again.",
            ),
            Self::SessionEnded => (
                S::UNAUTHORIZED,
                "session_ended",
                "The session has ended; log in again.",
            ),
            Self::RefreshInvalid => (
                S::UNAUTHORIZED,
                "refresh_invalid",
                "The refresh token is not valid; log in again.",
            ),
            Self::RefreshReused => (
                S::UNAUTHORIZED,
                "refresh_reused",
                "The refresh token was used before, so the session was ended; log in again.",
            ),
            Self::CodeInvalid(_) => (
                S::UNAUTHORIZED,
                "code_invalid",
                "WeChat does not accept the code; call wx.login again.",
            ),
            Self::CodeNotSimulated(_) => (
                S::UNAUTHORIZED,
                "code_invalid",
                "WeChat is simulated here and did not make the code, or it has expired: get one at /_dev; for WeChat's own, start menshen dev --app APPID.",
            ),
            Self::CodeUsed(_) => (
                S::UNAUTHORIZED,
                "code_used",
                "The code was used before; call wx.login again.",
            ),
            Self::AppNotAllowed => (
                S::FORBIDDEN,
                "app_not_allowed",
                "This app may not use this route.",
            ),
            Self::OriginNotAllowed => (
                S::FORBIDDEN,
                "origin_not_allowed",
                "Another site may not have this done in a user's name.",
            ),
            Self::SignatureInvalid(_) => (
                S::FORBIDDEN,
                "signature_invalid",
                "The signature is not good for this URL, or no longer.",
            ),
            Self::StateInvalid(_) => (
                S::BAD_REQUEST,
                "state_invalid",
                "This login was not begun in this browser, or is over; begin again.",
            ),
            Self::ReturnInvalid => (
                S::BAD_REQUEST,
                "return_to_invalid",
                "The return_to is not a path on this host.",
            ),
            Self::HostNotOurs => (
                S::BAD_REQUEST,
                "host_not_allowed",
                "The host is not one that logins are for.",
            ),
            Self::LoginDenied => (
                S::FORBIDDEN,
                "login_denied",
                "The user did not agree to log in.",
            ),
            Self::SnapshotUser => (
                S::FORBIDDEN,
                "snapshot_user",
                "WeChat shows a snapshot of the page; the user has to open the page itself.",
            ),
            Self::TicketInvalid(_) => (
                S::UNAUTHORIZED,
                "ticket_invalid",
                "The ticket is not valid or was used before; get another one.",
            ),
            Self::OtherBrowser => (
                S::UNAUTHORIZED,
                "other_browser_needed",
                "Nobody can log in in this browser.",
            ),
            Self::UserBlocked(_) => (
                S::FORBIDDEN,
                "user_blocked",
                "WeChat has blocked this user.",
            ),
            Self::RouteUnknown => (S::NOT_FOUND, "route_unknown", "There is nothing here."),
            Self::MethodNotAllowed(_) => (
                S::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "This method is not allowed here.",
            ),
            Self::BodyTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The request body is over the limit.",
            ),
            Self::HeadersTooLarge => (
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "The request headers are over the limit.",
            ),
            Self::RequestTimeout => (
                S::REQUEST_TIMEOUT,
                "request_timeout",
                "The request did not arrive in time.",
            ),
            Self::TooManyRequests(_) => (
                S::TOO_MANY_REQUESTS,
                "too_many_requests",
                "This address sends too many requests; try again later.",
            ),
            Self::TooManyConnections => (
                S::TOO_MANY_REQUESTS,
                "too_many_requests",
                "There are too many connections; try again later.",
            ),
            Self::WechatMisconfigured(_) => (
                S::BAD_GATEWAY,
                "wechat_misconfigured",
                "WeChat refuses this proxy's configuration; its operator must act.",
            ),
            Self::WechatError(None) => (
                S::BAD_GATEWAY,
                "wechat_error",
                "WeChat gave no valid answer; call wx.login again.",
            ),
            // Nobody knows whether another code would help.
            Self::WechatError(Some(_)) => (
                S::BAD_GATEWAY,
                "wechat_error",
                "WeChat refused the login; its errcode says why.",
            ),
            Self::UpstreamUnreachable => (
                S::BAD_GATEWAY,
                "upstream_unreachable",
                "The backend could not be reached.",
            ),
            Self::UpstreamError => (
                S::BAD_GATEWAY,
                "upstream_error",
                "The backend gave no valid answer.",
            ),
            Self::ProxyBusy => (
                S::SERVICE_UNAVAILABLE,
                "proxy_busy",
                "Too many requests are under way; try again later.",
            ),
            Self::WechatBusy(..) => (
                S::SERVICE_UNAVAILABLE,
                "wechat_busy",
                "WeChat is busy; try again later.",
            ),
            Self::WechatUnreachable(_) => (
                S::SERVICE_UNAVAILABLE,
                "wechat_unreachable",
                "WeChat cannot be reached; try again later.",
            ),
            Self::NotWechat(_) => (
                S::SERVICE_UNAVAILABLE,
                "wechat_unreachable",
                "Something else answers in WeChat's place; try again later.",
            ),
            Self::StoreUnavailable => (
                S::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "Sessions cannot be stored at the moment; try again later.",
            ),
            Self::LoginNotStored => (
                S::GATEWAY_TIMEOUT,
                "login_not_stored",
                "The session could not be stored and the code is spent; call wx.login again.",
            ),
            Self::WechatTimeout => (
                S::GATEWAY_TIMEOUT,
                "wechat_timeout",
                "WeChat did not answer in time and the code may be spent; call wx.login again.",
            ),
            Self::UpstreamTimeout => (
                S::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "The backend did not answer in time.",
            ),
            Self::ClientLeft => (S::BAD_REQUEST, "client_left", "The client has left."),
            Self::Internal => (
                S::INTERNAL_SERVER_ERROR,
                "internal_error",
                "Something went wrong in the proxy.",
            ),
        }
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.response().0
    }

    /// Returns the stable code.
    pub fn code(&self) -> &'static str {
        self.response().1
    }
}

impl From<TokenError> for Denial {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => Self::TokenExpired,
            TokenError::Invalid(why) => Self::TokenInvalid(why),
        }
    }
}

//! Menshen's own endpoints: which one a path and a method name.

use http::Method;

use super::Denial;

/// What a client can ask of Menshen itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST login`
    Login,
    /// `POST refresh`
    Refresh,
    /// `GET session`
    Session,
    /// `POST logout`
    Logout,
    /// `GET jwks.json`
    Jwks,
    /// `GET web/APP`: a browser begins to log in.
    Web,
    /// `GET web/APP/callback`: it comes back from WeChat.
    WebCallback,
    /// `POST ticket`: a login is to be handed to a web-view.
    Ticket,
    /// `GET ticket/T`: a web-view takes it.
    TicketUse,
    /// `POST sign`: a URL is to be signed.
    Sign,
    /// `GET /MP_verify_….txt`: WeChat checks whose the domain is.
    DomainCheck,
    /// `GET verify`, and any method below it: another gateway asks before it forwards.
    Verify,
}

const VERIFY: &str = "/verify";

impl Endpoint {
    /// Finds the endpoint for a path below `auth_path`; `None` when the path is not below it.
    pub fn find(auth_path: &str, path: &str, method: &Method) -> Option<Result<Self, Denial>> {
        let rest = path.strip_prefix(auth_path)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let (endpoint, allowed) = match rest {
            "/login" => (Self::Login, Method::POST),
            "/refresh" => (Self::Refresh, Method::POST),
            "/session" => (Self::Session, Method::GET),
            "/logout" => (Self::Logout, Method::POST),
            "/jwks.json" => (Self::Jwks, Method::GET),
            "/ticket" => (Self::Ticket, Method::POST),
            "/sign" => (Self::Sign, Method::POST),
            VERIFY => (Self::Verify, Method::GET),
            _ if Self::asked_about(auth_path, path).is_some() => return Some(Ok(Self::Verify)),
            _ => match Self::browsers(rest) {
                Some(endpoint) => (endpoint, Method::GET),
                None => return Some(Err(Denial::RouteUnknown)),
            },
        };
        let with_head = allowed == Method::GET;
        let fits = *method == allowed || (*method == Method::HEAD && with_head);
        Some(if fits {
            Ok(endpoint)
        } else {
            let head = with_head.then_some(Method::HEAD);
            Err(Denial::MethodNotAllowed(
                [allowed].into_iter().chain(head).collect(),
            ))
        })
    }

    fn browsers(rest: &str) -> Option<Self> {
        let mut parts = rest.strip_prefix('/')?.split('/');
        let parts = (parts.next()?, parts.next()?, parts.next(), parts.next());
        match parts {
            (_, "", ..) => None,
            ("web", _, None, None) => Some(Self::Web),
            ("web", _, Some("callback"), None) => Some(Self::WebCallback),
            ("ticket", _, None, None) => Some(Self::TicketUse),
            _ => None,
        }
    }

    /// Returns what the paths that name it have in common, below `auth_path`; WeChat's check of a domain is above it.
    pub fn pattern(self) -> &'static str {
        match self {
            Self::Login => "/login",
            Self::Refresh => "/refresh",
            Self::Session => "/session",
            Self::Logout => "/logout",
            Self::Jwks => "/jwks.json",
            Self::Web => "/web/{app}",
            Self::WebCallback => "/web/{app}/callback",
            Self::Ticket => "/ticket",
            Self::TicketUse => "/ticket/{ticket}",
            Self::Sign => "/sign",
            Self::DomainCheck => "",
            Self::Verify => "/verify",
        }
    }

    /// Returns the app or the ticket that a path of a browser's endpoint names.
    pub fn named<'a>(auth_path: &str, path: &'a str) -> &'a str {
        let rest = path.strip_prefix(auth_path).unwrap_or_default();
        rest.split('/').nth(2).unwrap_or_default()
    }

    /// Returns what follows `verify` in its path, which is a path of its own or nothing.
    pub fn asked_about<'a>(auth_path: &str, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(auth_path)?.strip_prefix(VERIFY)?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str, method: Method) -> Option<Result<Endpoint, &'static str>> {
        Endpoint::find("/_auth", path, &method).map(|found| found.map_err(|d| d.code()))
    }

    #[test]
    fn every_path_below_is_ours_and_no_other() {
        assert_eq!(
            find("/_auth/login", Method::POST),
            Some(Ok(Endpoint::Login))
        );
        assert_eq!(
            find("/_auth/session", Method::HEAD),
            Some(Ok(Endpoint::Session))
        );
        assert_eq!(
            find("/_auth/login", Method::GET),
            Some(Err("method_not_allowed"))
        );
        assert_eq!(
            find("/_auth/other", Method::GET),
            Some(Err("route_unknown"))
        );
        assert_eq!(find("/_auth", Method::GET), Some(Err("route_unknown")));
        assert_eq!(
            find("/_auth/login/", Method::POST),
            Some(Err("route_unknown"))
        );
        for (path, method) in [
            ("/_auth/verify", Method::GET),
            ("/_auth/verify/", Method::POST),
            ("/_auth/verify/a/b", Method::DELETE),
        ] {
            assert_eq!(find(path, method), Some(Ok(Endpoint::Verify)), "{path}");
        }
        assert_eq!(
            find("/_auth/verify", Method::POST),
            Some(Err("method_not_allowed"))
        );
        assert_eq!(
            find("/_auth/verifying", Method::GET),
            Some(Err("route_unknown"))
        );
        assert_eq!(find("/_authors", Method::GET), None);
        assert_eq!(find("/", Method::GET), None);
    }
}

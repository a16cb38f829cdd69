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
            VERIFY => (Self::Verify, Method::GET),
            _ if Self::asked_about(auth_path, path).is_some() => return Some(Ok(Self::Verify)),
            _ => return Some(Err(Denial::RouteUnknown)),
        };
        let fits = *method == allowed || (*method == Method::HEAD && allowed == Method::GET);
        Some(if fits {
            Ok(endpoint)
        } else {
            Err(Denial::MethodNotAllowed(vec![allowed]))
        })
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

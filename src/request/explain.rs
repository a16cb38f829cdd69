//! Explains where a request would go, with the very code that decides it.

use std::fmt;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Version};

use super::{
    Admitted, Denial, Destination, Destinations, Message, Reading, Taken, admit_stranger,
    parse_head,
};
use crate::config::{Auth, Config, OnMissing};

/// A request that somebody asks about: a method and a URL, both as a client would send them.
#[derive(Clone, Debug)]
pub struct Question {
    method: Method,
    target: String,
    headers: HeaderMap,
}

/// Why a question cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// The method is not one word.
    #[error("METHOD must be a method such as GET")]
    Method,
    /// The URL has no scheme or no host.
    #[error("URL must be an http or https URL with a host, such as https://shop.example/orders")]
    Url,
}

/// The answer to a question, in lines for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    verdict: String,
    reasons: Vec<(&'static str, String)>,
}

impl Question {
    /// Reads a method and a URL. Nothing is normalised: what is odd about the URL is part of the question.
    pub fn parse(method: &str, url: &str) -> Result<Self, QuestionError> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| QuestionError::Method)?;
        let (scheme, rest) = url.split_once("://").ok_or(QuestionError::Url)?;
        if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
            return Err(QuestionError::Url);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, target) = rest.split_at_checked(end).ok_or(QuestionError::Url)?;
        let value = HeaderValue::from_str(host).map_err(|_| QuestionError::Url)?;
        if host.is_empty() {
            return Err(QuestionError::Url);
        }
        // A client asks for "/" where a URL names no path.
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            method,
            target: format!("{slash}{target}"),
            headers: HeaderMap::from_iter([(HOST, value)]),
        })
    }

    /// Returns what a client of HTTP/1.1 would send.
    fn head(&self) -> String {
        let host = self.headers.get(HOST).and_then(|host| host.to_str().ok());
        let (method, target) = (&self.method, &self.target);
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\n\r\n",
            host.unwrap_or_default()
        )
    }

    fn message(&self) -> Message<'_> {
        Message {
            method: &self.method,
            target: self.target.as_bytes(),
            authority: None,
            version: Version::HTTP_11,
            headers: &self.headers,
        }
    }
}

impl Explanation {
    /// Answers a question for a configuration.
    pub fn of(question: &Question, config: &Config) -> Self {
        let destinations = Destinations::new(config);
        let head = parse_head(&Bytes::from(question.head()));
        let found = match &head {
            Ok(head) => destinations.find(&head.message()),
            Err(denial) => Err(denial.clone()),
        };
        match found {
            Ok(Destination::Route(taken)) => Self::taken(question, config, &taken),
            Ok(Destination::Own(_)) => Self {
                verdict: "Menshen answers it itself".to_owned(),
                reasons: vec![("prefix", below_auth_path(config))],
            },
            Err(denial) => Self {
                verdict: format!("refused: {}", described(&denial)),
                reasons: reasons(&denial, question, config, &destinations),
            },
        }
    }

    fn taken(question: &Question, config: &Config, taken: &Taken<'_>) -> Self {
        let Taken {
            index,
            route,
            request,
            target,
        } = taken;
        let host = match route.host.as_deref() {
            None => "any".to_owned(),
            Some(host) => match host.strip_prefix("*.") {
                Some(parent) => format!("{:?} is below {parent:?}", request.host),
                None => format!("{:?} is this route's", request.host),
            },
        };
        let method = if route.methods.is_empty() {
            "any".to_owned()
        } else {
            format!("{} is one of {}", question.method, list(&route.methods))
        };
        let apps = route.apps.iter().filter_map(|app| config.apps.get(*app));
        let apps = list(apps.map(|app| &app.name));
        let auth = match route.auth {
            Auth::Public => "public: nobody is identified".to_owned(),
            Auth::Optional => format!("optional: users of {apps} are named to the upstream"),
            Auth::Required => format!("required: only users of {apps}"),
            Auth::SignedUrl => {
                format!(
                    "signed_url: only users of {apps}, by a token or by a URL that one had signed"
                )
            }
        };
        let stranger = match admit_stranger(route) {
            Ok(()) => "goes through".to_owned(),
            Err(_) if route.on_missing == OnMissing::Redirect => {
                "page loads are sent to WeChat, others get 401 token_missing".to_owned()
            }
            Err(denial) => described(&denial),
        };
        let mut reasons = vec![
            ("host", host),
            (
                "prefix",
                format!(
                    "{:?} is the longest that {:?} is at or below",
                    route.path,
                    request.path.as_str()
                ),
            ),
        ];
        reasons.extend(beside(taken, config));
        reasons.extend([("method", method), ("auth", auth), ("no token", stranger)]);
        if let Some(upstream) = config.upstreams.get(route.upstream) {
            let servers = list(&upstream.servers);
            reasons.push(("upstream", format!("{} ({servers})", upstream.name)));
        }
        let target = target.as_deref().unwrap_or(&question.target);
        reasons.push(("forwards", format!("{} {target}", question.method)));
        Self {
            verdict: format!(
                "route {} of {} takes it",
                index.saturating_add(1),
                config.routes.len()
            ),
            reasons,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.verdict)?;
        for (what, why) in &self.reasons {
            write!(f, "\n  {what:<9} {why}")?;
        }
        Ok(())
    }
}

/// Says what about the request led to a refusal, where there is more to say than the refusal does.
fn reasons(
    denial: &Denial,
    question: &Question,
    config: &Config,
    destinations: &Destinations,
) -> Vec<(&'static str, String)> {
    if let Denial::MethodNotAllowed(allowed) = denial {
        let allowed = if allowed.is_empty() {
            "nowhere".to_owned()
        } else {
            format!("not here, only {}", list(allowed))
        };
        return vec![(
            "method",
            format!("{} is allowed {allowed}", question.method),
        )];
    }
    let message = question.message();
    let admitted = super::admit(&message, config.server.max_header_bytes);
    match (denial, admitted) {
        (Denial::PathAmbiguous, Ok(request)) => readings(&request, config, destinations),
        (Denial::PathAmbiguous, Err(_)) => {
            let held = "it holds a dot segment, an encoded slash or backslash, a control character, \
                        a character that must be escaped or a broken escape, perhaps when it is decoded again";
            vec![("path", held.to_owned())]
        }
        (Denial::RouteUnknown, Ok(request)) => {
            let path = request.path.as_str();
            if let Reading::Own(_) = destinations.reading(&request, path) {
                return vec![("prefix", below_auth_path(config))];
            }
            let none = format!(
                "none of the routes ({}) is for host {:?} and path {path:?}",
                config.routes.len(),
                request.host
            );
            vec![("routes", none)]
        }
        _ => Vec::new(),
    }
}

fn readings(
    request: &Admitted<'_>,
    config: &Config,
    destinations: &Destinations,
) -> Vec<(&'static str, String)> {
    let lead = |path: &str| match destinations.reading(request, path) {
        Reading::Own(_) => format!("{path:?} is {}", below_auth_path(config)),
        Reading::Route(Ok(index)) => {
            format!("{path:?} takes route {}", index.saturating_add(1))
        }
        Reading::Route(Err(denial)) => format!("{path:?} is refused: {}", described(&denial)),
    };
    let mut readings = vec![("sent", lead(request.path.as_str()))];
    let mut path = Some(&request.path);
    while let Some(reading) = path {
        let other = reading.other_reading();
        readings.extend(other.map(|other| ("or read", lead(&other))));
        path = reading.decoded_again();
        readings.extend(path.map(|again| ("or read", lead(again.as_str()))));
    }
    let leads = |(_, lead): &(&str, String)| lead.split_once("\" ").map(|(_, to)| to.to_owned());
    let first = readings.first().and_then(leads);
    if readings.iter().all(|reading| leads(reading) == first) {
        let why = "read without regard to case, or with look-alikes for ASCII letters, the path takes another route";
        readings.push(("or read", why.to_owned()));
    }
    readings
}

/// Says which longer prefixes a path only seems to be below.
fn beside(taken: &Taken<'_>, config: &Config) -> Option<(&'static str, String)> {
    let path = taken.request.path.as_str().to_ascii_lowercase();
    let seems_below = |prefix: &&str| {
        let rest = path.strip_prefix(&prefix.to_ascii_lowercase());
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            && prefix.len() > taken.route.path.len()
    };
    let prefixes = config.routes.iter().map(|route| &*route.path);
    let longest = prefixes
        .filter(seems_below)
        .max_by_key(|prefix| prefix.len())?;
    let why = format!("{longest:?}: a prefix is a whole path or ends before a \"/\"");
    Some(("not below", why))
}

fn below_auth_path(config: &Config) -> String {
    format!("below auth_path {:?}", config.server.auth_path)
}

fn described(denial: &Denial) -> String {
    let (status, code, message) = denial.response();
    format!("{} {code}: {message}", status.as_u16())
}

fn list(names: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    names.join(", ")
}

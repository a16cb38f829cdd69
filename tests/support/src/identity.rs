//! Who a backend is told it serves, and the spellings in which a client may say so itself.

use reqwest::RequestBuilder;

use crate::{Grant, Received, TestGateway};

/// What a header name may hold besides letters and digits.
pub const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

/// The headers that only the gateway sets, besides `X-Forwarded-*` and `X-Request-Id`.
pub const IDENTITY: [&str; 16] = [
    "X-WX-OPENID",
    "X-WX-APPID",
    "X-WX-UNIONID",
    "X-WX-SOURCE",
    "X-WX-SOURCES",
    "X-WX-ENV",
    "X-WX-FROM-OPENID",
    "X-WX-FROM-APPID",
    "X-WX-FROM-UNIONID",
    "X-WX-CLOUDBASE-ACCESS-TOKEN",
    "X-WX-ANYTHING",
    "X-Menshen-App",
    "X-Menshen-Session",
    "X-Menshen-Assertion",
    "X-Menshen-Anything",
    "X-Original-Forwarded-For",
];

/// Returns a name as the most careless backend reads it: in lower case, all but letters and digits as `-`.
pub fn folded(name: &str) -> String {
    let fold = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    };
    name.chars().map(fold).collect()
}

/// Returns a name with every pair of separators in turn in place of its own, in several cases of letters.
pub fn spellings(name: &str) -> Vec<String> {
    let pairs = SEPARATORS
        .chars()
        .flat_map(|one| SEPARATORS.chars().map(move |other| [one, other]));
    let spelled = pairs.enumerate().map(|(case, pair)| {
        let mut separators = pair.iter().cycle();
        let letter = |(at, c): (usize, char)| match case % 4 {
            _ if !c.is_ascii_alphanumeric() => *separators.next().expect("is endless"),
            0 => c,
            1 => c.to_ascii_lowercase(),
            2 => c.to_ascii_uppercase(),
            _ if at % 2 == 0 => c.to_ascii_lowercase(),
            _ => c.to_ascii_uppercase(),
        };
        name.chars().enumerate().map(letter).collect()
    });
    spelled.collect()
}

/// Returns the header lines of a client that claims to be `victim` in a few spellings of every name.
pub fn forged(victim: &str) -> Vec<(String, String)> {
    let spelled = |name: &&str| {
        [
            (*name).to_owned(),
            name.to_lowercase().replace('-', "_"),
            name.to_uppercase().replace('-', "."),
            name.replacen('-', "_", 1),
            name.replace('-', "~"),
        ]
    };
    IDENTITY
        .iter()
        .flat_map(spelled)
        .map(|name| (name, victim.to_owned()))
        .collect()
}

/// Has a request claim to be from `victim`; see [`forged`].
pub fn forge_identity(mut request: RequestBuilder) -> RequestBuilder {
    for (name, value) in forged("victim") {
        request = request.header(name, value);
    }
    request
}

/// Makes a header line of a name and a value.
pub fn make_line(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Makes header lines of names and values.
pub fn make_lines(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let lines = pairs.iter().map(|(name, value)| make_line(name, value));
    lines.collect()
}

impl Grant {
    /// Returns the header line that carries the token.
    pub fn line(&self) -> (String, String) {
        make_line("Authorization", &format!("Bearer {}", self.token))
    }
}

impl Received {
    /// Returns the name, in lower case, and value of every line that some backend reads as this header.
    pub fn aliases(&self, name: &str) -> Vec<(String, String)> {
        self.lines(|folded| folded == name)
    }

    /// Returns the name, in lower case, and value of every line that some backend might take for who
    /// the user is, sorted.
    pub fn identity(&self) -> Vec<(String, String)> {
        self.lines(|folded| {
            folded.starts_with("x-wx-")
                || folded.starts_with("x-menshen-")
                || folded == "x-original-forwarded-for"
        })
    }

    fn lines(&self, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        let mut lines: Vec<_> = self
            .headers
            .iter()
            .filter(|(name, _)| wanted(&folded(name)))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
            .collect();
        lines.sort();
        lines
    }
}

impl TestGateway {
    /// Returns what [`Received::identity`] must be for a user of the app `shop` on this machine.
    pub async fn identity(&self, grant: &Grant) -> Vec<(String, String)> {
        let session = self.get_as("/_auth/session", &grant.token).await.json();
        let mut lines = Self::nobody();
        for (name, value) in [
            ("x-menshen-app", "shop"),
            (
                "x-menshen-session",
                session["session"].as_str().expect("is one"),
            ),
            ("x-wx-appid", &Self::appid("shop")),
            ("x-wx-openid", session["openid"].as_str().expect("is one")),
            ("x-wx-source", "wx_client"),
        ] {
            lines.push(make_line(name, value));
        }
        if let Some(unionid) = session["unionid"].as_str() {
            lines.push(make_line("x-wx-unionid", unionid));
        }
        lines.sort();
        lines
    }

    /// Returns what [`Received::identity`] must be for a stranger on this machine.
    pub fn nobody() -> Vec<(String, String)> {
        vec![make_line("x-original-forwarded-for", "127.0.0.1")]
    }
}

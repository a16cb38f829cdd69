//! A browser without scripts: it keeps cookies by host, says what browsers say, and follows redirects step by step.

use reqwest::header::{LOCATION, SET_COOKIE};

use crate::{Reply, TestGateway};

/// The name of WeChat's browser.
pub const WECHAT_AGENT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                                Mobile/15E148 MicroMessenger/8.0.50(0x18003231) NetType/WIFI Language/zh_CN";

/// A browser of somebody's.
#[derive(Clone, Debug)]
pub struct Visitor {
    http: reqwest::Client,
    /// Host with port, name and value.
    cookies: Vec<(String, String, String)>,
    /// What it says besides, over what it says by itself.
    pub headers: Vec<(String, String)>,
}

/// What following redirects brought.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Every URL that was asked for.
    pub urls: Vec<String>,
    /// The last answer.
    pub reply: Reply,
}

impl Visitor {
    /// Starts one with no cookies.
    pub fn new(gateway: &TestGateway) -> Self {
        Self {
            http: gateway.http.clone(),
            cookies: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// Starts WeChat's own.
    pub fn in_wechat(gateway: &TestGateway) -> Self {
        Self::new(gateway).saying("user-agent", WECHAT_AGENT)
    }

    /// Has it say something with every request.
    pub fn saying(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Loads a page and keeps its cookies; redirects are not followed.
    pub async fn load(&mut self, url: &str) -> Reply {
        let request = self.http.get(url).header("accept", "text/html,*/*;q=0.8");
        self.send(request, url).await
    }

    /// Sends any request with what it would say and its cookies, and keeps those that come back.
    pub async fn send(&mut self, request: reqwest::RequestBuilder, url: &str) -> Reply {
        let host = host(url).to_owned();
        let mut request = request;
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let cookies = self.cookie_line(&host);
        if !cookies.is_empty() {
            request = request.header("cookie", cookies);
        }
        let reply = Reply::of(request).await;
        for line in reply.headers.get_all(SET_COOKIE) {
            self.keep(&host, line.to_str().expect("is text"));
        }
        reply
    }

    /// Loads a page, and whatever it leads to.
    pub async fn walk(&mut self, url: &str) -> Walk {
        let (mut url, mut urls) = (url.to_owned(), Vec::new());
        loop {
            urls.push(url.clone());
            assert!(urls.len() < 12, "{urls:#?}");
            let reply = self.load(&url).await;
            let Some(location) = reply.headers.get(LOCATION) else {
                return Walk { urls, reply };
            };
            let location = location.to_str().expect("is text").to_owned();
            url = if location.starts_with('/') {
                format!("http://{}{location}", host(&url))
            } else {
                location
            };
        }
    }

    /// Returns the value of a cookie that it keeps for a host.
    pub fn cookie(&self, host: &str, name: &str) -> Option<&str> {
        let mut kept = self.cookies.iter();
        let found = kept.find(|(of, known, _)| of == host && known == name);
        found.map(|(.., value)| value.as_str())
    }

    /// Returns the names of the cookies that it keeps for a host.
    pub fn names(&self, host: &str) -> Vec<&str> {
        let kept = self.cookies.iter().filter(|(of, ..)| of == host);
        kept.map(|(_, name, _)| name.as_str()).collect()
    }

    /// Returns what it sends as `Cookie` to a host.
    pub fn cookie_line(&self, host: &str) -> String {
        let kept = self.cookies.iter().filter(|(of, ..)| of == host);
        let pairs: Vec<String> = kept
            .map(|(_, name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    /// Puts a cookie there, as a site or an attacker could.
    pub fn put(&mut self, host: &str, name: &str, value: &str) {
        self.cookies
            .retain(|(of, known, _)| of != host || known != name);
        self.cookies
            .push((host.to_owned(), name.to_owned(), value.to_owned()));
    }

    fn keep(&mut self, host: &str, line: &str) {
        let pair = line.split(';').next().unwrap_or_default();
        let (name, value) = pair.split_once('=').expect("a cookie");
        self.cookies
            .retain(|(of, known, _)| of != host || known != name);
        if !line.contains("Max-Age=0") {
            self.put(host, name, value);
        }
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

//! Who has a browser send a request: a page of this origin, a person, or another site.

use http::header::{ACCEPT, ORIGIN, REFERER};
use http::{HeaderMap, HeaderValue, Method};

use super::{Client, Denial};

/// What a request says about the page or the person that made a browser send it.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Who sent them.
    pub client: &'a Client,
    /// Whether the browser speaks HTTPS, as far as we or a trusted proxy can see.
    pub https: bool,
}

impl<'a> Asker<'a> {
    /// Describes a client's request.
    pub fn of(headers: &'a HeaderMap, client: &'a Client) -> Self {
        Self {
            headers,
            client,
            https: client.proto.as_bytes() == b"https",
        }
    }

    /// Refuses a request that another site may have had a browser send with our cookie; `allowed` are origins that may.
    ///
    /// Every browser of today sends `Origin` or `Sec-Fetch-Site` with what changes something. One that sends neither keeps our
    /// cookie from other sites by its `SameSite`.
    pub fn refuse_other_sites(&self, allowed: &[String]) -> Result<(), Denial> {
        let is_allowed = |origin: &[u8]| allowed.iter().any(|known| known.as_bytes() == origin);
        let own = |origin: &[u8]| self.is_own(origin);
        match one(self.headers, ORIGIN.as_str())? {
            Some(origin) if own(origin) || is_allowed(origin) => return Ok(()),
            Some(_) => return Err(Denial::OriginNotAllowed),
            None => {}
        }
        match one(self.headers, "sec-fetch-site")? {
            Some(b"same-origin" | b"none") => return Ok(()),
            Some(_) => return Err(Denial::OriginNotAllowed),
            None => {}
        }
        match one(self.headers, REFERER.as_str())?.map(origin_of) {
            Some(origin) if own(origin) || is_allowed(origin) => Ok(()),
            Some(_) => Err(Denial::OriginNotAllowed),
            None => Ok(()),
        }
    }

    /// Returns whether a page of another site led here, as far as the browser says.
    pub fn is_from_elsewhere(&self) -> bool {
        let site = self.headers.get("sec-fetch-site");
        site.is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
    }

    /// Returns whether a page of another site led here, as far as a browser says that tells only which page it was.
    pub fn is_referred_from_elsewhere(&self) -> bool {
        let referrer = self.headers.get(REFERER).map(HeaderValue::as_bytes);
        let elsewhere = referrer.is_some_and(|referrer| !self.is_own(origin_of(referrer)));
        self.is_from_elsewhere() || (elsewhere && !self.headers.contains_key("sec-fetch-site"))
    }

    /// Returns whether a person waits for a page, and not a script or an image on one.
    pub fn loads_a_page(&self, method: &Method) -> bool {
        let is = |name: &str, values: &[&[u8]]| {
            let value = self.headers.get(name)?;
            Some(values.contains(&value.as_bytes()))
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            return false;
        }
        // Older browsers, WeChat's among them, do not say it. Scripts seldom ask for HTML.
        let accepts_html = || {
            let mut accepted = self.headers.get_all(ACCEPT).iter();
            let asked_by_script =
                self.headers.contains_key("x-requested-with") && !self.is_in_wechat_page_load();
            !asked_by_script
                && accepted
                    .any(|line| memchr::memmem::find(line.as_bytes(), b"text/html").is_some())
        };
        match is("sec-fetch-dest", &[b"document"]) {
            Some(is_page) => is_page && is("sec-fetch-mode", &[b"navigate"]).unwrap_or(true),
            None => accepts_html(),
        }
    }

    /// Returns whether the browser is WeChat's, where an official account logs in. That of WeCom cannot.
    pub fn is_wechat(&self) -> bool {
        let agent = self.headers.get(http::header::USER_AGENT);
        agent.is_some_and(|agent| {
            let has = |word: &[u8]| memchr::memmem::find(agent.as_bytes(), word).is_some();
            has(b"MicroMessenger") && !has(b"wxwork")
        })
    }

    /// Android's web-views put the name of their app there, also for pages.
    fn is_in_wechat_page_load(&self) -> bool {
        let with = self.headers.get("x-requested-with");
        with.is_some_and(|with| with.as_bytes() == b"com.tencent.mm")
    }

    fn is_own(&self, origin: &[u8]) -> bool {
        let scheme: &[u8] = if self.https { b"https://" } else { b"http://" };
        let host = self.client.host.as_ref().map(HeaderValue::as_bytes);
        match (origin.strip_prefix(scheme), host) {
            (Some(origin), Some(host)) => without_default_port(origin, self.https)
                .eq_ignore_ascii_case(without_default_port(host, self.https)),
            _ => false,
        }
    }
}

fn without_default_port(host: &[u8], https: bool) -> &[u8] {
    let port: &[u8] = if https { b":443" } else { b":80" };
    host.strip_suffix(port).unwrap_or(host)
}

/// Returns a header's one value.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Denial> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value.as_bytes())),
        (Some(_), Some(_)) => Err(Denial::OriginNotAllowed),
    }
}

/// Returns the origin of a URL, or what stands in its place.
fn origin_of(url: &[u8]) -> &[u8] {
    let host = memchr::memmem::find(url, b"://").map_or(0, |at| at + 3);
    let rest = url.get(host..).unwrap_or_default();
    let end = memchr::memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
    url.get(..host + end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http::header::HOST;

    use super::*;
    use crate::request::{Connection, client};

    fn seen(headers: &HeaderMap, tls: bool) -> Client {
        client(&Connection { peer: None, tls }, headers, None, &[])
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("shop.example"));
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn another_site_is_told_apart_from_ours() {
        let allowed = ["https://admin.example".to_owned()];
        for (pairs, passes) in [
            (&[][..], true),
            (&[("origin", "https://shop.example")], true),
            (&[("origin", "https://SHOP.example:443")], true),
            (&[("origin", "http://shop.example")], false),
            (&[("origin", "https://shop.example.evil")], false),
            (&[("origin", "https://shop.example:444")], false),
            (&[("origin", "null")], false),
            (&[("origin", "https://admin.example")], true),
            (
                &[
                    ("origin", "https://shop.example"),
                    ("origin", "https://evil.example"),
                ],
                false,
            ),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("referer", "https://shop.example/cart?x=1")], true),
            (
                &[("referer", "https://evil.example/https://shop.example")],
                false,
            ),
            (&[("referer", "https://shop.example@evil.example/")], false),
            (&[("referer", "")], false),
        ] {
            let headers = headers(pairs);
            let client = seen(&headers, true);
            let asker = Asker::of(&headers, &client);
            let refused = asker.refuse_other_sites(&allowed);
            assert_eq!(refused.is_ok(), passes, "{pairs:?}");
        }
    }

    #[test]
    fn a_page_load_is_told_apart_from_a_script() {
        let html = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        for (pairs, is_page) in [
            (&[][..], false),
            (&[html], true),
            (&[("accept", "*/*")], false),
            (&[html, ("x-requested-with", "XMLHttpRequest")], false),
            (&[html, ("x-requested-with", "com.tencent.mm")], true),
            (&[html, ("sec-fetch-dest", "empty")], false),
            (&[html, ("sec-fetch-dest", "iframe")], false),
            (
                &[
                    ("sec-fetch-dest", "document"),
                    ("sec-fetch-mode", "navigate"),
                ],
                true,
            ),
        ] {
            let headers = headers(pairs);
            let client = seen(&headers, false);
            let asker = Asker::of(&headers, &client);
            assert_eq!(asker.loads_a_page(&Method::GET), is_page, "{pairs:?}");
            assert!(!asker.loads_a_page(&Method::POST));
        }
    }

    #[test]
    fn wechat_is_known_by_its_name() {
        for (agent, is_wechat) in [
            (
                "Mozilla/5.0 (iPhone) MicroMessenger/8.0.50(0x18003231) NetType/WIFI",
                true,
            ),
            ("Mozilla/5.0 wxwork/4.1 MicroMessenger/7.0.1", false),
            ("Mozilla/5.0 (X11; Linux x86_64) Chrome/142", false),
        ] {
            let headers = headers(&[("user-agent", agent)]);
            let client = seen(&headers, false);
            assert_eq!(
                Asker::of(&headers, &client).is_wechat(),
                is_wechat,
                "{agent}"
            );
        }
    }
}

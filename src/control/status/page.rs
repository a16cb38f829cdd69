//! The page itself: three files that the program carries, and a policy that lets a browser run these and nothing else.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Request;
use axum::response::{Html, IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_SECURITY_POLICY, REFERRER_POLICY, VARY};
use http::{HeaderMap, Method};

use super::PAGE;
use crate::control::denial::ControlDenial;
use crate::page::Language;

const FRAME: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPTS: [&str; 5] = [
    include_str!("words.js"),
    include_str!("advice.js"),
    include_str!("draw.js"),
    include_str!("sections.js"),
    include_str!("script.js"),
];

/// The page in a language.
static PAGES: LazyLock<[String; 2]> = LazyLock::new(|| {
    [Language::Chinese, Language::English].map(|language| {
        FRAME
            .replace("@LANG@", language.choose("zh-CN", "en"))
            .replace("@STYLE@", STYLE)
            .replace("@SCRIPT@", &script())
    })
});

/// What a browser may do with it: run its own script, and ask where it came from.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; connect-src 'self'; img-src data:; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(&script())
    )
});

fn script() -> String {
    SCRIPTS.concat()
}

/// Returns whether a person asks for the page. Programs, which accept anything, have no use for it.
pub(in crate::control) fn is_page(request: &Request) -> bool {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    is_read && request.uri().path() == PAGE && takes_html(request.headers())
}

fn takes_html(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(ACCEPT).iter();
    accepted.any(|value| value.to_str().is_ok_and(|text| text.contains("text/html")))
}

/// `GET /`
pub(in crate::control) async fn page(headers: HeaderMap) -> Result<Response, ControlDenial> {
    if !takes_html(&headers) {
        return Err(ControlDenial::RouteUnknown);
    }
    let accepted = headers.get(ACCEPT_LANGUAGE);
    let language = Language::of(accepted.and_then(|value| value.to_str().ok()));
    let [chinese, english] = &*PAGES;
    let headers = [
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (REFERRER_POLICY, "no-referrer"),
        (VARY, "accept, accept-language"),
    ];
    Ok((headers, Html(language.choose(chinese, english))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::CODES;

    #[test]
    fn no_text_of_the_page_ends_its_element_or_replaces_another() {
        assert!(!script().contains("</") && !script().contains("<!--"));
        assert!(!STYLE.contains("</"));
        assert!(!STYLE.contains("@SCRIPT@"));
    }

    #[test]
    fn nothing_is_asked_for_elsewhere_and_no_data_becomes_html() {
        let all = [FRAME, STYLE, &script()].concat();
        for banned in [
            "http://",
            "https://",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "setAttribute(\"on",
            "@import",
            "url(",
        ] {
            let found = all.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(banned), "{banned}");
        }
    }

    #[test]
    fn every_refusal_has_advice_in_chinese() {
        let advice = include_str!("advice.js");
        for code in CODES {
            assert!(advice.contains(&format!("\n  {code}: \"")), "{code}");
        }
    }
}

//! The frame of the few pages that people see: self-contained, for phones and desktops, in Chinese or English.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#f2f3f5;--card:#fff;--text:#1f2329;--soft:#646a73;--line:#dee0e3;--main:#067d40;--on:#fff}\
@media(prefers-color-scheme:dark){:root{--back:#111315;--card:#1d2023;--text:#e8eaed;--soft:#a0a6ad;--line:#34383d;--main:#2fbf71;--on:#06230f}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;min-height:100dvh;display:flex;align-items:center;justify-content:center;padding:24px 16px;\
background:var(--back);color:var(--text);font:16px/1.6 system-ui,-apple-system,'PingFang SC','Noto Sans CJK SC','Microsoft YaHei',sans-serif}\
main{width:100%;max-width:420px;background:var(--card);border:1px solid var(--line);border-radius:16px;padding:32px 28px}\
h1{margin:0 0 12px;font-size:22px;line-height:1.35}\
p{margin:0 0 12px;overflow-wrap:anywhere}\
.soft{color:var(--soft);font-size:14px}\
small{display:block;margin-top:20px;color:var(--soft);font-size:12px;overflow-wrap:anywhere}\
form{margin:0}\
label{display:block;margin:16px 0 0;color:var(--soft);font-size:14px}\
input{display:block;width:100%;margin-top:4px;padding:10px 12px;border:1px solid var(--line);border-radius:10px;background:var(--back);color:inherit;font:inherit}\
.do{display:flex;flex-direction:column;gap:10px;margin-top:20px}\
a.button,button{display:block;width:100%;padding:12px 16px;border:1px solid var(--main);border-radius:10px;background:var(--main);color:var(--on);\
font:inherit;font-weight:600;text-align:center;text-decoration:none;cursor:pointer}\
a.other,button.other{background:none;color:var(--text);border-color:var(--line);font-weight:400}\
a:focus-visible,button:focus-visible,input:focus-visible{outline:3px solid var(--main);outline-offset:2px}\
svg{display:block;width:176px;height:176px;margin:8px auto 16px;padding:10px;background:#fff;border-radius:10px}";

/// What a browser may do with such a page: show it, with this style and nothing else, and in no frame.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; frame-ancestors 'none'"
    )
});

/// The language of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Chinese, in simplified characters.
    Chinese,
    /// English.
    English,
}

impl Language {
    /// Chooses by `Accept-Language`; English where neither is asked for.
    pub fn of(accept: Option<&str>) -> Self {
        let mut best = (Self::English, 0);
        for range in accept.unwrap_or_default().split(',').take(16) {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default().to_ascii_lowercase();
            let language = match tag.split('-').next() {
                Some("zh") => Self::Chinese,
                Some("en") => Self::English,
                Some(_) | None => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let weight = weight.map_or(Some(1.0), |weight| weight.parse::<f32>().ok());
            let weight = weight.unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0;
            // A whole number, so that two are compared exactly; both are from 0 to 1000.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is between 0 and 1000"
            )]
            let weight = weight as u32;
            if weight > best.1 {
                best = (language, weight);
            }
        }
        best.0
    }

    /// Returns the text of this language.
    pub fn choose<'t>(self, chinese: &'t str, english: &'t str) -> &'t str {
        match self {
            Self::Chinese => chinese,
            Self::English => english,
        }
    }
}

/// Returns the value of `Content-Security-Policy` for every page.
pub fn policy() -> &'static str {
    &POLICY
}

/// Puts a page together; `inner` is HTML, and the title is text.
pub fn html(language: Language, title: &str, inner: &str) -> String {
    let lang = language.choose("zh-CN", "en");
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n{inner}</main>\n</body>\n</html>\n"
    )
}

/// Escapes a text for HTML, for attributes in double quotes as well.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => {
                // A browser reads most control characters as nothing at all.
                let _ = write!(out, "\u{fffd}");
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_that_a_person_likes_better_is_chosen() {
        for (accept, chinese) in [
            ("zh-CN,zh;q=0.9,en;q=0.8", true),
            ("en-GB,en;q=0.9,zh;q=0.8", false),
            ("zh;q=0.2, en;q=0.3", false),
            ("fr, ZH-Hant;q=0.5", true),
            ("en;q=0, zh;q=0.1", true),
            ("fr", false),
            ("zh;q=x", false),
            ("", false),
        ] {
            let chosen = Language::of(Some(accept));
            assert_eq!(chosen == Language::Chinese, chinese, "{accept}");
        }
        assert_eq!(Language::of(None), Language::English);
    }

    #[test]
    fn a_text_cannot_become_markup() {
        let page = html(
            Language::English,
            "<b>",
            &escape("</main><script>alert(\"1\")</script>'\u{1}"),
        );
        assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
        assert!(!page.contains('\u{1}'));
    }
}

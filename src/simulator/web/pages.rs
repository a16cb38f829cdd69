//! `GET /connect/oauth2/authorize` and `GET /connect/qrconnect`: the pages on which a person agrees, or does not.

use std::fmt::Write as _;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode};
use url::form_urlencoded;

use super::asked::{Asked, Page, Refusal};
use super::world::{Scope, Settings};
use crate::page::{Language, escape, html};
use crate::simulator::Simulator;

const MOST_USER_BYTES: usize = 256;

/// `GET /connect/oauth2/authorize`
pub(in crate::simulator) async fn authorize(
    State(simulator): State<Simulator>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    ask(
        &simulator,
        Page::Authorize,
        &query.unwrap_or_default(),
        &headers,
    )
}

/// `GET /connect/qrconnect`
pub(in crate::simulator) async fn qrconnect(
    State(simulator): State<Simulator>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    ask(
        &simulator,
        Page::QrConnect,
        &query.unwrap_or_default(),
        &headers,
    )
}

/// `GET /connect/confirm`: a person has clicked.
pub(in crate::simulator) async fn confirm(
    State(simulator): State<Simulator>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let value = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find_map(|(key, value)| (key == name).then(|| value.into_owned()))
    };
    let page = match value("scope").as_deref() {
        Some("snsapi_login") => Page::QrConnect,
        Some(_) | None => Page::Authorize,
    };
    let (asked, settings) = match read(&simulator, page, &query) {
        Ok(read) => read,
        Err(refusal) => return refuse(refusal, language(&headers)),
    };
    let user = value("user").filter(|_| value("decision").as_deref() == Some("allow"));
    let user = user.filter(|user| (1..=MOST_USER_BYTES).contains(&user.len()));
    go_back(&simulator, &asked, &settings, user.as_deref())
}

fn ask(simulator: &Simulator, page: Page, query: &str, headers: &HeaderMap) -> Response {
    let language = language(headers);
    let (asked, settings) = match read(simulator, page, query) {
        Ok(read) => read,
        Err(refusal) => return refuse(refusal, language),
    };
    if settings.denies || settings.agrees.is_some() {
        let user = settings.agrees.as_deref().filter(|_| !settings.denies);
        return go_back(simulator, &asked, &settings, user);
    }
    let (title, inner) = consent(&asked, &settings, language);
    show(StatusCode::OK, &html(language, &title, &inner))
}

fn read(simulator: &Simulator, page: Page, query: &str) -> Result<(Asked, Settings), Refusal> {
    let world = &simulator.state().world;
    let settings = |appid: &str| world.app(appid).map(|_| world.web.settings(appid));
    Asked::read(page, query, settings)
}

fn go_back(
    simulator: &Simulator,
    asked: &Asked,
    settings: &Settings,
    user: Option<&str>,
) -> Response {
    let now_ms = simulator.clock.unix_ms();
    let code = user.map(|user| {
        let web = &mut simulator.state().world.web;
        web.grant(&asked.appid, user, asked.scope, now_ms)
    });
    let callback = match code {
        Some(Ok(code)) => asked.callback(Some(&code)),
        Some(Err(_)) => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        None => asked.callback(None),
    };
    if settings.twice && user.is_some() {
        return show(StatusCode::OK, &twice(&callback));
    }
    (
        StatusCode::FOUND,
        [(LOCATION, callback), (CACHE_CONTROL, "no-store".to_owned())],
    )
        .into_response()
}

/// Returns a page that fetches the callback and then goes there, as WeChat's browser now and then does.
fn twice(callback: &str) -> String {
    // As a JSON string, in which nothing ends the script.
    let url = serde_json::to_string(callback).unwrap_or_default();
    let url = url.replace('<', "\\u003c");
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>twice</title><script>const url={url};\
         const go=()=>location.replace(url);fetch(url,{{mode:'no-cors',credentials:'include'}}).then(go,go)</script>"
    )
}

fn consent(asked: &Asked, settings: &Settings, language: Language) -> (String, String) {
    let app = settings.name.as_deref().unwrap_or(&asked.appid);
    let app = escape(app);
    let host = escape(asked.redirect_uri.host_str().unwrap_or_default());
    let title = language.choose("微信登录（模拟）", "WeChat login (simulated)");
    let mut inner = String::new();
    let what = match (asked.scope, language) {
        (Scope::Base, Language::Chinese) => {
            format!("<strong>{app}</strong> 将得知你的 openid。真正的微信在这里不会询问。")
        }
        (Scope::Base, Language::English) => format!(
            "<strong>{app}</strong> will learn your openid. The real WeChat does not ask here."
        ),
        (Scope::UserInfo, Language::Chinese) => {
            format!("<strong>{app}</strong> 申请获得你的昵称和头像。")
        }
        (Scope::UserInfo, Language::English) => {
            format!("<strong>{app}</strong> asks for your nickname and picture.")
        }
        (Scope::Login, Language::Chinese) => {
            format!("用微信扫描二维码，登录 <strong>{app}</strong>。在模拟中，直接确认即可。")
        }
        (Scope::Login, Language::English) => format!(
            "Scan the code with WeChat to log in to <strong>{app}</strong>. In this simulation, just confirm."
        ),
    };
    if asked.scope == Scope::Login {
        inner.push_str(&qr(&asked.state));
    }
    let _ = write!(
        inner,
        "<p>{what}</p>\n<p class=\"soft\">{host}</p>\n<form action=\"/connect/confirm\" method=\"get\">\n"
    );
    for (name, value) in asked.query() {
        let value = escape(value);
        let _ = writeln!(
            inner,
            "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">"
        );
    }
    let (who, allow, deny) = match language {
        Language::Chinese => ("以哪位用户的身份", "允许", "拒绝"),
        Language::English => ("As which user", "Allow", "Reject"),
    };
    let _ = write!(
        inner,
        "<label>{who}<input name=\"user\" value=\"alice\" maxlength=\"64\" autocomplete=\"off\"></label>\n\
         <div class=\"do\">\n<button id=\"allow\" name=\"decision\" value=\"allow\">{allow}</button>\n\
         <button id=\"deny\" class=\"other\" name=\"decision\" value=\"deny\">{deny}</button>\n</div>\n</form>\n"
    );
    (title.to_owned(), inner)
}

/// Draws something that looks like a QR code, and is none.
fn qr(state: &str) -> String {
    const SIDE: usize = 21;
    let mut cells = String::new();
    let bytes: Vec<u8> = state.bytes().collect();
    let in_corner = |x: usize, y: usize| {
        let near = |n: usize| n < 8;
        let far = |n: usize| n + 8 >= SIDE;
        (near(x) && near(y)) || (far(x) && near(y)) || (near(x) && far(y))
    };
    for y in 0..SIDE {
        for x in 0..SIDE {
            let at = (x * 31 + y * 17) % bytes.len().max(1);
            let byte = usize::from(bytes.get(at).copied().unwrap_or_default());
            if !in_corner(x, y) && (byte + x * y + x) % 3 == 0 {
                let _ = write!(cells, "M{x} {y}h1v1h-1z");
            }
        }
    }
    for (x, y) in [(0, 0), (SIDE - 7, 0), (0, SIDE - 7)] {
        let (inner_x, inner_y) = (x + 2, y + 2);
        let _ = write!(
            cells,
            "M{x} {y}h7v7h-7zm1 1v5h5v-5zM{inner_x} {inner_y}h3v3h-3z"
        );
    }
    format!(
        "<svg viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\" aria-label=\"QR\"><path fill=\"#111\" fill-rule=\"evenodd\" d=\"{cells}\"/></svg>\n"
    )
}

fn refuse(refusal: Refusal, language: Language) -> Response {
    let Refusal { number, why } = refusal;
    let title = language.choose(
        "链接无法打开（模拟）",
        "This link does not work (simulated)",
    );
    let inner = format!("<p>{}</p>\n<small>{number}</small>\n", escape(why));
    show(StatusCode::OK, &html(language, title, &inner))
}

fn show(status: StatusCode, page: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
    ];
    (status, headers, page.to_owned()).into_response()
}

fn language(headers: &HeaderMap) -> Language {
    let accept = headers.get(ACCEPT_LANGUAGE);
    Language::of(accept.and_then(|accept| accept.to_str().ok()))
}

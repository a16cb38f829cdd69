//! Browsers: logins by way of WeChat's pages, sessions in cookies, tickets for web-views and signed URLs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

mod chromium;
mod cookies;
mod login;
mod nodes;
mod profile;
mod restart;
mod returning;
mod signed_urls;
mod states;
mod status;
mod status_acts;
mod status_shown;
mod tickets;

use menshen_test_support::{Builder, TestGateway, Visitor};
use serde_json::{Value, json};

/// A shop that people open in WeChat and elsewhere; everything below `/` asks for a login.
const ROUTES: &str = "[[route]]\npath = \"/\"\nupstream = \"api\"\non_missing = \"redirect\"\n\
                      [[route]]\npath = \"/api\"\nupstream = \"api\"\n\
                      [[route]]\npath = \"/mini\"\nupstream = \"api\"\napps = [\"shop\"]\n\
                      [[route]]\npath = \"/optional\"\nupstream = \"api\"\nauth = \"optional\"\n\
                      [[route]]\npath = \"/public\"\nupstream = \"api\"\nauth = \"public\"\n\
                      [[route]]\npath = \"/files\"\nupstream = \"api\"\nauth = \"signed_url\"\n";

/// Describes a gateway with a mini-program `shop`, an official account `news` and a website `site`.
fn builder() -> Builder {
    TestGateway::builder()
        .routes(ROUTES)
        .web_app("news", "kind = \"official_account\"")
        .web_app("site", "kind = \"website\"")
}

/// Starts it with users who agree without a page.
async fn started(builder: Builder) -> TestGateway {
    let t = builder.start().await;
    agree(&t).await;
    t
}

async fn agree(t: &TestGateway) {
    for app in ["news", "site"] {
        t.set_up(app, json!({"agrees": "alice"})).await;
    }
}

/// Starts a gateway and a browser that is logged in to the website.
async fn logged_in() -> (TestGateway, Visitor) {
    let t = started(builder()).await;
    let mut visitor = Visitor::new(&t);
    let walk = visitor.walk(&t.url("/orders")).await;
    assert_eq!(walk.reply.text(), "ok", "{:#?}", walk.urls);
    (t, visitor)
}

/// Returns what a browser's session is.
async fn session(t: &TestGateway, visitor: &mut Visitor) -> Value {
    visitor.load(&t.url("/_auth/session")).await.json()
}

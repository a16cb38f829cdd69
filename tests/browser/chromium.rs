//! A real browser walks every way: it is what cookies, redirects and other sites are in the end.

use std::path::Path;

use menshen_test_support::{Browser, Page, Reply, TestGateway, WECHAT_AGENT};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::{ROUTES, builder};

/// One red dot.
const DOT: &[u8] = &[
    0x47, 0x49, 0x46, 0x38, 0x39, 0x61, 1, 0, 1, 0, 0x80, 0, 0, 0xff, 0, 0, 0, 0, 0, 0x2c, 0, 0, 0,
    0, 1, 0, 1, 0, 0, 2, 2, 0x44, 1, 0, 0x3b,
];

/// Returns a URL of the gateway by a name that is another site than WeChat's.
fn url(t: &TestGateway, path: &str) -> String {
    format!("http://localhost:{}{path}", t.address.port())
}

async fn click(page: &mut Page, id: &str) {
    let there = format!("document.getElementById('{id}')");
    page.until(&there).await;
    page.evaluate(&format!("void {there}.click()")).await;
}

async fn lands(page: &mut Page, path: &str) {
    let there = format!(
        "location.pathname + location.search === '{path}' && document.readyState === 'complete'"
    );
    page.until(&there).await;
}

async fn session(page: &mut Page) -> Value {
    page.evaluate("fetch('/_auth/session').then(reply => reply.json())")
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_goes_to_wechat_agrees_and_is_back_on_the_page() {
    let (t, browser) = (builder().start().await, Browser::start().await);
    let mut page = browser.open(&url(&t, "/orders?page=2")).await;
    page.until("document.getElementById('allow')").await;
    assert_eq!(
        page.evaluate("location.host").await,
        t.simulator.to_string()
    );
    click(&mut page, "allow").await;
    lands(&mut page, "/orders?page=2").await;
    assert_eq!(page.evaluate("document.body.innerText").await, "ok");
    let received = t.upstream.received();
    let received = received
        .iter()
        .find(|request| request.target == "/orders?page=2");
    let openid = received.unwrap().only("x-wx-openid").map(str::to_owned);
    assert_eq!(
        session(&mut page).await["openid"].as_str(),
        openid.as_deref()
    );
    assert_eq!(page.evaluate("document.cookie").await, "");
    // No trace of the code is left, and what was asked for is what is there.
    assert!(
        !page
            .evaluate("document.referrer")
            .await
            .to_string()
            .contains("code=")
    );
    // Back to WeChat's page, and on again: the state is used, and the person logged in.
    page.evaluate("void history.back()").await;
    click(&mut page, "allow").await;
    lands(&mut page, "/orders?page=2").await;
    assert_eq!(t.calls("/sns/oauth2/access_token").await, 1);
    let logout = "fetch('/_auth/logout', { method: 'POST' }).then(reply => reply.status)";
    assert_eq!(page.evaluate(logout).await, 204);
    assert_eq!(session(&mut page).await["logged_in"], false);
    page.evaluate("void location.reload()").await;
    page.until("document.getElementById('allow')").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_says_no_and_then_yes() {
    let (t, browser) = (builder().start().await, Browser::start().await);
    let mut page = browser.open(&url(&t, "/orders")).await;
    click(&mut page, "deny").await;
    page.until("document.getElementById('again')").await;
    let told = page.evaluate("document.body.innerText").await.to_string();
    assert!(told.contains("login_denied"), "{told}");
    click(&mut page, "again").await;
    click(&mut page, "allow").await;
    lands(&mut page, "/orders").await;
    assert_eq!(session(&mut page).await["logged_in"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_comes_back_twice_logs_in_once() {
    let (t, browser) = (builder().start().await, Browser::start().await);
    t.set_up("site", json!({"twice": true})).await;
    let mut page = browser.open(&url(&t, "/orders")).await;
    click(&mut page, "allow").await;
    lands(&mut page, "/orders").await;
    assert_eq!(session(&mut page).await["logged_in"], true);
    assert_eq!(t.calls("/sns/oauth2/access_token").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs_log_in_at_once_and_each_ends_where_it_began() {
    let (t, browser) = (builder().start().await, Browser::start().await);
    let mut one = browser.open(&url(&t, "/one")).await;
    let mut two = browser.open(&url(&t, "/two")).await;
    click(&mut two, "allow").await;
    click(&mut one, "allow").await;
    lands(&mut one, "/one").await;
    lands(&mut two, "/two").await;
    let (first, second) = (session(&mut one).await, session(&mut two).await);
    assert_eq!(first["openid"], second["openid"]);
    assert_eq!(first["logged_in"], true);
}

/// Serves a picture to whoever asks.
async fn pictures() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut head, mut part) = (Vec::new(), [0; 2048]);
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut part).await {
                        Ok(0) | Err(_) => return,
                        Ok(length) => head.extend_from_slice(&part[..length]),
                    }
                }
                let length = DOT.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: image/gif\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                let _ = stream.write_all(&[answer.as_bytes(), DOT].concat()).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_shown_by_a_signed_url() {
    let pictures = pictures().await;
    let routes = ROUTES.replace(
        "path = \"/files\"\nupstream = \"api\"",
        "path = \"/files\"\nupstream = \"pictures\"",
    );
    let builder = builder().routes(&routes).upstreams(&format!(
        "[[upstream]]\nname = \"pictures\"\nservers = [\"{pictures}\"]\n"
    ));
    let (t, browser) = (builder.start().await, Browser::start().await);
    let mut page = browser.open(&url(&t, "/orders")).await;
    click(&mut page, "allow").await;
    lands(&mut page, "/orders").await;
    let width =
        "fetch('/_auth/sign', { method: 'POST', headers: { 'Content-Type': 'application/json' },
             body: JSON.stringify({ path: '/files/dot.gif?w=1' }) })
        .then(reply => reply.json())
        .then(({ url }) => new Promise(resolve => {
            const image = new Image()
            image.onload = () => resolve(image.naturalWidth)
            image.onerror = () => resolve('error')
            image.src = CHANGED
        }))";
    let shown = page.evaluate(&width.replace("CHANGED", "url")).await;
    assert_eq!(shown, 1);
    let other = page
        .evaluate(&width.replace("CHANGED", "url.replace('w=1', 'w=2')"))
        .await;
    assert_eq!(other, "error");
    // Nobody is logged in there, and the image is shown all the same.
    let signed = page
        .evaluate(
            "fetch('/_auth/sign', { method: 'POST', headers: { 'Content-Type': 'application/json' },
                 body: JSON.stringify({ path: '/files/dot.gif' }) }).then(reply => reply.json()).then(told => told.url)",
        )
        .await;
    let reply = Reply::of(t.http.get(signed.as_str().unwrap())).await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, DOT));
}

/// A page that a person may see, and how to get there.
enum Way {
    Link(String),
    Denied,
    Snapshot,
    Busy,
    Foreign,
}

async fn set(page: &mut Page, phone: bool, language: &str, agent: Option<&str>) {
    let size = if phone { (375, 740) } else { (1280, 800) };
    page.set_view(size, language, agent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_fits_phones_and_desktops_in_both_languages() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).unwrap();
    let (t, browser) = (builder().start().await, Browser::start().await);
    let only_news = TestGateway::builder()
        .web_app(
            "news",
            "kind = \"official_account\"\nscope = \"snsapi_userinfo\"",
        )
        .routes("[[route]]\npath = \"/\"\nupstream = \"api\"\non_missing = \"redirect\"\n")
        .start()
        .await;
    let settings = json!({"name": "门神小店"});
    only_news.set_up("news", settings).await;
    let mut page = browser.open(&url(&t, "/public")).await;
    let ways = [
        ("qr", Way::Link(url(&t, "/orders"))),
        ("consent", Way::Link(url(&only_news, "/orders"))),
        ("elsewhere", Way::Link(url(&only_news, "/orders"))),
        ("denied", Way::Denied),
        ("snapshot", Way::Snapshot),
        ("busy", Way::Busy),
        (
            "state",
            Way::Link(url(&t, "/_auth/web/site/callback?code=x&state=abc")),
        ),
        (
            "return",
            Way::Link(url(&t, "/_auth/web/site?return_to=//evil.example")),
        ),
        ("ticket", Way::Link(url(&t, "/_auth/ticket/x"))),
        ("foreign", Way::Foreign),
    ];
    for (name, way) in &ways {
        for (language, tag) in [("zh-CN", "zh-CN"), ("en-GB", "en")] {
            for phone in [true, false] {
                let in_wechat = matches!(*name, "consent" | "snapshot");
                let agent = in_wechat.then_some(WECHAT_AGENT);
                set(&mut page, phone, language, agent).await;
                show(&t, &mut page, way).await;
                let place = format!("{name} {language} {phone}");
                assert_eq!(
                    page.evaluate("document.documentElement.lang").await,
                    tag,
                    "{place}"
                );
                let fits = "document.documentElement.scrollWidth <= innerWidth";
                assert_eq!(page.evaluate(fits).await, true, "{place}");
                let title = page
                    .evaluate("document.querySelector('h1').innerText")
                    .await;
                assert_eq!(title, page.evaluate("document.title").await, "{place}");
                let size = if phone { "phone" } else { "desktop" };
                let file = folder.join(format!("{name}-{tag}-{size}.png"));
                page.screenshot(&file).await;
            }
        }
    }
}

/// Leads a page there and waits until it is shown.
async fn show(t: &TestGateway, page: &mut Page, way: &Way) {
    let own = async |settings: Value, app: &str| t.set_up(app, settings).await;
    page.go(&url(t, "/public")).await;
    match way {
        Way::Link(link) => page.go(link).await,
        Way::Denied => {
            own(json!({"denies": true}), "site").await;
            page.go(&url(t, "/orders")).await;
            own(json!({}), "site").await;
        }
        Way::Snapshot => {
            own(json!({"agrees": "alice", "snapshot": true}), "news").await;
            page.go(&url(t, "/orders")).await;
        }
        Way::Busy => {
            own(json!({"agrees": "alice"}), "site").await;
            let plan = json!({"path": "/sns/oauth2/access_token", "fault": "errcode", "errcode": 40013, "times": 1});
            t.simulate("faults", plan).await;
            page.go(&url(t, "/orders")).await;
            own(json!({}), "site").await;
        }
        Way::Foreign => {
            // A click on a page of another site.
            page.go(&format!("http://{}/_sim/calls", t.simulator)).await;
            let link = url(t, "/_auth/web/site?return_to=/orders");
            page.evaluate(&format!("void (location.href = '{link}')"))
                .await;
        }
    }
    page.until("document.querySelector('h1') && document.readyState === 'complete'")
        .await;
}

//! The status page in a real browser: the login form, what is seen to move, ending a session, the keyboard, hostile texts, and how it
//! looks.

use std::path::Path;

use menshen_test_support::{Browser, Builder, CONTROL_SECRET, Page, Reply, TestGateway, raw};
use serde_json::{Value, json};

const HOSTILE: &str = "<script>window.ran=1</script>'\"<img/src=x/onerror=window.ran=1>";

pub(super) fn secured() -> Builder {
    let builder = TestGateway::builder().apps(&["shop", "club"]);
    builder.require_control_secret()
}

pub(super) fn home(t: &TestGateway) -> String {
    format!("http://{}/", t.control.unwrap())
}

pub(super) async fn press(page: &mut Page, key: &str) {
    let (number, text) = match key {
        "Enter" => (13, "\r"),
        "Tab" => (9, ""),
        _ => (32, " "),
    };
    for kind in ["keyDown", "keyUp"] {
        let mut event =
            json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": number});
        if kind == "keyDown" && !text.is_empty() {
            event["text"] = json!(text);
        }
        page.call("Input.dispatchKeyEvent", event).await;
    }
}

async fn write(page: &mut Page, text: &str) {
    page.call("Input.insertText", json!({"text": text})).await;
}

/// Writes in a field that is gone to by a script.
pub(super) async fn fill(page: &mut Page, id: &str, text: &str) {
    let field = format!("document.getElementById('{id}')");
    page.until(&format!("{field} && {field}.checkVisibility()"))
        .await;
    page.evaluate(&format!("void ({field}.value = '', {field}.focus())"))
        .await;
    write(page, text).await;
}

pub(super) async fn shows(page: &mut Page, id: &str, text: &str) {
    let there = format!(
        "document.getElementById('{id}').innerText.includes({})",
        json!(text)
    );
    page.until(&there).await;
}

pub(super) async fn click(page: &mut Page, button: &str) {
    page.until(&format!(
        "document.querySelector('{button}')?.checkVisibility()"
    ))
    .await;
    page.evaluate(&format!("void document.querySelector('{button}').click()"))
        .await;
}

/// Opens the page and logs in by its form, with the keyboard alone.
pub(super) async fn logged_in(browser: &Browser, t: &TestGateway) -> Page {
    let mut page = browser.open(&home(t)).await;
    page.until("document.activeElement.id === 'secret'").await;
    write(&mut page, CONTROL_SECRET).await;
    press(&mut page, "Enter").await;
    page.until("document.querySelector('#tiles b')").await;
    page
}

/// How many requests came in the last hour, as the page shows it.
const REQUESTS: &str = "[...document.querySelectorAll('.tile')]
    .find(tile => tile.innerText.startsWith('requests, last hour')).querySelector('b').innerText";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_logs_in_sees_traffic_move_finds_a_user_and_ends_a_session() {
    let (t, browser) = (secured().start().await, Browser::start().await);
    let mut page = browser.open(&home(&t)).await;
    fill(&mut page, "secret", "a-wrong-guess-of-it").await;
    press(&mut page, "Enter").await;
    shows(&mut page, "message", "This is no secret").await;
    assert_eq!(
        page.evaluate("document.getElementById('secret').value")
            .await,
        ""
    );
    fill(&mut page, "secret", CONTROL_SECRET).await;
    press(&mut page, "Enter").await;
    page.until("document.querySelector('#tiles b')").await;
    assert_eq!(page.evaluate("document.cookie").await, "");

    let before = page.evaluate(REQUESTS).await;
    let grant = t.log_in_to("shop", "alice").await;
    for _ in 0..20 {
        t.get_as("/orders", &grant.token).await;
    }
    t.get("/orders").send().await.unwrap();
    page.until(&format!("{REQUESTS} !== {before}")).await;
    shows(&mut page, "refusals", "token_missing").await;
    shows(&mut page, "refusals", "drops Authorization").await;
    shows(&mut page, "last", "GET /orders").await;
    page.until("document.querySelectorAll('#chart-requests rect').length > 0")
        .await;
    shows(&mut page, "apps", "jscode2session ok").await;

    let who = t.who(&grant.token).await;
    let other = t.log_in_to("shop", "alice").await;
    fill(&mut page, "openid", who["openid"].as_str().unwrap()).await;
    press(&mut page, "Enter").await;
    let session = who["session"].as_str().unwrap();
    shows(&mut page, "sessions", session).await;
    shows(&mut page, "sessions", "2 of").await;
    let row = format!(
        "[...document.querySelectorAll('#sessions tr')].find(row => row.innerText.includes('{session}')).querySelector('button')"
    );
    page.evaluate(&format!("void {row}.click()")).await;
    assert_eq!(
        page.evaluate(&format!("{row}.innerText")).await,
        "Really? Press again"
    );
    assert_eq!(t.get_as("/orders", &grant.token).await.status, 200);
    page.evaluate(&format!("void {row}.click()")).await;
    shows(&mut page, "message", "It has ended").await;
    shows(&mut page, "sessions", "1 of").await;
    let ended = t.get_as("/orders", &grant.token).await;
    ended.refused(401, "session_ended");
    assert_eq!(t.get_as("/orders", &other.token).await.status, 200);

    let refused = Reply::of(t.get("/orders")).await;
    fill(&mut page, "request-id", refused.header("x-request-id")).await;
    press(&mut page, "Enter").await;
    shows(&mut page, "explained", "refused · token_missing").await;

    click(&mut page, "#log-out").await;
    page.until("document.getElementById('login').checkVisibility()")
        .await;
    assert_eq!(
        page.evaluate("document.getElementById('status').checkVisibility()")
            .await,
        false
    );
    assert_eq!(
        page.evaluate("document.getElementById('sessions').innerText")
            .await,
        ""
    );
    let asked = "fetch('/v1/status').then(reply => reply.status)";
    assert_eq!(page.evaluate(asked).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_secret_the_page_is_there_at_once_and_a_login_that_ends_leads_to_the_form() {
    let (t, browser) = (TestGateway::start().await, Browser::start().await);
    let mut page = browser.open(&home(&t)).await;
    page.until("document.querySelector('#tiles b')").await;
    assert_eq!(
        page.evaluate("document.getElementById('log-out').hidden")
            .await,
        true
    );
    assert_eq!(
        page.evaluate("document.getElementById('login').hidden")
            .await,
        true
    );
    let t = secured().start().await;
    let mut page = logged_in(&browser, &t).await;
    t.clock.advance(std::time::Duration::from_secs(12 * 3600));
    page.until("document.getElementById('login').checkVisibility()")
        .await;
    assert_eq!(
        page.evaluate("document.getElementById('tools').hidden")
            .await,
        true
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_reaches_everything_and_acts() {
    let (t, browser) = (secured().start().await, Browser::start().await);
    let who = t.who(&t.log_in_to("shop", "alice").await.token).await;
    t.log_in_to("shop", "alice").await;
    let mut page = logged_in(&browser, &t).await;
    page.evaluate("void (document.getElementById('settings-details').open = true)")
        .await;
    fill(&mut page, "openid", who["openid"].as_str().unwrap()).await;
    press(&mut page, "Enter").await;
    page.until("document.querySelectorAll('#sessions button').length === 3")
        .await;
    press(&mut page, "Tab").await;
    let wanted = "(window.wanted = [...document.querySelectorAll('a[href],button,input,select,summary,[tabindex=\"0\"]')]
        .filter(e => !e.disabled && e.checkVisibility())).length";
    let wanted = page.evaluate(wanted).await.as_u64().unwrap();
    assert!(wanted > 20, "{wanted}");
    page.evaluate("void (window.reached = new Set())").await;
    for _ in 0..2 * wanted {
        page.evaluate("void window.reached.add(document.activeElement)")
            .await;
        press(&mut page, "Tab").await;
    }
    let missed = "window.wanted.filter(e => !window.reached.has(e) && e.isConnected).map(e => e.outerHTML).join()";
    assert_eq!(page.evaluate(missed).await, "");
    let outlined = "(document.getElementById('pause').focus(), getComputedStyle(document.getElementById('pause')).outlineStyle)";
    assert_eq!(page.evaluate(outlined).await, "solid");
    // A button goes by Enter and by the space bar.
    press(&mut page, "Enter").await;
    page.until("document.getElementById('pause').getAttribute('aria-pressed') === 'true'")
        .await;
    press(&mut page, " ").await;
    page.until("document.getElementById('pause').getAttribute('aria-pressed') === 'false'")
        .await;
    // One that is left is not pressed for the second time.
    let end = "document.querySelector('#sessions td button')";
    page.evaluate(&format!("void {end}.focus()")).await;
    press(&mut page, "Enter").await;
    assert_eq!(
        page.evaluate(&format!("{end}.innerText")).await,
        "Really? Press again"
    );
    press(&mut page, "Tab").await;
    assert_eq!(page.evaluate(&format!("{end}.innerText")).await, "End");
    page.evaluate(&format!("void {end}.focus()")).await;
    press(&mut page, "Enter").await;
    press(&mut page, "Enter").await;
    page.until("document.querySelectorAll('#sessions td button').length === 1")
        .await;
    assert_eq!(page.evaluate("document.activeElement.id").await, "openid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_language_is_the_browsers_until_it_is_switched() {
    let (t, browser) = (secured().start().await, Browser::start().await);
    let mut page = browser.open(&home(&t)).await;
    set(&mut page, (1280, 900), "zh-CN", false).await;
    page.go(&home(&t)).await;
    page.until("document.activeElement.id === 'secret'").await;
    assert_eq!(
        page.evaluate("document.documentElement.lang").await,
        "zh-CN"
    );
    shows(&mut page, "login", "登录").await;
    write(&mut page, CONTROL_SECRET).await;
    press(&mut page, "Enter").await;
    shows(&mut page, "tiles", "当前请求").await;
    t.get("/orders").send().await.unwrap();
    shows(&mut page, "refusals", "检查前面的代理是否丢掉了").await;
    click(&mut page, "#language").await;
    assert_eq!(page.evaluate("document.documentElement.lang").await, "en");
    // Nothing but names and the switch itself is left in the other one.
    let left = "document.body.innerText.replaceAll('门神', '').replaceAll('中文', '').match(/[\\u4e00-\\u9fff]+/g)";
    assert_eq!(page.evaluate(left).await, Value::Null);
    page.evaluate("void (window.old = true, location.reload())")
        .await;
    page.until("!window.old && document.querySelector('#tiles b')")
        .await;
    assert_eq!(page.evaluate("document.documentElement.lang").await, "en");
    shows(&mut page, "tiles", "requests now").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_texts_are_shown_as_texts_and_run_nothing() {
    let (t, browser) = (secured().start().await, Browser::start().await);
    let mut page = logged_in(&browser, &t).await;
    let path = HOSTILE.replace('"', "%22").replace(' ', "%20");
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: here\r\nUser-Agent: {HOSTILE}\r\nReferer: {HOSTILE}\r\n\
         X-Request-Id: {HOSTILE}\r\nConnection: close\r\n\r\n"
    );
    raw(t.address, request.as_bytes()).await;
    let escaped = "%3Cscript%3Ewindow.ran=1%3C/script%3E";
    t.get(&format!("/{escaped}"))
        .header("user-agent", HOSTILE)
        .send()
        .await
        .unwrap();
    shows(&mut page, "last", escaped).await;
    fill(&mut page, "openid", HOSTILE).await;
    press(&mut page, "Enter").await;
    shows(&mut page, "sessions", "letters, digits").await;
    fill(&mut page, "request-id", HOSTILE).await;
    press(&mut page, "Enter").await;
    shows(&mut page, "explained", "No such request").await;
    page.evaluate("void (document.getElementById('settings-details').open = true)")
        .await;
    fill(&mut page, "filter", HOSTILE).await;
    // As if such a text came in every place of the document.
    let everywhere = format!(
        "(() => {{
            const hostile = value => typeof value === 'string' ? value + {text}
                : Array.isArray(value) ? value.map(hostile)
                : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, hostile(inner)]))
                : value
            document.getElementById('filter').value = ''
            paused = true
            latest = hostile(latest)
            latest.configuration.refused = {{ at: 1, problems: [{text}] }}
            latest.configuration.settings = latest.configuration.settings.map(([key, state]) => [key, 'written', {text}])
            draw(latest, true)
            found = {{ app: {text}, openid: {text}, sessions: [{{ session: {text}, created: 1, expires: 2, source: {text} }}] }}
            drawSessions()
            return document.body.innerText.split({text}).length
        }})()",
        text = json!(HOSTILE)
    );
    let shown = page.evaluate(&everywhere).await.as_u64().unwrap();
    assert!(shown > 20, "{shown}");
    assert_eq!(
        page.evaluate("document.scripts.length + document.images.length")
            .await,
        1
    );
    assert_eq!(page.evaluate("window.ran ?? null").await, Value::Null);
    // Were one there, the policy would not have it run.
    let forced = "(() => {
        const script = document.createElement('script')
        script.textContent = 'window.ran = 1'
        document.body.append(script)
        return window.ran ?? null
    })()";
    assert_eq!(page.evaluate(forced).await, Value::Null);
}

async fn set(page: &mut Page, size: (u64, u64), language: &str, dark: bool) {
    page.set_view(size, language, None).await;
    let scheme = if dark { "dark" } else { "light" };
    let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
    page.call("Emulation.setEmulatedMedia", media).await;
}

/// Shows what an hour of traffic looks like.
const AN_HOUR: &str = "(() => {
    paused = true
    const each = [...Array(240).keys()]
    const wave = (at, height) => Math.round(height * (1.2 + Math.sin(at / 25) + 0.3 * Math.sin(at * 2.1)))
    latest.traffic.steps = {
        ago: each.map(at => 3585 - 15 * at), seconds: each.map(() => 15), requests: each.map(at => wave(at, 900)),
        refused: each.map(at => wave(at, 60)), failed: each.map(at => at > 150 && at < 165 ? 400 : 3),
        p50: each.map(at => at < 20 ? null : 1 + wave(at, 2)), p95: each.map(at => at < 20 ? null : 8 + wave(at, 5)),
        p99: each.map(at => at < 20 ? null : at > 150 && at < 165 ? 90 : 20 + wave(at, 8)),
    }
    draw(latest, true)
    document.getElementById('settings-details').open = true
    scrollTo(0, 0)
})()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_fits_phones_and_desktops_in_both_languages() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("status");
    std::fs::create_dir_all(&folder).unwrap();
    let builder = secured()
        .section("login", "quota_per_minute = 600")
        .upstreams("[[upstream]]\nname = \"dead\"\nservers = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n")
        .routes("[[route]]\npath = \"/\"\nupstream = \"api\"\n[[route]]\npath = \"/dead\"\nupstream = \"dead\"\nauth = \"public\"\n");
    let (t, browser) = (builder.start().await, Browser::start().await);
    let grant = t.log_in_to("shop", "alice").await;
    t.log_in_to("shop", "alice").await;
    for path in [
        "/orders",
        "/status/500",
        "/orders/2026",
        "/dead/a",
        "/dead/b",
    ] {
        t.get_as(path, &grant.token).await;
        t.get(path).send().await.unwrap();
    }
    t.get(&format!("/{}", "a-long-path/".repeat(20)))
        .send()
        .await
        .unwrap();
    t.post("/_auth/login", json!({"code": "0a1b2c", "app": "shop"}))
        .await;
    for errcode in [40125, 45011] {
        t.fault(json!({"fault": "errcode", "errcode": errcode, "times": 1}))
            .await;
        let code = json!({"code": format!("0abc{errcode}"), "app": "club"});
        t.post("/_auth/login", code).await;
    }
    let openid = t.openid(&grant.token).await;
    let mut page = browser.open(&home(&t)).await;
    for (language, tag) in [("zh-CN", "zh-CN"), ("en-GB", "en")] {
        for (name, size, dark) in [
            ("phone", (390, 844), false),
            ("desktop", (1280, 900), false),
            ("desktop-dark", (1280, 900), true),
        ] {
            set(&mut page, size, language, dark).await;
            page.go(&home(&t)).await;
            page.until("document.activeElement.id === 'secret'").await;
            let place = format!("{tag}-{name}");
            assert_eq!(
                page.evaluate("document.documentElement.lang").await,
                tag,
                "{place}"
            );
            page.evaluate("void (paused = false)").await;
            page.screenshot(&folder.join(format!("login-{place}.png")))
                .await;
            write(&mut page, CONTROL_SECRET).await;
            press(&mut page, "Enter").await;
            fill(&mut page, "openid", &openid).await;
            press(&mut page, "Enter").await;
            page.until(
                "document.querySelector('#tiles b') && document.querySelector('#sessions td')",
            )
            .await;
            page.evaluate(AN_HOUR).await;
            let fits = "document.documentElement.scrollWidth <= innerWidth";
            assert_eq!(page.evaluate(fits).await, true, "{place}");
            page.screenshot(&folder.join(format!("top-{place}.png")))
                .await;
            let whole = page.evaluate("document.documentElement.scrollHeight").await;
            set(&mut page, (size.0, whole.as_u64().unwrap()), language, dark).await;
            page.screenshot(&folder.join(format!("whole-{place}.png")))
                .await;
            click(&mut page, "#log-out").await;
            page.until("document.getElementById('login').checkVisibility()")
                .await;
        }
    }
}

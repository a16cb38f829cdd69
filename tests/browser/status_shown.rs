//! The status page in a real browser: what is in the document is on the page, in its section, and what a request's id tells.

use menshen_test_support::{Browser, Page, Reply, TestGateway};
use serde_json::json;

use super::status::{click, fill, home, logged_in, press, secured, shows};

/// What the document says, and what a section makes of it, with all white space as one space.
const SHOWN: [(&str, &str, &str); 35] = [
    ("", "foot", "Menshen 0."),
    (
        "Object.assign(doc.traffic.now, { seconds: 10, requests: 30, refused: 20, failed: 10 })",
        "tiles",
        "requests now 3/s refused now 2/s 5xx now 1/s",
    ),
    (
        "Object.assign(doc.traffic.now, { p50: 12, p99: 1500 })",
        "tiles",
        "time now, 50 % 12 ms time now, 99 % 1.5 s",
    ),
    (
        "Object.assign(doc.traffic, { requests_open: 4, connections_open: 5, websockets_open: 6 })",
        "tiles",
        "being served 4 connections 5 WebSocket 6",
    ),
    (
        "Object.assign(doc.traffic.hour, { requests: 200, refused: 20, failed: 2 })",
        "tiles",
        "requests, last hour 200 refused, last hour 20 (10 %) 5xx, last hour 2 (1 %)",
    ),
    (
        "Object.assign(doc.traffic.hour, { received: 2048, sent: 4096 })",
        "tiles",
        "bodies in, last hour 2 KiB bodies out, last hour 4 KiB",
    ),
    ("doc.traffic.reaches = 1800", "tiles", "known for 30 min"),
    (
        "doc.refusals = [{ code: 'code_used', hour: 2, since_start: 3, operator_should: 'look' }]",
        "refusals",
        "code_used look 2 3",
    ),
    (
        "doc.last_refusals = [{ ago: 5, request: 'GET /a', status: 401, code: 'token_invalid', token_fault: 'not a JWT', errcode: 40029, credential: 'bearer', app: 'shop', client: '192.0.2.1' }]",
        "last",
        "GET /a 401 token_invalid, not a JWT, errcode 40029 shop · 192.0.2.1 · bearer 5 s ago",
    ),
    (
        "doc.last_refusals = [{ ago: 5, request: null, status: 400, code: 'bad_request', credential: 'none' }]",
        "last",
        "a head that nobody could read 400 bad_request",
    ),
    (
        "Object.assign(doc.apps[0], { quota_per_minute: 60, quota_left: 12 })",
        "apps",
        "quota a minute / left 60 / 12",
    ),
    (
        "Object.assign(doc.apps[0], { waiting: 4, login_ms: 56, waited_ms: 78, replays: 9 })",
        "apps",
        "waiting in line 4 a login took / waited 56 ms / 78 ms codes sent again 9",
    ),
    (
        "doc.health.access_tokens = { shop: { left: 600 } }",
        "apps",
        "access_token 10 min left",
    ),
    (
        "doc.health.access_tokens = { shop: {} }",
        "apps",
        "access_token none",
    ),
    ("", "apps", "access_token nobody asked for one"),
    (
        "doc.apps[0].calls = [{ endpoint: 'stable_token', result: '40164', hour: 2, since_start: 3, operator_should: 'tell WeChat' }]",
        "apps",
        "stable_token 40164 tell WeChat 2 3",
    ),
    (
        "doc.apps[0].logins = [{ outcome: 'code_used', hour: 2, since_start: 3, operator_should: 'look' }]",
        "apps",
        "code_used look 2 3",
    ),
    (
        "doc.upstreams = { api: { hour: 12, hour_ms: 34, servers: [{ address: '192.0.2.1:80', up: true }, { address: '192.0.2.2:80', up: false }] } }",
        "upstreams",
        "192.0.2.1:80 api up 12 34 ms 192.0.2.2:80 api down",
    ),
    ("doc.upstreams = {}", "upstreams", "None."),
    ("", "store", "store works"),
    (
        "doc.store.available = false",
        "store",
        "store does not work",
    ),
    (
        "doc.store.trouble = 'Redis is full (OOM)'",
        "store",
        "store Redis is full (OOM)",
    ),
    ("doc.store.stored = 7", "store", "sessions stored 7"),
    (
        "doc.store.stored = null",
        "store",
        "sessions stored not counted yet",
    ),
    (
        "Object.assign(doc.store, { opened: 5, refreshed: 6, ended: 7, revocations_held: 8, errors: 9 })",
        "store",
        "opened / refreshed / ended 5 / 6 / 7 revocations held 8 errors 9",
    ),
    (
        "Object.assign(doc.process, { cache_hits: 3, cache_misses: 1, cache_entries: 9 })",
        "store",
        "tokens known / found 9 / 75 %",
    ),
    (
        "Object.assign(doc.process, { resident_bytes: 1536, open_fds: 10, max_fds: 20, cpu_seconds: 7200 })",
        "store",
        "memory 1.5 KiB file descriptors 10 / 20 CPU time 2 h",
    ),
    (
        "doc.keys = [{ kid: 'k1', algorithm: 'ES256', state: 'next' }, { kid: 'k2', algorithm: 'HS256', state: 'verifying' }]",
        "keys",
        "k1 ES256 will sign k2 HS256 only verifies",
    ),
    (
        "doc.certificates = [{ file: 'a.pem', expires: doc.now }]",
        "certificates",
        "expired",
    ),
    (
        "doc.certificates = [{ file: 'a.pem', expires: doc.now + 20 * 86400 }]",
        "certificates",
        "20 days",
    ),
    (
        "doc.certificates = []",
        "certificates",
        "None: this listener speaks plain HTTP.",
    ),
    ("", "reloads", "No reload since the start."),
    (
        "doc.configuration.reloads = 1",
        "reloads",
        "The last reload was taken over.",
    ),
    (
        "doc.configuration.refused = { at: 1, problems: ['route: no upstream'] }",
        "reloads",
        "was refused: route: no upstream",
    ),
    (
        "doc.configuration.restart_needed = ['token', 'server.listen']",
        "reloads",
        "Waits for the next start: token, server.listen",
    ),
];

/// Draws the document with a change, and returns what is in a section.
async fn drawn(page: &mut Page, change: &str, id: &str) -> String {
    let script = format!(
        "(() => {{
            paused = true
            const doc = structuredClone(latest)
            {change}
            draw(doc, true)
            return document.getElementById('{id}').innerText.replace(/\\s+/g, ' ')
        }})()"
    );
    page.evaluate(&script).await.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_document_is_on_the_page() {
    let (t, browser) = (TestGateway::start().await, Browser::start().await);
    let mut page = browser.open(&home(&t)).await;
    shows(&mut page, "foot", "as of").await;
    for (change, id, expected) in SHOWN {
        let shown = drawn(&mut page, change, id).await;
        assert!(shown.contains(expected), "{change}: {shown}");
    }
    for (left, class) in [(0, "bad"), (13, "warn"), (15, "good")] {
        let change =
            format!("doc.certificates = [{{ file: 'a', expires: doc.now + {left} * 86400 }}]");
        drawn(&mut page, &change, "certificates").await;
        let class = format!("document.querySelectorAll('#certificates .{class}').length");
        assert_eq!(page.evaluate(&class).await, 1, "{left}");
    }
    let steps = "doc.traffic.steps = { ago: [15, 0], seconds: [15, 15], requests: [9, 9], refused: [3, 0], failed: [0, 2],
        p50: [1, 2], p95: [3, null], p99: [5, 6] }";
    drawn(&mut page, steps, "chart-requests").await;
    let bars = "['ok', 'refused', 'failed'].map(name => document.querySelectorAll(`#chart-requests rect.${name}`).length).join()";
    assert_eq!(page.evaluate(bars).await, "2,1,1");
    let lines = "['p50', 'p95', 'p99'].map(name => document.querySelector(`#chart-latency path.${name}`).getAttribute('d').split('L').length - 1).join()";
    assert_eq!(page.evaluate(lines).await, "3,1,3");
    // Of what its reader may not see, there is no section.
    drawn(&mut page, "doc.store = null; doc.keys = null", "store").await;
    let hidden = "[...document.querySelectorAll('[data-part]')].filter(part => part.hidden).map(part => part.dataset.part).join()";
    assert_eq!(page.evaluate(hidden).await, "store,keys");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_not_changed_is_not_drawn_again() {
    let (t, browser) = (TestGateway::start().await, Browser::start().await);
    let mut page = browser.open(&home(&t)).await;
    shows(&mut page, "foot", "as of").await;
    let kept = "(() => {
        paused = true
        draw(latest, true)
        const [before, reloads] = ['#keys', '#reloads'].map(id => document.querySelector(id).firstChild)
        const doc = structuredClone(latest)
        doc.now += 3
        doc.configuration.reloads = 1
        draw(doc)
        return [before.isConnected, reloads.isConnected]
    })()";
    assert_eq!(page.evaluate(kept).await, json!([true, false]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_explained_by_its_id_alone() {
    let (t, browser) = (secured().start().await, Browser::start().await);
    let mut page = logged_in(&browser, &t).await;
    let forged = t.get("/orders").bearer_auth("eyJh.eyJh.eyJh");
    let forged = Reply::of(forged).await;
    t.fault(json!({"fault": "errcode", "errcode": 40164, "times": 1}))
        .await;
    let login = json!({"code": "0abcdef", "app": "shop"});
    let failed = t.post("/_auth/login", login).await;
    for (reply, parts) in [
        (
            &forged,
            &[
                "refused · token_invalid · not a JWT",
                "GET /orders",
                "* / → api",
                "bearer",
                "127.0.0.1",
                "Log in again.",
                "keys_dir",
            ][..],
        ),
        (&failed, &["wechat_misconfigured", "errcode\n40164"]),
    ] {
        fill(&mut page, "request-id", reply.header("x-request-id")).await;
        press(&mut page, "Enter").await;
        for part in parts {
            shows(&mut page, "explained", part).await;
        }
    }
    // What leads elsewhere is no id, and nobody is asked.
    let asked = "performance.getEntriesByType('resource').some(entry => new URL(entry.name).pathname === '/v1/')";
    for dots in [".", ".."] {
        page.evaluate("void document.getElementById('explained').replaceChildren()")
            .await;
        fill(&mut page, "request-id", dots).await;
        press(&mut page, "Enter").await;
        shows(&mut page, "explained", "No such request is among the last").await;
    }
    assert_eq!(page.evaluate(asked).await, false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_told_in_either_language_and_another_language_keeps_what_was_chosen() {
    let (t, browser) = (secured().start().await, Browser::start().await);
    let mut page = browser.open(&home(&t)).await;
    for told in ["This is no secret", "这不是本端口的密钥。"] {
        fill(&mut page, "secret", "a wrong secret of somebody").await;
        press(&mut page, "Enter").await;
        shows(&mut page, "message", told).await;
        page.until("document.getElementById('secret').value === ''")
            .await;
        click(&mut page, "#language").await;
    }
    let mut page = logged_in(&browser, &t).await;
    page.until("document.activeElement.id === 'main'").await;
    let chosen = "(document.getElementById('app').value = 'club', document.getElementById('language').click(), document.getElementById('app').value)";
    assert_eq!(page.evaluate(chosen).await, "club");
}

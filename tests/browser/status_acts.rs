//! The status page in a real browser: what it says needs attention, what a caller sees, what its buttons do, and what it says of a listener
//! that has gone.

use menshen_test_support::{Browser, Nodes, TestGateway};
use serde_json::json;

use super::status::{click, fill, home, logged_in, press, secured, shows};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const LOOKS: &str = "000000000000000000000000000looks";
const SHOPS: &str = "000000000000000000000000000shops";
const ASKS: &str = "0000000000000000000000000000asks";

/// What may be wrong: how the document says so, what the page makes of it, and the badge above.
const TROUBLES: [(&str, &str, &str); 13] = [
    ("", "Nothing: all is well.", "good"),
    (
        "doc.health.state = 'draining'",
        "This process is stopping",
        "warn",
    ),
    (
        "doc.health.degraded = ['session_store']; doc.health.reasons = { session_store: 'is busy' }",
        "The session store does not do what it is asked: logins and refreshes wait. (is busy)",
        "bad",
    ),
    (
        "doc.wechat = { obstacle: 'no address', operator_should: 'look at DNS' }",
        "WeChat: no address; look at DNS",
        "bad",
    ),
    (
        "doc.health.access_tokens = { shop: { last_error: { error: '40164', errcode: 40164, address: '192.0.2.1' } } }",
        "shop: no new access_token: 40164 (192.0.2.1).",
        "bad",
    ),
    (
        "doc.apps[0].kept_back = ['day']",
        "shop: logins are held back: the quota of this day is used up.",
        "warn",
    ),
    (
        "doc.upstreams.api.servers[0].up = false",
        "api: the server 127.0.0.1:",
        "bad",
    ),
    (
        "doc.certificates = [{ file: 'a.pem', expires: doc.now }]",
        "The certificate a.pem has expired.",
        "bad",
    ),
    (
        "doc.certificates = [{ file: 'a.pem', expires: doc.now + 13 * 86400 }]",
        "The certificate a.pem expires in 13 days.",
        "warn",
    ),
    (
        "doc.certificates = [{ file: 'a.pem', expires: doc.now + 15 * 86400 }]",
        "Nothing: all is well.",
        "good",
    ),
    (
        "doc.configuration.refused = { at: 1, problems: ['x'] }",
        "The last reload was refused",
        "bad",
    ),
    (
        "doc.process.log_lines_dropped = 7",
        "7 log lines were lost",
        "warn",
    ),
    (
        "doc.process.log_lines_dropped = 7; doc.configuration.refused = { at: 1, problems: ['x'] }",
        "7 log lines were lost",
        "bad",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_needs_attention_and_the_worst_of_it_is_the_badge() {
    let (t, browser) = (TestGateway::start().await, Browser::start().await);
    let mut page = browser.open(&home(&t)).await;
    page.until("document.querySelector('#tiles b')").await;
    for (change, told, badge) in TROUBLES {
        let drawn = format!(
            "(() => {{
                paused = true
                const doc = structuredClone(latest)
                {change}
                draw(doc, true)
                return [document.getElementById('attention').innerText, document.getElementById('state').className]
            }})()"
        );
        let drawn = page.evaluate(&drawn).await;
        let shown = drawn[0].as_str().unwrap();
        assert!(shown.contains(told), "{change}: {shown}");
        assert_eq!(drawn[1], format!("badge {badge}"), "{change}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_sees_and_presses_what_its_secret_is_good_for_alone() {
    let folder = tempfile::tempdir().unwrap();
    let caller = |name: &str, secret: &str, calls: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, secret).unwrap();
        format!(
            "[[control.caller]]\nname = \"{name}\"\nsecret_file = \"{}\"\napps = [\"shop\"]\ncalls = {calls}\n",
            path.display()
        )
    };
    let callers = [
        caller("looks", LOOKS, "[\"list_sessions\"]"),
        caller("shops", SHOPS, "[\"status\"]"),
        caller("asks", ASKS, "[\"explain_request\"]"),
    ];
    let builder = secured().section("control", &callers.concat());
    let (t, browser) = (builder.start().await, Browser::start().await);
    let who = t.who(&t.log_in_to("shop", "alice").await.token).await;
    let mut page = browser.open(&home(&t)).await;
    const VISIBLE: &str =
        "['status', 'setup', 'tools', 'sessions-card', 'explain-card', 'reload', 'pause']
        .filter(id => document.getElementById(id).checkVisibility()).join(' ')";

    fill(&mut page, "secret", LOOKS).await;
    press(&mut page, "Enter").await;
    fill(&mut page, "openid", who["openid"].as_str().unwrap()).await;
    press(&mut page, "Enter").await;
    shows(&mut page, "sessions", who["session"].as_str().unwrap()).await;
    assert_eq!(page.evaluate(VISIBLE).await, "tools sessions-card");
    let buttons = "document.querySelectorAll('#sessions button').length";
    assert_eq!(page.evaluate(buttons).await, 0);
    shows(
        &mut page,
        "as",
        "looks · may not see the status · sees only shop",
    )
    .await;

    click(&mut page, "#log-out").await;
    fill(&mut page, "secret", SHOPS).await;
    press(&mut page, "Enter").await;
    shows(&mut page, "apps", "shop").await;
    assert_eq!(page.evaluate(VISIBLE).await, "status pause");
    shows(&mut page, "as", "shops · sees only shop").await;

    click(&mut page, "#log-out").await;
    fill(&mut page, "secret", ASKS).await;
    press(&mut page, "Enter").await;
    shows(&mut page, "as", "asks · may not see the status").await;
    assert_eq!(page.evaluate(VISIBLE).await, "tools explain-card");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sessions_of_a_user_end_at_once_and_a_pause_keeps_what_is_shown() {
    let (t, browser) = (secured().start().await, Browser::start().await);
    let mut tokens = Vec::new();
    for _ in 0..2 {
        tokens.push(t.log_in_to("shop", "alice").await.token);
    }
    let who = t.who(&tokens[0]).await;
    let mut page = logged_in(&browser, &t).await;
    fill(&mut page, "openid", who["openid"].as_str().unwrap()).await;
    press(&mut page, "Enter").await;
    shows(&mut page, "sessions", "2 of").await;
    let all = "[...document.querySelectorAll('#sessions button')].find(button => /^End all|^Really/.test(button.innerText))";
    page.evaluate(&format!("void {all}.click()")).await;
    assert_eq!(t.get_as("/orders", &tokens[0]).await.status, 200);
    page.evaluate(&format!("void {all}.click()")).await;
    shows(
        &mut page,
        "sessions",
        "This user has no session in this app.",
    )
    .await;
    for token in &tokens {
        t.get_as("/orders", token)
            .await
            .refused(401, "session_ended");
    }
    let asks = "(async () => {
        const before = latest
        await poll()
        return latest !== before
    })()";
    click(&mut page, "#pause").await;
    assert_eq!(page.evaluate(asks).await, false);
    click(&mut page, "#pause").await;
    assert_eq!(page.evaluate(asks).await, true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_is_reloaded_and_looked_through() {
    let (nodes, node) = Nodes::start_one(TestGateway::builder(), MENSHEN).await;
    let control = node.program.find_control_address().await;
    let browser = Browser::start().await;
    let mut page = browser.open(&format!("http://{control}/")).await;
    click(&mut page, "#reload").await;
    shows(&mut page, "message", "Reloaded.").await;
    shows(&mut page, "reloads", "The last reload was taken over.").await;
    nodes.site.change("[token]\n", "[token]\nttl = \"1h\"\n");
    click(&mut page, "#reload").await;
    shows(&mut page, "reloads", "Waits for the next start: token").await;
    nodes.site.change("ttl = \"1h\"", "ttl = \"soon\"");
    click(&mut page, "#reload").await;
    shows(&mut page, "message", "problems").await;
    assert_eq!(
        page.evaluate("document.getElementById('message').className")
            .await,
        "bad"
    );
    shows(&mut page, "reloads", "soon").await;

    page.evaluate("void (document.getElementById('settings-details').open = true)")
        .await;
    let rows = "[...document.querySelectorAll('#settings tbody tr')].map(row => row.innerText).join('\\n')";
    let all = page.evaluate(rows).await;
    let all = all.as_str().unwrap();
    assert!(all.contains("app[1].secret_env\tset (a secret)"), "{all}");
    assert!(all.contains("default") && all.contains("not set"), "{all}");
    click(&mut page, "#written").await;
    let written = page.evaluate(rows).await;
    let written = written.as_str().unwrap();
    assert!(
        written.contains("app[1].secret_env\tset (a secret)"),
        "{written}"
    );
    assert!(
        !written.contains(" default") && !written.contains("not set"),
        "{written}"
    );
    fill(&mut page, "filter", "SECRET_env").await;
    page.until(&format!("!({rows}).includes('app[1].name')"))
        .await;
    let found = page.evaluate(rows).await;
    assert!(
        found.as_str().unwrap().contains("app[1].secret_env"),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_listener_that_has_gone_it_is_said_that_what_is_shown_is_old() {
    let (mut t, browser) = (TestGateway::start().await, Browser::start().await);
    let mut page = browser.open(&home(&t)).await;
    page.until("document.querySelector('#tiles b')").await;
    // One that was away for a moment is there again.
    let moment = "(async () => {
        const [real, told] = [window.fetch, () => document.getElementById('message').textContent]
        window.fetch = () => Promise.reject(new TypeError('away'))
        await poll()
        const away = told()
        window.fetch = real
        await poll()
        return [away !== '', told()]
    })()";
    assert_eq!(page.evaluate(moment).await, json!([true, ""]));
    // A page that is looked at again asks at once.
    page.evaluate("void (clearTimeout(timer), window.before = latest, document.dispatchEvent(new Event('visibilitychange')))")
        .await;
    page.until("latest !== window.before").await;
    t.stop().await;
    shows(
        &mut page,
        "message",
        "Menshen does not answer; what is shown is old.",
    )
    .await;
    assert_eq!(
        page.evaluate("document.querySelectorAll('#tiles b').length > 0")
            .await,
        true
    );
}

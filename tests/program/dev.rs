//! `menshen dev` shows a login to somebody who has nothing but curl, and leaves nothing behind.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::fs;
use std::net::TcpListener;

use menshen_test_support::{Browser, Page, Program, Upstream, address_in, make_client};
use tempfile::TempDir;
use tokio::process::Command;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// A running `menshen dev`, and the folder in which it may make temporary files.
struct Dev {
    program: Program,
    temporary: TempDir,
}

impl Dev {
    async fn start(arguments: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let program = Program::start(dev(&temporary, arguments));
        program.prints("curl -s http://127.0.0.1:").await;
        Self { program, temporary }
    }

    /// Returns the lines to paste.
    async fn lines(&self) -> Vec<String> {
        // The last of them.
        self.program.prints("Bearer $TOKEN").await;
        let printed = self.program.stdout();
        let lines = printed
            .lines()
            .skip_while(|line| !line.starts_with("CODE="));
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Pastes the lines into a shell and returns what it shows.
    async fn pasted(&self) -> String {
        let script = self.lines().await.join("\n");
        bash(&script).await
    }
}

fn dev(temporary: &TempDir, arguments: &[&str]) -> Command {
    let listen = ["dev", "--listen", "127.0.0.1:0"];
    let mut command = Program::command(MENSHEN, &[&listen[..], arguments].concat());
    command
        .env("TMPDIR", temporary.path())
        .current_dir(temporary);
    command
}

async fn bash(script: &str) -> String {
    for tool in ["bash", "curl"] {
        let version = Command::new(tool).arg("--version").output().await;
        version.unwrap_or_else(|error| panic!("{tool} is needed for this test: {error}"));
    }
    let mut shell = Command::new("bash");
    let shell = shell.args(["-c", script]).env("no_proxy", "127.0.0.1");
    let ended = shell.output().await.expect("bash should start");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    String::from_utf8(ended.stdout).unwrap()
}

#[tokio::test]
async fn the_printed_lines_log_somebody_in() {
    let dev = Dev::start(&[]).await;
    assert_eq!(dev.lines().await.len(), 3);
    let shown = dev.pasted().await;
    let (_, openid) = shown
        .split_once("You are o")
        .unwrap_or_else(|| panic!("{shown}"));
    assert_eq!(openid.find(" in app demo"), Some(27), "{shown}");
    assert!(shown.contains("\"x-wx-source\": \"wx_client\""), "{shown}");
    assert!(!shown.contains("\"authorization\""), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_printed_link_leads_a_browser_to_wechats_page_and_back() {
    let dev = Dev::start(&[]).await;
    dev.lines().await;
    let printed = dev.program.stdout();
    let links = printed.lines().filter(|line| line.starts_with("http://"));
    let links: Vec<&str> = links.collect();
    let [link] = links.as_slice() else {
        panic!("{printed}");
    };
    let browser = Browser::start().await;
    let mut page = browser.open(link).await;
    for id in ["deny", "again", "allow"] {
        let there = format!("document.getElementById('{id}')");
        page.until(&there).await;
        page.evaluate(&format!("void {there}.click()")).await;
    }
    let back = format!("location.href === '{link}' && document.readyState === 'complete'");
    page.until(&back).await;
    let shown = page.evaluate("document.body.innerText").await;
    let shown = shown.as_str().unwrap();
    for part in [
        "You are o",
        "in app demo-site",
        "\"x-wx-source\": \"wx_web\"",
        "\"x-wx-unionid\": \"o",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("\"cookie\""), "{shown}");
}

#[tokio::test]
async fn the_printed_lines_can_be_pasted_again() {
    let dev = Dev::start(&[]).await;
    let (first, second) = (dev.pasted().await, dev.pasted().await);
    let greeting = |shown: &str| {
        shown
            .lines()
            .find(|line| line.contains("hello"))
            .map(str::to_owned)
    };
    assert!(
        greeting(&first).is_some_and(|line| line.contains("You are")),
        "{first}"
    );
    assert_eq!(greeting(&first), greeting(&second));
}

#[tokio::test]
async fn what_listens_at_every_address_is_shown_at_one_that_can_be_reached() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Program::command(MENSHEN, &["dev", "--listen", "0.0.0.0:0"]);
    command.env("TMPDIR", temporary.path());
    let program = Program::start(command);
    program.prints("Bearer $TOKEN").await;
    let printed = program.stdout();
    let page = playground_of(&program);
    assert!(page.starts_with("http://127.0.0.1:"), "{printed}");
    assert!(!printed.contains("0.0.0.0"), "{printed}");
    let port = page.trim_end_matches("/_dev").rsplit(':').next().unwrap();
    let phone = format!("address in the local network, port {port}.");
    assert!(printed.contains(&phone), "{printed}");
}

#[tokio::test]
async fn nobody_gets_in_without_a_login() {
    let dev = Dev::start(&[]).await;
    let lines = dev.lines().await;
    let (get, _) = lines.last().unwrap().split_once(" -H ").unwrap();
    let shown = bash(get).await;
    assert!(shown.contains("token_missing"), "{shown}");
}

#[tokio::test]
async fn a_backend_of_ones_own_gets_the_requests() {
    let upstream = Upstream::start().await;
    for url in [
        format!("http://{}", upstream.address),
        format!("http://{}/", upstream.address),
        format!("http://localhost:{}", upstream.address.port()),
    ] {
        let before = upstream.requests();
        let dev = Dev::start(&["--upstream", &url]).await;
        assert_eq!(dev.pasted().await, "ok", "{url}");
        assert_eq!(upstream.requests(), before + 1);
        let received = upstream.last();
        assert_eq!(received.target, "/hello");
        assert!(received.only("x-wx-openid").unwrap().starts_with('o'));
        assert_eq!(received.only("x-menshen-app"), Some("demo"));
    }
}

#[tokio::test]
async fn a_signal_ends_it_and_leaves_nothing_behind() {
    for signal in ["TERM", "INT"] {
        let dev = Dev::start(&[]).await;
        dev.pasted().await;
        assert_ne!(fs::read_dir(&dev.temporary).unwrap().count(), 0);
        dev.program.signal(signal).await;
        let ended = dev.program.ended().await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
        assert_eq!(fs::read_dir(&dev.temporary).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_signal_right_after_the_announcement_leaves_nothing_behind() {
    let dev = Dev::start(&[]).await;
    let ended = dev.program.stop().await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert_eq!(fs::read_dir(&dev.temporary).unwrap().count(), 0);
}

#[tokio::test]
async fn a_port_in_use_is_named_and_leaves_nothing_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Program::command(MENSHEN, &["dev", "--listen", &address]);
    command.env("TMPDIR", temporary.path());
    let ended = Program::run(command).await;
    ended.check_failed(2);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

#[tokio::test]
async fn a_temporary_folder_with_an_odd_name_will_do() {
    let parent = tempfile::tempdir().unwrap();
    for name in ["it's here", "a \"b\" c", "back\\slash"] {
        let folder = parent.path().join(name);
        fs::create_dir(&folder).unwrap();
        let mut command = Program::command(MENSHEN, &["dev", "--listen", "127.0.0.1:0"]);
        command.env("TMPDIR", folder);
        let program = Program::start(command);
        address_in(&program.prints("Menshen listens").await);
    }
}

#[tokio::test]
async fn a_temporary_folder_that_is_missing_is_a_failure() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = dev(&temporary, &[]);
    command.env("TMPDIR", temporary.path().join("missing"));
    let ended = Program::run(command).await;
    ended.check_failed(1);
    assert_eq!(ended.stdout, "");
}

/// Clicks a button of the playground, and waits until an exchange is shown whose title begins so; returns what it says.
async fn click(page: &mut Page, id: &str, title: &str) -> String {
    let before = page
        .evaluate("document.getElementById('log').children.length")
        .await;
    page.evaluate(&format!("void document.getElementById('{id}').click()"))
        .await;
    let shown = format!(
        "((entries) => entries.slice(0, entries.length - {before}).filter((entry) => \
         entry.querySelector('h2').textContent.startsWith('{title}')).map((entry) => \
         ({{ text: entry.querySelector('pre').textContent }}))[0])([...document.querySelectorAll('#log article')])"
    );
    let shown = page.until(&shown).await;
    shown["text"].as_str().unwrap().to_owned()
}

async fn value(page: &mut Page, id: &str) -> String {
    let value = format!(
        "document.getElementById('{id}').value ?? document.getElementById('{id}').textContent"
    );
    page.evaluate(&value).await.as_str().unwrap().to_owned()
}

async fn set(page: &mut Page, id: &str, value: &str) {
    let value = serde_json::Value::from(value);
    page.evaluate(&format!(
        "void (document.getElementById('{id}').value = {value})"
    ))
    .await;
}

fn playground_of(program: &Program) -> String {
    let printed = program.stdout();
    let line = printed.lines().find(|line| line.ends_with("/_dev"));
    let url = line.and_then(|line| line.rsplit(' ').next());
    url.unwrap_or_else(|| panic!("{printed}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_playground_shows_a_login_in_a_browser() {
    let dev = Dev::start(&[]).await;
    let browser = Browser::start().await;
    let mut page = browser.open(&playground_of(&dev.program)).await;
    page.until("document.getElementById('language').textContent")
        .await;
    let refused = click(&mut page, "call", "GET /hello → 401").await;
    assert!(refused.contains("token_missing"), "{refused}");

    click(&mut page, "get-code", "POST /_sim/login → 200").await;
    assert!(!value(&mut page, "code").await.is_empty());
    click(&mut page, "log-in", "POST /_auth/login → 200").await;
    let session = value(&mut page, "session").await;
    assert!(session.len() > 10, "{session}");
    page.evaluate("void document.getElementById('forge').click()")
        .await;
    let hello = click(&mut page, "call", "GET /hello → 200").await;
    assert!(hello.contains("You are o"), "{hello}");
    assert!(!hello.contains("forged"), "{hello}");
    let echoed = click(&mut page, "websocket", "WebSocket").await;
    assert!(echoed.starts_with("hello at"), "{echoed}");
    let refreshed = click(&mut page, "refresh", "POST /_auth/refresh → 200").await;
    assert!(refreshed.contains("refresh_token"), "{refreshed}");
    assert_eq!(value(&mut page, "session").await, session);
    let asked = click(&mut page, "asked", "GET /_sim/calls → 200").await;
    assert!(asked.contains("/sns/jscode2session"), "{asked}");
    if let Some(folder) = std::env::var_os("MENSHEN_SCREENSHOTS") {
        page.screenshot(&std::path::Path::new(&folder).join("playground.png"))
            .await;
    }

    click(&mut page, "log-out", "POST /_auth/logout → 204").await;
    // The session's WebSocket ends with it, which may be shown before or after.
    page.until("document.getElementById('log').textContent.includes('WebSocket closed: 4401')")
        .await;
    let gone = page
        .evaluate("document.getElementById('session').textContent")
        .await;
    assert_eq!(gone, "–");

    set(&mut page, "code", "0a1b2c3d4e5f60718293a4b5c6d7e8f9").await;
    let refused = click(&mut page, "log-in", "POST /_auth/login → 401").await;
    assert!(refused.contains("code_invalid"), "{refused}");
    assert!(refused.contains("menshen dev --app APPID"), "{refused}");
    dev.program.logs("menshen dev --app").await;
}

#[tokio::test]
async fn an_app_of_ones_own_logs_in_at_wechat_itself() {
    let (appid, secret) = ("wx0123456789abcdef", "0123456789abcdef0123456789abcdef");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    fs::write(&file, format!("{secret}\n")).unwrap();
    let known = format!("{appid}:{secret}");
    // It stands for WeChat, whose address is not that of the machine.
    let wechat = Program::start(Program::command(
        MENSHEN,
        &["simulate", "--listen", "127.0.0.1:0", "--app", &known],
    ));
    let wechat_address = address_in(&wechat.prints("127.0.0.1:").await);
    let api = format!("http://{wechat_address}");
    let temporary = tempfile::tempdir().unwrap();
    let arguments = [
        "--app",
        appid,
        "--secret-file",
        file.to_str().unwrap(),
        "--api-base",
        &api,
    ];
    let program = Program::start(dev(&temporary, &arguments));
    program.prints("wx.login({").await;
    let printed = program.stdout();
    assert!(!printed.contains(secret), "{printed}");
    assert!(printed.contains("不校验合法域名"), "{printed}");
    let playground = playground_of(&program);
    let origin = playground.trim_end_matches("/_dev");
    menshen::app::install_crypto();

    let http = make_client();
    let page = http
        .get(&playground)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        page.contains(&format!("data-app=\"{appid}\" data-simulated=\"false\"")),
        "{page}"
    );
    let made = http
        .post(format!("{api}/_sim/login"))
        .body(format!(r#"{{"appid":"{appid}","user":"bob"}}"#));
    let made: serde_json::Value = made.send().await.unwrap().json().await.unwrap();
    let login = http.post(format!("{origin}/_auth/login")).json(&made);
    let login: serde_json::Value = login.send().await.unwrap().json().await.unwrap();
    let token = login["token"].as_str().unwrap_or_else(|| panic!("{login}"));
    let hello = http
        .get(format!("{origin}/hello"))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert!(hello.text().await.unwrap().contains("You are o"));
    // An image has no header for a token.
    let signed = http.post(format!("{origin}/_auth/sign")).bearer_auth(token);
    let signed = signed.json(&serde_json::json!({ "path": "/files/a.jpg" }));
    let signed: serde_json::Value = signed.send().await.unwrap().json().await.unwrap();
    let image = http
        .get(signed["url"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(image.status(), 200, "{signed}");
    // Nothing of the simulator is there.
    let simulator = http
        .get(format!("{origin}/_sim/calls"))
        .send()
        .await
        .unwrap();
    assert_eq!(simulator.status(), 401);
}

#[tokio::test]
async fn an_app_without_a_secret_or_with_a_wrong_one_is_refused() {
    let temporary = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (
            &["--app", "wx\"1", "--secret-file", "/dev/null"][..],
            "--app: must be an appid",
        ),
        (
            &[
                "--app",
                "wx0123456789abcdef",
                "--secret-file",
                "/nonexistent",
            ],
            "--secret-file: /nonexistent cannot be read",
        ),
        (
            &["--app", "wx0123456789abcdef", "--secret-file", "/dev/null"],
            "the AppSecret is empty",
        ),
        (&["--secret-file", "/dev/null"], "--app"),
    ] {
        let ended = Program::start(dev(&temporary, arguments)).ended().await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.said());
        assert!(
            ended.said().contains(said),
            "{arguments:?}: {}",
            ended.said()
        );
    }
}

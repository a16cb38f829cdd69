//! A real browser, headless Chromium, driven by its DevTools protocol.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::make_client;

/// What Chromium says that it is, outside of WeChat.
const USUAL_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/142 Safari/537.36";

/// A browser takes seconds to start on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// A running browser without a profile, which ends with this value.
pub struct Browser {
    address: SocketAddr,
    process: Child,
    http: reqwest::Client,
    _folder: TempDir,
}

/// One of its pages.
pub struct Page {
    socket: WebSocketStream<TcpStream>,
    sent: u64,
}

impl Browser {
    /// Starts the browser. It takes any server's certificate.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let output = folder.path().join("output");
        let profile = folder.path().join("profile");
        let mut process = spawn(&profile, &output);
        let chosen = profile.join("DevToolsActivePort");
        let limit = Instant::now() + PATIENCE;
        let address = loop {
            if let Some(port) = port_in(&fs::read_to_string(&chosen).unwrap_or_default()) {
                break SocketAddr::from(([127, 0, 0, 1], port));
            }
            let ended = process.try_wait().expect("the state of a child").is_some();
            if ended || Instant::now() > limit {
                let said = fs::read_to_string(&output).unwrap_or_default();
                panic!("chromium does not start; it said:\n{said}");
            }
            sleep(BETWEEN_LOOKS).await;
        };
        Self {
            address,
            process,
            http: make_client(),
            _folder: folder,
        }
    }

    /// Opens a page, and returns it once it is loaded.
    pub async fn open(&self, url: &str) -> Page {
        let blank = format!("http://{}/json/new?about:blank", self.address);
        let target = self.http.put(blank).send().await.expect("a target");
        let target: Value = target.json().await.expect("JSON");
        let socket = target["webSocketDebuggerUrl"].as_str().expect("an address");
        let stream = TcpStream::connect(self.address).await.expect("connects");
        let (socket, _) = client_async(socket, stream).await.expect("a WebSocket");
        let mut page = Page { socket, sent: 0 };
        page.go(url).await;
        page
    }
}

impl Page {
    /// Goes to another address, and waits until it is loaded.
    pub async fn go(&mut self, url: &str) {
        let went = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(went.get("errorText").is_none(), "{url}: {went}");
        self.until("location.href !== 'about:blank' && document.readyState === 'complete'")
            .await;
    }

    /// Returns the value of an expression in JavaScript; of a promise, what it brings.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let value = self.try_evaluate(expression).await;
        value.unwrap_or_else(|thrown| panic!("{expression} should not throw: {thrown}"))
    }

    /// Waits until an expression holds (in JavaScript's sense), whatever page is shown by then, and returns its value.
    pub async fn until(&mut self, expression: &str) -> Value {
        let limit = Instant::now() + PATIENCE;
        loop {
            // While another page is loaded, there may be nothing to ask.
            let last = self.try_evaluate(expression).await;
            if let Ok(value) = &last
                && !matches!(value, Value::Null | Value::Bool(false))
                && !matches!(value.as_str(), Some(""))
            {
                return value.clone();
            }
            if Instant::now() > limit {
                let shown = self
                    .try_evaluate("document.documentElement.outerHTML")
                    .await;
                panic!("{expression} should hold, not be {last:?}; the page shows {shown:?}");
            }
            sleep(BETWEEN_LOOKS).await;
        }
    }

    /// Writes what is shown to a file, as PNG.
    pub async fn screenshot(&mut self, path: &Path) {
        let shot = self.call("Page.captureScreenshot", json!({})).await;
        let png = STANDARD.decode(shot["data"].as_str().expect("a picture"));
        fs::write(path, png.expect("Base64")).expect("is written");
    }

    /// Calls a method of the DevTools protocol, such as `Emulation.setDeviceMetricsOverride`.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn try_evaluate(&mut self, expression: &str) -> Result<Value, Value> {
        let params = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": true,
        });
        let answer = self.ask("Runtime.evaluate", params).await;
        let failed = [&answer["error"], &answer["result"]["exceptionDetails"]];
        match failed.into_iter().find(|failed| !failed.is_null()) {
            Some(failed) => Err(failed.clone()),
            None => Ok(answer["result"]["result"]["value"].clone()),
        }
    }

    /// Has the page take itself for one of this width and height, in this language; `agent` is another name of the browser's.
    pub async fn set_view(
        &mut self,
        (width, height): (u64, u64),
        language: &str,
        agent: Option<&str>,
    ) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let agent = agent.unwrap_or(USUAL_AGENT);
        let said = json!({"userAgent": agent, "acceptLanguage": language});
        self.call("Emulation.setUserAgentOverride", said).await;
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.sent += 1;
        let order = json!({ "id": self.sent, "method": method, "params": params });
        let answered = async {
            self.socket
                .send(Message::text(order.to_string()))
                .await
                .expect("is sent");
            while let Some(message) = self.socket.next().await {
                let text = message.expect("a message").into_data();
                let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
                // Anything else is an event.
                if answer["id"] == self.sent {
                    return answer;
                }
            }
            panic!("the browser has closed the page during {method}");
        };
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(answer) => answer,
            Err(_) => panic!("the browser does not answer {order}"),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It is many processes, and those that are left would write to the folder.
        if let Some(leader) = self.process.id() {
            let group = format!("kill -s KILL -- -{leader}");
            let _ = std::process::Command::new("sh")
                .args(["-c", &group])
                .status();
        }
    }
}

fn spawn(profile: &Path, output: &Path) -> Child {
    let file = || File::options().create(true).append(true).open(output);
    let folder = profile.parent().expect("is in a folder");
    let spawned = Command::new("chromium")
        .args([
            "--headless",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-proxy-server",
            "--ignore-certificate-errors",
            // Containers have neither the sandbox's system calls nor much shared memory; only pages of tests are shown.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--remote-debugging-port=0",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("about:blank")
        .env("HOME", folder)
        // It is killed, and would leave what it puts there.
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(file().expect("a file"))
        .stderr(file().expect("a file"))
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    match spawned {
        Ok(process) => process,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("chromium is not installed: run `make test`")
        }
        Err(error) => panic!("chromium cannot be started: {error}"),
    }
}

/// The file has the port in its first line; without a second one it may be half written.
fn port_in(text: &str) -> Option<u16> {
    text.split_once('\n')?.0.parse().ok()
}

//! What the README shows is what happens.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use menshen::clock::Clock;
use menshen::config;
use menshen::simulator::Simulator;
use menshen_test_support::Reply;
use tokio::net::TcpListener;

const README: &str = include_str!("../../README.md");
const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// Returns the README's code blocks in a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README
        .split(fence.as_str())
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0)
        .collect()
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts the program with its output readable.
    fn start(arguments: &[&str], folder: &Path) -> Self {
        let child = Command::new(MENSHEN)
            .args(arguments)
            .env("SHOP_APP_SECRET", "0123456789abcdef0123456789abcdef")
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Reads lines of one of the outputs until one holds `text`, and returns all of them.
    fn until(output: impl std::io::Read, text: &str) -> String {
        let mut read = String::new();
        for line in BufReader::new(output).lines() {
            read.push_str(&line.unwrap());
            read.push('\n');
            if read.contains(text) {
                return read;
            }
        }
        unreachable!("{text:?} should be in {read}")
    }
}

#[test]
fn the_smallest_configuration_is_the_one_in_conf() {
    let toml = blocks("toml");
    let file = include_str!("../../conf/minimal.toml");
    let bare = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.map(str::to_owned);
        lines.filter(|line| !line.is_empty()).collect()
    };
    assert_eq!(bare(toml[0]), bare(file));
    config::parse(toml[0], "README.md", &|_| Some("s3cret".to_owned())).unwrap();
}

#[test]
fn the_two_commands_exist() {
    for target in ["dev", "test"] {
        assert!(README.contains(&format!("make {target}")));
        let dry = Command::new("make").args(["--dry-run", target]).output();
        assert!(dry.unwrap().status.success(), "make {target}");
    }
}

#[test]
fn the_configuration_of_the_readme_is_checked_and_served() {
    let shell = blocks("sh");
    let lines: Vec<&str> = shell.iter().flat_map(|block| block.lines()).collect();
    assert!(lines.contains(&"menshen check -c conf/minimal.toml"));
    assert!(lines.contains(&"menshen serve -c conf/minimal.toml"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("conf")).unwrap();
    // The ports of the README and of the private listener may be taken here.
    let text = blocks("toml")[0].replace("0.0.0.0:8080", "127.0.0.1:0");
    let text = format!("{text}[control]\nlisten = \"127.0.0.1:0\"\n");
    std::fs::write(folder.path().join("conf/minimal.toml"), text).unwrap();
    let mut check = Running::start(&["check", "-c", "conf/minimal.toml"], folder.path());
    assert!(check.0.wait().unwrap().success());
    let mut serve = Running::start(&["serve", "-c", "conf/minimal.toml"], folder.path());
    Running::until(serve.0.stderr.take().unwrap(), "listening");
    for made in ["keys", "data"] {
        assert!(folder.path().join("conf").join(made).is_dir(), "{made}");
    }
}

#[test]
fn the_explained_request_is_explained_so() {
    let (command, explanation) = blocks("console")[0].split_once('\n').unwrap();
    let arguments: Vec<&str> = command.split(' ').skip(2).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut check = Running::start(&arguments, root);
    let said = std::io::read_to_string(check.0.stdout.take().unwrap()).unwrap();
    assert_eq!(said, explanation);
}

#[test]
fn the_simulator_starts_with_the_readmes_line() {
    let line = blocks("sh")
        .iter()
        .flat_map(|block| block.lines())
        .find(|line| line.starts_with("menshen simulate"))
        .unwrap();
    let arguments: Vec<&str> = line
        .split(' ')
        .skip(1)
        .map(|word| {
            word.strip_prefix("127.0.0.1:8600")
                .map_or(word, |_| "127.0.0.1:0")
        })
        .collect();
    let mut simulator = Running::start(&arguments, Path::new("."));
    Running::until(simulator.0.stdout.take().unwrap(), "http://127.0.0.1:");
}

#[tokio::test]
async fn the_simulator_knows_every_fault_of_the_readme() {
    menshen::app::install_crypto();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/_sim/faults", listener.local_addr().unwrap());
    let simulator = Simulator::new(Vec::new(), Clock::system());
    tokio::spawn(simulator.serve(listener, std::future::pending()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let (_, rest) = README.split_once("The faults: ").unwrap();
    let (faults, _) = rest.split_once(';').unwrap();
    for fault in faults.split('`').skip(1).step_by(2) {
        let needs = match fault {
            "errcode" | "errcode_string" => r#","errcode":-1"#,
            "status" => r#","status":502"#,
            "delay" => r#","by":"1s""#,
            "content_type" => r#","content_type":"text/html""#,
            _ => "",
        };
        let plan = format!(r#"{{"path":"/sns/jscode2session","fault":"{fault}"{needs}}}"#);
        let reply = Reply::of(client.post(&url).body(plan)).await;
        assert_eq!(reply.status, 200, "{fault}: {}", reply.text());
    }
    let (_, example) = README.split_once("for example `{").unwrap();
    let (example, _) = example.split_once('`').unwrap();
    let reply = Reply::of(client.post(&url).body(format!("{{{example}"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn the_backends_two_headers_give_the_user() {
    let snippet = blocks("js")[0];
    let user = |headers: &str| {
        let program = format!("const req = {{ headers: {headers} }}\n{snippet}\nconsole.log(user)");
        let node = Command::new("node").args(["-e", &program]).output();
        let node = node.expect("node is not installed: run `make test`");
        String::from_utf8(node.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(
        user("{ 'x-wx-source': 'wx_client', 'x-wx-openid': 'o1' }"),
        "o1"
    );
    assert_eq!(user("{ 'x-wx-openid': 'o1' }"), "null");
}

#[test]
fn the_pasted_lines_answer_as_the_readme_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Running::start(&["dev", "--listen", "127.0.0.1:0"], folder.path());
    let said = Running::until(dev.0.stdout.take().unwrap(), "Bearer $TOKEN");
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| {
            ["CODE=", "TOKEN=", "curl "]
                .iter()
                .any(|start| line.starts_with(start))
        })
        .collect();
    assert_eq!(lines.len(), 3, "{said}");
    let pasted = Command::new("bash")
        .args(["-c", &lines.join("\n")])
        .output();
    let answer = String::from_utf8(pasted.unwrap().stdout).unwrap();
    let hello = blocks("json")[0].lines().nth(1).unwrap().trim();
    assert!(answer.contains(hello), "{answer}");
}

//! What the documents show is what happens, and what they point at is there.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use menshen::clock::Clock;
use menshen::config;
use menshen::simulator::Simulator;
use menshen_test_support::{Certificate, Reply, TestGateway, find_repository, make_client};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const README: &str = include_str!("../../README.md");
const CALL_WECHAT: &str = include_str!("../../docs/en/call-wechat.md");
const CLOUD_RUN: &str = include_str!("../../docs/en/cloud-run.md");
const CONFIGURE: &str = include_str!("../../docs/en/configure.md");
const IDENTITY: &str = include_str!("../../docs/en/identity.md");
const INSTALL: &str = include_str!("../../docs/en/install.md");
const OPERATE: &str = include_str!("../../docs/en/operate.md");
const REFUSALS: &str = include_str!("../../docs/en/refusals.md");
const SIMULATE: &str = include_str!("../../docs/en/simulate.md");
const ACCEPTED: &str = include_str!("../debian/accept.sh");
const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// A document, and where it is in the repository.
struct Document {
    path: PathBuf,
    text: String,
}

/// Reads the README, every page of `docs/` and the other documents for readers of the repository. Those in Chinese have the same
/// examples, as `tests/documents.test.mjs` finds, which also follows their links.
fn documents() -> Vec<Document> {
    let root = find_repository();
    let mut found = vec![
        root.join("README.md"),
        root.join("ARCHITECTURE.md"),
        root.join("SECURITY.md"),
        root.join("tests/README.md"),
    ];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.extend((!path.ends_with("zh")).then_some(path));
            } else if path.extension().is_some_and(|end| end == "md") {
                found.push(path);
            }
        }
    }
    let read = |path: PathBuf| Document {
        text: fs::read_to_string(&path).unwrap(),
        path,
    };
    found.into_iter().map(read).collect()
}

/// Returns a document's code blocks, each with its language.
fn all_blocks(text: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = text.split("```").collect();
    assert_eq!(parts.len() % 2, 1, "a code block has no end");
    parts
        .into_iter()
        .skip(1)
        .step_by(2)
        .map(|block| block.split_once('\n').unwrap())
        .collect()
}

/// Returns a document's code blocks in a language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let mut blocks = all_blocks(text);
    blocks.retain(|(found, _)| *found == language);
    blocks.into_iter().map(|(_, block)| block).collect()
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
    let toml = blocks(README, "toml");
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
    let shell = blocks(INSTALL, "sh");
    let lines: Vec<&str> = shell.iter().flat_map(|block| block.lines()).collect();
    assert!(lines.contains(&"menshen check -c conf/minimal.toml"));
    assert!(lines.contains(&"menshen serve -c conf/minimal.toml"));
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("conf")).unwrap();
    // The ports of the README and of the private listener may be taken here.
    let text = blocks(README, "toml")[0].replace("0.0.0.0:8080", "127.0.0.1:0");
    let text = format!("{text}[control]\nlisten = \"127.0.0.1:0\"\n");
    fs::write(folder.path().join("conf/minimal.toml"), text).unwrap();
    let mut check = Running::start(&["check", "-c", "conf/minimal.toml"], folder.path());
    assert!(check.0.wait().unwrap().success());
    let mut serve = Running::start(&["serve", "-c", "conf/minimal.toml"], folder.path());
    Running::until(serve.0.stderr.take().unwrap(), "listening");
    for made in ["keys", "data"] {
        assert!(folder.path().join("conf").join(made).is_dir(), "{made}");
    }
}

#[test]
fn the_page_of_installing_lists_every_command() {
    let help = Command::new(MENSHEN).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, rest) = help.split_once("Commands:\n").unwrap();
    let commands = rest.lines().take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() > 5, "{help}");
    for name in names {
        assert!(INSTALL.contains(&format!("| `menshen {name}")), "{name}");
    }
}

#[test]
fn the_explained_request_is_explained_so() {
    let (command, explanation) = blocks(CONFIGURE, "console")[0].split_once('\n').unwrap();
    let arguments: Vec<&str> = command.split(' ').skip(2).collect();
    let mut check = Running::start(&arguments, find_repository());
    let said = std::io::read_to_string(check.0.stdout.take().unwrap()).unwrap();
    assert_eq!(said, explanation);
}

#[test]
fn the_simulator_starts_with_the_line_of_its_page() {
    let line = blocks(SIMULATE, "sh")
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
async fn the_simulator_knows_every_fault_of_its_page() {
    menshen::app::install_crypto();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/_sim/faults", listener.local_addr().unwrap());
    let simulator = Simulator::new(Vec::new(), Clock::system());
    tokio::spawn(simulator.serve(listener, std::future::pending()));
    let client = make_client();
    let (_, rest) = SIMULATE.split_once("The faults: ").unwrap();
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
    let (_, example) = SIMULATE.split_once("for example `{").unwrap();
    let (example, _) = example.split_once('`').unwrap();
    let reply = Reply::of(client.post(&url).body(format!("{{{example}"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn the_backends_two_headers_give_the_user() {
    let snippet = blocks(IDENTITY, "js")[0];
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
    let hello = blocks(README, "json")[0].lines().nth(1).unwrap().trim();
    assert!(answer.contains(hello), "{answer}");
}

#[test]
fn every_example_is_of_a_kind_that_is_tried_here() {
    for Document { path, text } in documents() {
        for (language, block) in all_blocks(&text) {
            let known = ["", "toml", "json", "sh", "console", "js"].contains(&language);
            // Those of this page are run, or parsed, by `snippets.rs`.
            let known = known || path.ends_with("docs/en/backends.md");
            assert!(known, "{}: {language}: {block}", path.display());
            if language == "json" {
                serde_json::from_str::<Value>(block)
                    .unwrap_or_else(|error| unreachable!("{}: {error}: {block}", path.display()));
            }
        }
    }
    // The others are tried above by name, or parsed by `tests/documents.test.mjs`.
    let shown = |language: &str| -> usize {
        let documents = documents();
        let blocks = documents
            .iter()
            .map(|document| blocks(&document.text, language).len());
        blocks.sum()
    };
    assert_eq!(shown("console"), 1);
}

/// Returns the smallest configuration with these lines, which replace its sections of the same name.
fn beside_the_smallest(lines: &str) -> String {
    let mut text = String::new();
    let mut replaced = false;
    for line in blocks(README, "toml")
        .iter()
        .flat_map(|block| block.lines())
    {
        if line.starts_with('[') {
            replaced = !line.starts_with("[[") && lines.lines().any(|other| other == line);
        }
        if !replaced {
            text.push_str(line);
            text.push('\n');
        }
    }
    text + lines
}

#[test]
fn every_configuration_is_valid() {
    menshen::app::install_crypto();
    let made = Certificate::new("api.internal");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for name in ["cert.pem", "api-ca.pem"] {
        fs::copy(made.folder().join("cert.pem"), file(name)).unwrap();
    }
    fs::copy(made.folder().join("key.pem"), file("key.pem")).unwrap();
    fs::write(file("control-secret"), "0123456789abcdef0123456789").unwrap();
    let mut tried = 0;
    for Document { path, text } in documents() {
        for block in blocks(&text, "toml") {
            let whole = if block.contains("[[app]]") {
                block.to_owned()
            } else {
                beside_the_smallest(block)
            };
            let whole = whole.replace("/etc/menshen", &folder.path().display().to_string());
            let secret = |_: &str| Some("0123456789abcdef0123456789abcdef".to_owned());
            config::parse(&whole, "example.toml", &secret)
                .unwrap_or_else(|problems| unreachable!("{}: {problems}", path.display()));
            tried += 1;
        }
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn every_command_line_is_understood() {
    let mut tried = 0;
    for Document { path, text } in documents() {
        for line in blocks(&text, "sh").iter().flat_map(|block| block.lines()) {
            let line = line.split(" #").next().unwrap().trim();
            let line = line.strip_prefix("sudo ").unwrap_or(line);
            let as_user = line.strip_prefix("runuser -u menshen -- ");
            let line = as_user.unwrap_or(line);
            let mut words = line.split_whitespace();
            match words.next().unwrap_or_default() {
                "menshen" => {
                    // What clap does not know comes before the help.
                    let arguments: Vec<&str> = words.chain(["--help"]).collect();
                    let help = Command::new(MENSHEN).args(arguments).output().unwrap();
                    assert!(help.status.success(), "{}: {line}", path.display());
                    tried += 1;
                }
                "make" => {
                    let dry = format!("{line} --dry-run");
                    let dry = Command::new("sh").args(["-c", &dry]).output().unwrap();
                    assert!(dry.status.success(), "{}: {line}", path.display());
                }
                // Those of the page of the installation are run by `tests/debian/install.sh`.
                "cargo" => assert!(line.contains("--bin menshen") || text == INSTALL, "{line}"),
                "apt-get" => assert!(text == INSTALL, "{line}"),
                // In the system that `package.rs` boots.
                "systemctl" => assert!(ACCEPTED.contains(line), "{}: {line}", path.display()),
                // There is no engine here: `image.rs` and `deploy.rs` do what it would.
                "docker" => assert!(text == INSTALL, "{line}"),
                "export" => assert!(line.contains('='), "{line}"),
                // These are run by the next test.
                "" | "curl" => {}
                word if word.contains('=') && text == OPERATE => {}
                word => unreachable!("{}: nobody tries {word}", path.display()),
            }
        }
    }
    assert!(tried > 6, "{tried}");
}

#[tokio::test]
async fn the_calls_with_a_session_key_are_answered_as_the_page_says() {
    let t = TestGateway::start().await;
    let grant = t.log_in("alice").await;
    let who = t.who(&grant.token).await;
    let encrypt = async |data: Value| {
        let asked = json!({"appid": TestGateway::appid("shop"), "user": "alice", "data": data});
        t.simulate("encrypt", asked).await
    };
    let phone = encrypt(json!({"phoneNumber": "13580006666"})).await;
    let hello = encrypt(json!("hello")).await;
    let script = blocks(OPERATE, "sh")[0];
    let script = script.replace("127.0.0.1:9090", &t.control.unwrap().to_string());
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["-ec", &script]);
    for (name, value) in [
        ("OPENID", &who["openid"]),
        ("ENCRYPTED_DATA", &phone["encryptedData"]),
        ("IV", &phone["iv"]),
        ("SIGNATURE", &hello["signature"]),
    ] {
        bash.env(name, value.as_str().unwrap());
    }
    let ran = bash.env("no_proxy", "*").output().await.unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{said}");
    let (_, said) = said.split_once(phone["rawData"].as_str().unwrap()).unwrap();
    let (valid, said) = said.split_once(r#"{"signature":""#).unwrap();
    assert_eq!(valid, r#"{"valid":true}"#);
    let (_, said) = said.split_once(r#""sig_method":"hmac_sha256"}"#).unwrap();
    assert_eq!(said, r#"{"valid":true}{"reset":true}"#);
}

#[tokio::test]
async fn the_calls_to_wechat_are_answered_as_the_pages_say() {
    let t = TestGateway::builder()
        .section("headers", "relay_token = true")
        .start()
        .await;
    let grant = t.log_in("alice").await;
    let who = t.who(&grant.token).await;
    t.get_as("/orders", &grant.token).await;
    let headers = t.upstream.last().headers;
    let is_token =
        |(name, _): &&(String, String)| name.eq_ignore_ascii_case("x-wx-cloudbase-access-token");
    let (_, relay_token) = headers.iter().find(is_token).unwrap();
    let tap = json!({"appid": TestGateway::appid("shop"), "user": "alice"});
    let tap = t.simulate("phone-code", tap).await;
    let folder = tempfile::tempdir().unwrap();
    let scripts = [blocks(CALL_WECHAT, "sh"), blocks(CLOUD_RUN, "sh")].concat();
    let script = scripts
        .join("\n")
        .replace("-o code.png", "-o code.png -w '%{http_code}'");
    let script = script.replace("127.0.0.1:9090", &t.control.unwrap().to_string());
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["-ec", &script]).current_dir(folder.path());
    for (name, value) in [
        ("OPENID", who["openid"].as_str().unwrap()),
        ("CODE", tap["code"].as_str().unwrap()),
        ("STALE", "90_made-up"),
        ("TOKEN", relay_token),
    ] {
        bash.env(name, value);
    }
    let ran = bash.output().await.unwrap();
    let said = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{said}");
    let ok = r#"{"errcode":0,"errmsg":"ok"}"#;
    assert!(said.starts_with(&format!("{ok}200{ok}")), "{said}");
    let phone = tap["phone"].as_str().unwrap();
    assert!(
        said.contains(&format!(r#"{{"phone_number":"{phone}""#)),
        "{said}"
    );
    assert_eq!(said.matches(r#""access_token""#).count(), 2, "{said}");
    assert!(said.ends_with("200200"), "{said}");
    let picture = fs::read(folder.path().join("code.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
}

/// Returns the second and the last cell but one of each row of a table of codes, from `heading` to the next.
fn codes_below(heading: &str) -> BTreeSet<&'static str> {
    let (_, part) = REFUSALS.split_once(heading).unwrap();
    let part = part.split("\n## ").next().unwrap();
    let rows = part
        .lines()
        .filter(|line| line.starts_with("| 4") || line.starts_with("| 5"));
    let cells = rows.map(|row| row.split('|').nth(2).unwrap());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

/// Returns the codes that a source file says: texts of small letters with an underscore.
fn codes_in(source: &'static str) -> BTreeSet<&'static str> {
    let is_code = |text: &&str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
        text.contains('_') && text.bytes().all(plain)
    };
    let source = source.split("#[cfg(test)]").next().unwrap();
    let texts = source.split('"').skip(1).step_by(2);
    texts.filter(is_code).collect()
}

#[test]
fn every_error_code_is_explained() {
    let public = codes_in(include_str!("../../src/request/denial.rs"));
    let private = codes_in(include_str!("../../src/control/denial.rs"));
    assert!(public.len() > 25 && private.len() > 10);
    let clients = codes_below("## To clients");
    assert_eq!(clients, public, "docs/en/refusals.md");
    let callers = codes_below("## To callers of the private listener");
    assert!(callers.is_subset(&private), "{callers:?}");
    let explained: BTreeSet<_> = clients.union(&callers).copied().collect();
    let missing: Vec<_> = private.difference(&explained).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_link_leads_somewhere() {
    let mut tried = 0;
    for Document { path, text } in documents() {
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            assert!(file.exists(), "{}: {target}", path.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&file).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#'));
                let mut anchors = headings.map(|heading| {
                    let heading = heading.trim_start_matches('#').trim().to_lowercase();
                    let kept = heading
                        .chars()
                        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
                    kept.collect::<String>().replace(' ', "-")
                });
                assert!(
                    anchors.any(|found| found == anchor),
                    "{}: {target}",
                    path.display()
                );
            }
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried}");
}

#[test]
fn the_readme_and_the_map_stay_short() {
    let map = include_str!("../../ARCHITECTURE.md");
    assert!(map.len() <= 8 * 1024, "{}", map.len());
    let lines = README.lines().count();
    assert!(lines <= 90, "{lines}");
}

#[test]
fn every_decision_is_listed_and_names_tests_that_exist() {
    let folder = find_repository().join("docs/decisions");
    let index = fs::read_to_string(folder.join("README.md")).unwrap();
    let mut number = 0;
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    names.sort();
    for name in names {
        number += 1;
        let text = fs::read_to_string(folder.join(&name)).unwrap();
        let (title, _) = text.split_once('\n').unwrap();
        let title = title.strip_prefix(&format!("# {number:04}. ")).unwrap();
        assert!(
            index.contains(&format!("- [{number:04}]({name}) {title}\n")),
            "{name}"
        );
        for heading in ["Context", "Decision", "Price", "Tests"] {
            assert!(
                text.contains(&format!("\n## {heading}\n\n")),
                "{name}: {heading}"
            );
        }
        let (_, tests) = text.split_once("\n## Tests\n\n").unwrap();
        for line in tests.lines() {
            let mut quoted = line.split('`').skip(1).step_by(2);
            let file = quoted.next().unwrap();
            let test = quoted.next().unwrap();
            let source = fs::read_to_string(find_repository().join(file)).unwrap_or_default();
            assert!(source.contains(&format!("fn {test}(")), "{name}: {line}");
        }
    }
    assert!((30..=40).contains(&number), "{number}");
}

/// Returns the first and the last cell of each row of a document's tables.
fn rows(text: &str) -> Vec<(&str, &str)> {
    let rows = text.lines().filter_map(|line| {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let (first, rest) = cells.split_once(" | ")?;
        Some((first, rest.rsplit(" | ").next()?))
    });
    rows.collect()
}

#[test]
fn every_term_of_the_lexicon_is_used_where_it_says() {
    let lexicon = include_str!("../../docs/lexicon.md");
    let (words, terms) = lexicon.split_once("## Terms of the field").unwrap();
    let src = find_repository().join("src");
    for (word, places) in rows(words) {
        for place in places.split('`').skip(1).step_by(2) {
            assert!(src.join(place).exists(), "{word}: {place}");
        }
    }
    let mut tried = 0;
    for (term, places) in rows(terms) {
        let term = term.split(" (").next().unwrap().to_lowercase();
        for place in places.split('`').skip(1).step_by(2) {
            let source = fs::read_to_string(src.join(place)).unwrap_or_default();
            assert!(source.to_lowercase().contains(&term), "{place}: {term}");
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let mut tried = 0;
    for Document { path, text } in documents() {
        for quoted in text.split('`').skip(1).step_by(2) {
            let known = ["src/", "tests/", "examples/", "docs/", "conf/", "benches/"];
            let is_path = known.iter().any(|folder| quoted.starts_with(folder))
                && !quoted.contains([' ', '*', '{', '\n', '…']);
            if is_path {
                assert!(
                    find_repository().join(quoted).exists(),
                    "{}: {quoted}",
                    path.display()
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

//! Code in the documents that is more than a line: the quick start's mini-program is run, the middleware of the page of backends is that of
//! `examples/`, and what no test runs is at least parsed by its language's parser.

use std::fs;
use std::path::Path;
use std::process::Command;

use menshen_test_support::{TestGateway, find_installed, find_repository, read_from_repository};

const QUICK_START: &str = include_str!("../../docs/en/quickstart.md");
const BACKENDS: &str = include_str!("../../docs/en/backends.md");

/// Each block of code of the page, and the file that it shows. Those of the first four are run by `tests/identity/checked_backends.rs`.
const SHOWN: [(&str, &str); 7] = [
    ("js", "express/assertion.js"),
    ("python", "flask/assertion.py"),
    ("python", "django/assertion.py"),
    ("go", "go/assertion.go"),
    ("php", "php/assertion.php"),
    ("java", "spring-boot/AssertionConfiguration.java"),
    ("csharp", "aspnet-core/Assertion.cs"),
];

/// The files that are parsed, and not run.
const PARSED: [&str; 5] = [
    "php/assertion.php",
    "spring-boot/AssertionConfiguration.java",
    "spring-boot/Orders.java",
    "aspnet-core/Assertion.cs",
    "aspnet-core/Program.cs",
];

/// Parses with tree-sitter, and says where it finds an error or misses something.
const PARSE: &str = r#"
import sys, tree_sitter, tree_sitter_java, tree_sitter_c_sharp
grammar = {"java": tree_sitter_java, "cs": tree_sitter_c_sharp}[sys.argv[1].rsplit(".", 1)[1]]
parser = tree_sitter.Parser(tree_sitter.Language(grammar.language()))
def bad(node):
    if node.is_error or node.is_missing:
        yield node
    for child in node.children:
        yield from bad(child)
found = list(bad(parser.parse(open(sys.argv[1], "rb").read()).root_node))
for node in found:
    print(f"{sys.argv[1]}:{node.start_point[0] + 1}: {node}")
sys.exit(bool(found))
"#;

/// Returns what the parser of a file's language has against it.
fn faults(path: &Path) -> Option<String> {
    let mut parser = if path.extension().is_some_and(|end| end == "php") {
        let mut php = Command::new("php");
        php.arg("-l");
        php
    } else {
        let python = find_installed("parsers/bin/python", "tree-sitter");
        let mut python = Command::new(python);
        python.args(["-c", PARSE]);
        python
    };
    let parsed = parser.arg(path).output();
    let parsed = parsed.unwrap_or_else(|error| {
        unreachable!("the parser is not installed, run `make test`: {error}")
    });
    let said = [parsed.stdout, parsed.stderr].concat();
    (!parsed.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_page_of_backends_shows_the_examples_middleware() {
    let mut blocks = BACKENDS.split("```").skip(1).step_by(2);
    let mut shown = blocks.by_ref().filter_map(|block| {
        let (language, code) = block.split_once('\n')?;
        (language != "toml").then_some((language, code))
    });
    for (language, file) in SHOWN {
        let text = read_from_repository(&format!("examples/{file}"));
        assert_eq!(shown.next(), Some((language, text.as_str())), "{file}");
    }
    assert_eq!(shown.next(), None);
}

#[test]
fn what_no_test_runs_is_parsed() {
    for file in PARSED {
        let example = find_repository().join("examples").join(file);
        assert_eq!(faults(&example), None, "{file}");
    }
}

#[test]
fn the_parsers_find_a_missing_sign() {
    let folder = tempfile::tempdir().unwrap();
    for file in PARSED {
        let text = read_from_repository(&format!("examples/{file}"));
        for sign in ['{', ')', ';'] {
            let (before, after) = text.rsplit_once(sign).unwrap();
            let path = folder.path().join(Path::new(file).file_name().unwrap());
            fs::write(&path, [before, after].concat()).unwrap();
            assert!(faults(&path).is_some(), "{file} without its last {sign}");
        }
    }
}

/// A `wx` that has a code of its own, and asks as WeChat's client does: what has a status is a success.
const WX: &str = r"
globalThis.wx = {
  login: ({ success }) => setImmediate(success, { code: process.env.CODE }),
  request: ({ url, method = 'GET', data, header, success, fail }) => {
    const body = data && JSON.stringify(data);
    fetch(url, { method, headers: header, body })
      .then(async (reply) => {
        let data = await reply.text();
        try { data = JSON.parse(data); } catch {}
        success({ statusCode: reply.status, data });
      }, (reason) => fail({ errMsg: `${reason}` }));
  },
};
";

/// Runs the mini-program of the quick start, and returns what it writes.
async fn quick_start(gateway: &str, code: &str) -> String {
    let (_, code_block) = QUICK_START.split_once("```js\n").unwrap_or_default();
    let (program, _) = code_block.split_once("```").unwrap_or_default();
    let program = program.replace("http://127.0.0.1:8080", gateway);
    let node = tokio::process::Command::new("node")
        .args(["-e", &format!("{WX}{program}")])
        .env("CODE", code)
        .output();
    let ran = node.await.unwrap_or_else(|error| {
        unreachable!("node is not installed, run `make test`: {error}");
    });
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

#[tokio::test]
async fn the_quick_starts_mini_program_logs_in_and_says_what_is_wrong() {
    let t = TestGateway::start().await;
    let said = quick_start(&t.url(""), &t.code("alice").await).await;
    assert!(said.starts_with("200 "), "{said}");
    let token = t.log_in("alice").await.token;
    let alice = t.who(&token).await;
    assert_eq!(
        t.upstream.last().only("x-wx-openid"),
        alice["openid"].as_str()
    );
    let said = quick_start(&t.url(""), "0a1b2c3d4e5f").await;
    assert!(said.contains("code_invalid"), "{said}");
    let said = quick_start("http://127.0.0.1:1", "0a1b2c3d4e5f").await;
    assert!(said.contains("errMsg"), "{said}");
}

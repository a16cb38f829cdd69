//! `menshen check --explain` says what the proxy does with the same request.

use menshen_test_support::{Builder, Ended, Program, TestGateway, raw, status};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

const ROUTES: &str = r#"
[[route]]
path = "/"
upstream = "api"

[[route]]
path = "/public"
upstream = "api"
auth = "public"

[[route]]
path = "/items"
upstream = "api"
auth = "public"
strip_prefix = true
methods = ["GET", "PUT"]

[[route]]
host = "*.shop.example"
path = "/blog"
upstream = "api"
auth = "optional"
apps = ["blog"]
"#;

fn builder() -> Builder {
    TestGateway::builder()
        .apps(&["shop", "blog"])
        .routes(ROUTES)
}

async fn explain(builder: &Builder, arguments: &[&str]) -> Ended {
    let site = builder.site_alone();
    let mut all = vec!["check", "--explain"];
    all.extend(arguments);
    Program::run(site.command(MENSHEN, &all)).await
}

/// Returns what is explained about a request of a configuration without problems.
async fn explained(method: &str, url: &str) -> String {
    let ended = explain(&builder(), &[method, url]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{url}");
    ended.stdout
}

#[tokio::test]
async fn the_route_is_named_with_every_reason() {
    assert_eq!(
        explained("GET", "https://a.shop.example/blog/%61?x=1").await,
        "route 4 of 4 takes it\n\
         \x20 host      \"a.shop.example\" is below \"shop.example\"\n\
         \x20 prefix    \"/blog\" is the longest that \"/blog/a\" is at or below\n\
         \x20 method    any\n\
         \x20 auth      optional: users of blog are named to the upstream\n\
         \x20 no token  goes through\n\
         \x20 upstream  api (127.0.0.1:1)\n\
         \x20 forwards  GET /blog/a?x=1\n"
    );
    assert_eq!(
        explained("PUT", "http://any.example:8080/items").await,
        "route 3 of 4 takes it\n\
         \x20 host      any\n\
         \x20 prefix    \"/items\" is the longest that \"/items\" is at or below\n\
         \x20 method    PUT is one of GET, PUT\n\
         \x20 auth      public: nobody is identified\n\
         \x20 no token  goes through\n\
         \x20 upstream  api (127.0.0.1:1)\n\
         \x20 forwards  PUT /\n"
    );
    let said = explained("GET", "http://h").await;
    assert!(said.contains("auth      required: only users of shop, blog\n"));
    assert!(said.contains("no token  401 token_missing: "), "{said}");
    assert!(said.ends_with("forwards  GET /\n"), "{said}");
}

#[tokio::test]
async fn a_refusal_is_named_with_its_reason() {
    for (method, url, refusal, reason) in [
        (
            "POST",
            "http://h/items",
            "405 method_not_allowed",
            "method    POST is allowed not here, only GET, PUT",
        ),
        (
            "TRACE",
            "http://h/",
            "405 method_not_allowed",
            "method    TRACE is allowed nowhere",
        ),
        (
            "GET",
            "http://h/a/../b",
            "400 path_ambiguous",
            "dot segment",
        ),
        (
            "GET",
            "http://h/a/%252e%252e/b",
            "400 path_ambiguous",
            "perhaps when it is decoded again",
        ),
        (
            "GET",
            "http://h/%2570ublic",
            "400 path_ambiguous",
            "or read   \"/public\" takes route 2",
        ),
        (
            "GET",
            "http://h/%EF%BD%90ublic",
            "400 path_ambiguous",
            "or read   read without regard to case, or with look-alikes",
        ),
        (
            "GET",
            "http://h/PUBLIC/%2541",
            "400 path_ambiguous",
            "or read   read without regard to case, or with look-alikes",
        ),
        ("GET", "http://h/a#b", "400 bad_request", "A fragment"),
        (
            "GET",
            "http://h/public;/../x//public",
            "400 path_ambiguous",
            "dot segment",
        ),
        (
            "GET",
            "http://h/x//_auth;y/login",
            "route 1",
            "forwards  GET /x//_auth;y/login",
        ),
        (
            "GET",
            "http://h//public",
            "400 path_ambiguous",
            "or read   \"/public\" takes route 2",
        ),
        (
            "POST",
            "http://h/_auth;x/login",
            "400 path_ambiguous",
            "or read   \"/_auth/login\" is below auth_path \"/_auth\"",
        ),
        (
            "GET",
            "http://h/?a%20b c",
            "400 bad_request",
            "The first line",
        ),
        ("GET", "http://user@h/", "400 bad_request", "host name"),
        (
            "GET",
            "http://h/_auth/nothing",
            "404 route_unknown",
            "prefix    below auth_path \"/_auth\"",
        ),
    ] {
        let said = explained(method, url).await;
        assert!(said.contains(refusal), "{method} {url}: {said}");
        assert!(said.contains(reason), "{method} {url}: {said}");
    }
    let routes = "[[route]]\nhost = \"only.example\"\npath = \"/x\"\nupstream = \"api\"\n";
    let builder = TestGateway::builder().routes(routes);
    let said = explain(&builder, &["GET", "http://h/y"]).await.stdout;
    assert!(said.starts_with("refused: 404 route_unknown"), "{said}");
    assert!(said.contains("for host \"h\" and path \"/y\""), "{said}");
}

#[tokio::test]
async fn what_only_begins_like_a_prefix_is_said_not_to_be_below_it() {
    for path in ["/public.json", "/public.", "/public%20", "/Publicity/a"] {
        let said = explained("GET", &format!("http://h{path}")).await;
        assert!(said.starts_with("route 1 of 4 takes it"), "{said}");
        let why = "not below \"/public\": a prefix is a whole path or ends before a \"/\"";
        assert!(said.contains(why), "{said}");
    }
    for path in ["/public", "/public/", "/public/publicity", "/x/public.json"] {
        let said = explained("GET", &format!("http://h{path}")).await;
        assert!(!said.contains("not below"), "{said}");
    }
}

#[tokio::test]
async fn what_menshen_answers_itself_takes_no_route() {
    assert_eq!(
        explained("POST", "http://h/_auth/login").await,
        "Menshen answers it itself\n  prefix    below auth_path \"/_auth\"\n"
    );
}

#[tokio::test]
async fn the_proxy_does_what_is_explained() {
    let t = builder().start().await;
    for (method, host, target) in [
        ("GET", "h", "/public/a"),
        ("GET", "h", "/%70ublic/%7ea?b=%63"),
        ("PUT", "h", "/items/1//2"),
        ("DELETE", "h", "/items/1"),
        ("GET", "x.shop.example", "/blog"),
        ("GET", "shop.example", "/blog"),
        ("GET", "h", "/public/..%2fitems"),
        ("GET", "h", "//public"),
        ("GET", "h", "/public/%252e%252e/items"),
        ("GET", "h", "/public/%2520"),
        ("GET", "h", "/%EF%BD%90ublic"),
        ("GET", "h", "/public#x"),
        ("GET", "h:x", "/public"),
        ("GET", "[[[]", "/public"),
        ("GET", "h", "/public?\""),
        ("GET", "h", "/public?a=<b>"),
        ("GET", "h", "/public/<b>"),
        ("GET", "h", "/public/\"{|}"),
        ("GET", "h", "/public/`"),
        ("CONNECT", "h", "/public"),
        ("GET", "h", "/_auth/session"),
        ("GET", "h", "/_auth/other"),
    ] {
        let before = t.upstream.requests();
        let sent = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(t.address, sent.as_bytes()).await;
        let said = explained(method, &format!("http://{host}{target}")).await;
        if t.upstream.requests() > before {
            let got = t.upstream.last();
            let line = format!("forwards  {} {}\n", got.method, got.target);
            assert!(said.ends_with(&line), "{said}");
            assert!(said.contains("no token  goes through"), "{said}");
        } else if target == "/_auth/session" {
            assert!(said.starts_with("Menshen answers it itself"), "{said}");
        } else {
            let status = status(&answer);
            let told = said
                .lines()
                .find(|line| line.contains(&format!("{status} ")));
            let code = told.and_then(|line| line.split(&format!("{status} ")).nth(1));
            let code = code.unwrap_or_else(|| unreachable!("{said} {answer}"));
            let code = code.split(':').next().unwrap();
            assert!(
                answer.contains(&format!("\"error\":\"{code}\"")),
                "{said} {answer}"
            );
        }
    }
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_bad_usage() {
    for arguments in [
        &["GET"][..],
        &["GET", "/path"],
        &["GET", "ftp://h/"],
        &["GET", "http:///x"],
        &["GET", "h/x"],
        &["G T", "http://h/"],
        &["", "http://h/"],
        &["GET", "http://h/", "--probe"],
    ] {
        let ended = explain(&builder(), arguments).await;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}"
        );
        assert_ne!(ended.stderr, "", "{arguments:?}");
    }
    let broken = builder().section("server", "frobnicate = 1");
    let ended = explain(&broken, &["GET", "http://h/"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("frobnicate"), "{}", ended.stderr);
}

#[tokio::test]
async fn an_explanation_leaves_nothing_behind() {
    let site = builder().site_alone();
    let command = site.command(MENSHEN, &["check", "--explain", "GET", "http://h/"]);
    let before = std::fs::read_dir(&site.folder).unwrap().count();
    assert_eq!(Program::run(command).await.code, Some(0));
    let after = std::fs::read_dir(&site.folder).unwrap().count();
    assert_eq!(before, after);
}

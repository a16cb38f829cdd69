//! A request that was refused is explained from its id alone, to whoever may know, without a secret in it.

use std::fs;

use menshen_test_support::{
    Builder, CONTROL_SECRET, Collector, Node, Nodes, Program, Reply, TestGateway, raw,
};
use serde_json::{Value, json};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const CRM: &str = "0000000000000000000000000000crm0";
const PROMETHEUS: &str = "0000000000000000000000prometheus";

async fn explain(t: &TestGateway, id: &str) -> Value {
    let reply = Reply::of(t.control("GET", &format!("/v1/requests/{id}"))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn builder() -> Builder {
    TestGateway::builder().apps(&["shop", "club"]).routes(
        "[[route]]\npath = \"/\"\nupstream = \"api\"\n\
         [[route]]\npath = \"/shop\"\nupstream = \"api\"\napps = [\"shop\"]\n\
         [[route]]\npath = \"/public\"\nupstream = \"api\"\nauth = \"public\"\n",
    )
}

#[tokio::test]
async fn a_refusal_is_explained_by_the_id_that_the_client_was_told() {
    let t = builder().start().await;
    let refused = Reply::of(
        t.get("/shop/orders?code=0secret")
            .bearer_auth("eyJh.eyJh.eyJh"),
    )
    .await;
    let id = refused.json()["request_id"].as_str().unwrap().to_owned();
    let told = explain(&t, &id).await;
    for (name, expected) in [
        ("request_id", json!(id)),
        ("decision", json!("refused")),
        ("reason", json!("token_invalid")),
        ("token_fault", json!("not a JWT")),
        ("status", json!(401)),
        ("request", json!("GET /shop/orders")),
        (
            "route",
            json!({"host": null, "path": "/shop", "upstream": "api"}),
        ),
        ("credential", json!("bearer")),
        ("app", json!(null)),
        ("session", json!(null)),
        ("client", json!("127.0.0.1")),
        ("upstream_ms", json!(null)),
        ("message", json!("The token is not valid; log in again.")),
    ] {
        assert_eq!(told[name], expected, "{name}: {told}");
    }
    assert!(told["elapsed_ms"].is_f64(), "{told}");
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    assert_eq!(text("client_should"), "Log in again.");
    assert!(text("operator_should").contains("keys_dir"), "{told}");
    assert!(humantime::parse_rfc3339(&text("ended")).is_ok(), "{told}");
    assert!(!told.to_string().contains("0secret"), "{told}");
}

#[tokio::test]
async fn every_kind_of_credential_is_told_and_none_is_shown() {
    let t = builder().start().await;
    let grant = t.log_in("alice").await;
    let code = t.code("bob").await;
    let ours = t.session_id(&grant.token).await;
    for (request, credential, decision) in [
        (
            t.get("/orders").bearer_auth(&grant.token),
            "bearer",
            "authenticated",
        ),
        (t.get("/orders"), "none", "refused"),
        (t.get("/public"), "none", "public"),
        (
            t.get("/orders")
                .header("X-WX-Code", &code)
                .header("X-Menshen-App", "shop"),
            "code",
            "authenticated",
        ),
        (
            t.get("/orders").header("Cookie", "menshen=a~b"),
            "cookie",
            "refused",
        ),
        (
            t.get("/orders")
                .bearer_auth(&grant.token)
                .header("X-WX-Code", "0abc"),
            "several",
            "refused",
        ),
        (
            t.request("POST", "/_auth/login")
                .json(&json!({"code": "0abc", "app": "shop"})),
            "login_code",
            "refused",
        ),
        (
            t.request("POST", "/_auth/refresh")
                .json(&json!({"refresh_token": "abc"})),
            "refresh_token",
            "refused",
        ),
        (
            t.get("/_auth/session").bearer_auth(&grant.token),
            "bearer",
            "own",
        ),
        (t.get("/_auth/ticket/made-up-ticket"), "ticket", "refused"),
        // However it is misspelt: it is refused before anybody took the ticket.
        (t.get("/_auth//ticket/made-up-ticket"), "none", "refused"),
        (t.get("/_AUTH/Ticket/made-up-ticket"), "none", "refused"),
        (t.get("/_auth/ticket%2Fmade-up-ticket"), "none", "refused"),
    ] {
        let reply = Reply::of(request).await;
        let told = explain(&t, reply.header("x-request-id")).await;
        assert_eq!(
            (&told["credential"], &told["decision"]),
            (&json!(credential), &json!(decision)),
            "{told}"
        );
        assert_eq!(told["status"], reply.status, "{told}");
        let text = told.to_string();
        for secret in [
            &*grant.token,
            &*grant.refresh_token,
            &*code,
            "0abc",
            "a~b",
            "made-up-ticket",
        ] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let reply = t.get_as("/orders", &grant.token).await;
    let told = explain(&t, reply.header("x-request-id")).await;
    assert_eq!(
        (&told["app"], &told["session"]),
        (&json!("shop"), &json!(ours)),
        "{told}"
    );
    assert!(told["upstream_ms"].is_f64(), "{told}");
}

#[tokio::test]
async fn the_trace_of_a_request_is_told_whether_there_is_a_record_of_it_or_not() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let collector = Collector::start().await;
    let traces = format!("{}\nsample = 0", collector.line());
    let traced = builder().section("traces", &traces).start().await;
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    for t in [builder().start().await, traced] {
        let refused = t.get("/orders").header("traceparent", &parent);
        let refused = Reply::of(refused).await;
        let told = explain(&t, refused.header("x-request-id")).await;
        assert_eq!(told["trace_id"], TRACE, "{told}");
    }
    // What is no trace is none, and nothing else of it is told.
    let t = builder().start().await;
    let odd = t.get("/orders").header("traceparent", "00-xyz-01");
    let told = explain(&t, Reply::of(odd).await.header("x-request-id")).await;
    assert_eq!(told["trace_id"], Value::Null, "{told}");
}

#[tokio::test]
async fn what_was_refused_unread_is_explained_too() {
    let t = builder().start().await;
    let address = t.address;
    let answer = raw(address, b"GET / x HTTP/1.1\r\nHost: here\r\n\r\n").await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let told = explain(&t, body["request_id"].as_str().unwrap()).await;
    assert_eq!(
        (&told["reason"], &told["status"]),
        (&json!("bad_request"), &json!(400)),
        "{told}"
    );
}

#[tokio::test]
async fn an_id_that_is_not_there_or_none_is_refused() {
    let t = builder().start().await;
    for (id, status, error) in [
        ("0123456789abcdef0123456789abcdef", 404, "request_unknown"),
        ("somebodys", 404, "request_unknown"),
        ("a;b", 400, "bad_request"),
        ("a%20b", 400, "bad_request"),
        (&*"a".repeat(129), 400, "bad_request"),
        ("", 404, "route_unknown"),
    ] {
        let reply = Reply::of(t.control("GET", &format!("/v1/requests/{id}"))).await;
        reply.refused(status, error);
    }
}

#[tokio::test]
async fn the_id_that_a_trusted_proxy_gave_is_found_and_anybody_elses_is_not() {
    let trusting = builder().trust_local_proxies();
    let (trusting, other) = (trusting.start().await, builder().start().await);
    for (t, is_found) in [(&trusting, true), (&other, false)] {
        Reply::of(t.get("/orders").header("X-Request-Id", "a-proxys.1")).await;
        let reply = Reply::of(t.control("GET", "/v1/requests/a-proxys.1")).await;
        assert_eq!(reply.status == 200, is_found, "{}", reply.text());
    }
}

#[tokio::test]
async fn a_caller_is_told_of_its_own_apps_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, secret: &str| {
        let path = folder.path().join(name);
        fs::write(&path, secret).unwrap();
        path.display().to_string()
    };
    let callers = format!(
        "secret_env = \"CONTROL_SECRET\"\n\
         [[control.caller]]\nname = \"crm\"\nsecret_file = \"{}\"\napps = [\"shop\"]\ncalls = [\"explain_request\"]\n\
         [[control.caller]]\nname = \"prometheus\"\nsecret_file = \"{}\"\ncalls = [\"metrics\"]\n",
        file("crm", CRM),
        file("prometheus", PROMETHEUS)
    );
    let t = builder().section("control", &callers).start().await;
    let ask = async |secret: &str, id: &str| {
        let asked = t.control("GET", &format!("/v1/requests/{id}"));
        Reply::of(asked.bearer_auth(secret)).await
    };
    let (shop, club) = (
        t.log_in_to("shop", "alice").await.token,
        t.log_in_to("club", "alice").await.token,
    );
    for (request, is_theirs) in [
        (t.get("/orders").bearer_auth(&shop), true),
        (t.get("/orders").bearer_auth(&club), false),
        // Refused before anybody knew whose it is: on a route of theirs alone, and on one of all.
        (t.get("/shop"), true),
        (t.get("/orders"), false),
        (t.get("/_auth/nothing"), false),
    ] {
        let reply = Reply::of(request).await;
        let id = reply.header("x-request-id");
        assert_eq!(ask(CONTROL_SECRET, id).await.status, 200);
        let told = ask(CRM, id).await;
        match is_theirs {
            true => assert_eq!(told.status, 200, "{}", told.text()),
            false => drop(told.refused(404, "request_unknown")),
        }
        ask(PROMETHEUS, id).await.refused(403, "call_not_allowed");
        ask("no secret at all", id)
            .await
            .refused(401, "token_invalid");
    }
}

/// Runs the command, and returns its exit code and what it printed.
async fn command(nodes: &Nodes, arguments: &[&str]) -> (Option<i32>, String, String) {
    let all = [&["explain-request"][..], arguments].concat();
    let ended = Program::run(nodes.command_to(MENSHEN, &all)).await;
    (ended.code, ended.stdout, ended.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_asks_the_process_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    for control in [
        "listen = \"127.0.0.1:0\"\nsecret_env = \"CONTROL_SECRET\"".to_owned(),
        format!("listen = \"unix:{}\"", socket.display()),
    ] {
        let nodes = Nodes::new(TestGateway::builder().section("control", &control)).await;
        let node: Node = nodes.serve(MENSHEN).await;
        if control.contains("127.0.0.1:0") {
            // The command finds it where the file says.
            let address = node.program.find_control_address().await;
            nodes.site.change(
                "listen = \"127.0.0.1:0\"\nsecret_env",
                &format!("listen = \"{address}\"\nsecret_env"),
            );
        }
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let refused = node.request("GET", "/orders?<script>");
        let reply = Reply::of(refused.header("traceparent", parent)).await;
        let id = reply.header("x-request-id");
        let (code, said, complaint) = command(&nodes, &[id]).await;
        assert_eq!(code, Some(0), "{complaint}");
        for line in [
            "request: GET /orders",
            "status: 401",
            "decision: refused",
            "reason: token_missing",
            "credential: none",
            "trace: 4bf92f3577b34da6a3ce929d0e0e4736",
            "the client should: Log in, and send Authorization: Bearer TOKEN.",
        ] {
            assert!(said.lines().any(|found| found == line), "{line}\n{said}");
        }
        let (code, said, _) = command(&nodes, &[id, "--json"]).await;
        let told: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((code, &told["reason"]), (Some(0), &json!("token_missing")));
        let (code, said, complaint) = command(&nodes, &["never-was"]).await;
        assert_eq!((code, &*said), (Some(1), ""), "{complaint}");
        assert!(complaint.contains("request_unknown"), "{complaint}");
        let (code, ..) = command(&nodes, &["a b"]).await;
        assert_eq!(code, Some(2));
        node.program.stop().await;
        let (code, _, complaint) = command(&nodes, &[id]).await;
        assert_eq!(code, Some(1), "{complaint}");
        assert!(complaint.contains("cannot be reached"), "{complaint}");
    }
}

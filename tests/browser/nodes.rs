//! Browsers in front of several nodes: whichever of them answers, a login, a ticket and a logout are the same.

use std::net::SocketAddr;
use std::time::Duration;

use menshen_test_support::redis::Redis;
use menshen_test_support::{Builder, Node, Nodes, Reply, TestGateway, WECHAT_AGENT};
use reqwest::header::SET_COOKIE;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(20);

/// Two nodes that browsers take for one host, as behind a balancer.
struct Pair {
    _nodes: Nodes,
    one: Node,
    other: Node,
    _redis: Redis,
}

/// Describes nodes that browsers take for one host.
pub(super) fn one_host() -> Builder {
    TestGateway::builder()
        .section("server", "public_url = \"http://shop.example\"")
        .web_app("news", "kind = \"official_account\"")
        .routes(crate::ROUTES)
}

async fn pair() -> Pair {
    let redis = Redis::durable();
    let nodes = Nodes::over_with(one_host(), &redis.url()).await;
    let binary = env!("CARGO_BIN_EXE_menshen");
    let (one, other) = (nodes.serve(binary).await, nodes.serve(binary).await);
    let settings = json!({"appid": TestGateway::appid("news"), "agrees": "alice"});
    one.simulate("oauth", settings).await;
    Pair {
        _nodes: nodes,
        one,
        other,
        _redis: redis,
    }
}

pub(super) async fn load(address: SocketAddr, path: &str, cookies: &str) -> Reply {
    let request = http()
        .get(format!("http://{address}{path}"))
        .header("host", "shop.example")
        .header("accept", "text/html")
        .header("user-agent", WECHAT_AGENT)
        .header("cookie", cookies);
    Reply::of(request).await
}

pub(super) fn cookies(reply: &Reply) -> String {
    let lines = reply.headers.get_all(SET_COOKIE).iter();
    let pairs = lines.map(|line| line.to_str().unwrap().split(';').next().unwrap());
    pairs.collect::<Vec<_>>().join("; ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_begins_on_one_node_and_ends_on_another_once() {
    let Pair {
        one,
        other,
        _nodes,
        _redis,
    } = pair().await;
    let begun = load(one.address, "/orders", "").await;
    assert_eq!(begun.status, 302, "{}", begun.text());
    let bound = cookies(&begun);
    let link = begun.header("location").to_owned();
    let wechat = Reply::of(http().get(link)).await;
    let callback = wechat.header("location").replace("http://shop.example", "");
    let (mine, its) = tokio::join!(
        load(one.address, &callback, &bound),
        load(other.address, &callback, &bound)
    );
    let again = load(other.address, &callback, &bound).await;
    let mut sessions = Vec::new();
    for (reply, address) in [
        (&mine, other.address),
        (&its, one.address),
        (&again, one.address),
    ] {
        assert_eq!((reply.status, reply.header("location")), (302, "/orders"));
        let about = load(address, "/_auth/session", &cookies(reply))
            .await
            .json();
        sessions.push(about["session"].as_str().unwrap().to_owned());
    }
    assert!(
        sessions.windows(2).all(|pair| pair[0] == pair[1]),
        "{sessions:?}"
    );
    assert_eq!(one.calls("/sns/oauth2/access_token").await, 1);
    // Another code for the same state, wherever it is brought.
    let forged = callback.replace("code=", "code=x");
    assert_eq!(load(one.address, &forged, &bound).await.status, 401);
    let cookie = cookies(&mine);
    let out = http()
        .post(format!("http://{}/_auth/logout", one.address))
        .header("host", "shop.example")
        .header("cookie", &cookie);
    assert_eq!(Reply::of(out).await.status, 204);
    let ended = async {
        while load(other.address, "/api/x", &cookie).await.status == 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let code = callback.split_once("code=").unwrap().1;
    let code = code.split('&').next().unwrap();
    for node in [&one, &other] {
        node.program.logs("/_auth/web/news/callback").await;
        let said = node.program.stderr();
        assert!(!said.contains(code) && !said.contains("menshen="), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_used_once_among_all_nodes() {
    let Pair {
        one,
        other,
        _nodes,
        _redis,
    } = pair().await;
    let code = one.code("bob").await;
    let login = http()
        .post(format!("http://{}/_auth/login", one.address))
        .json(&json!({"code": code}));
    let token = Reply::of(login).await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let asked = http()
        .post(format!("http://{}/_auth/ticket", one.address))
        .header("host", "shop.example")
        .bearer_auth(token);
    let path = Reply::of(asked).await.json()["path"]
        .as_str()
        .unwrap()
        .to_owned();
    let opened = load(one.address, &path, "").await;
    assert_eq!(opened.status, 302, "{}", opened.text());
    let cookie = cookies(&opened);
    assert_eq!(load(other.address, "/mini/x", &cookie).await.status, 200);
    assert_eq!(load(other.address, &path, "").await.status, 401);
    let ended = async {
        while load(one.address, "/mini/x", &cookie).await.status == 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let ticket = path.rsplit('/').next().unwrap();
    for node in [&one, &other] {
        node.program.logs("/_auth/ticket/…").await;
        assert!(!node.program.stderr().contains(ticket));
    }
}

pub(super) fn http() -> reqwest::Client {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    http.no_proxy().build().unwrap()
}

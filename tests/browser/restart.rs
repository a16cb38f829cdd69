//! What was used once stays so although the process is killed and starts anew: tickets, and the states of logins.

use std::net::SocketAddr;

use menshen_test_support::{Node, Nodes, Reply, TestGateway};
use serde_json::json;

use crate::nodes::{cookies, http, load, one_host};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

async fn nodes() -> (Nodes, Node) {
    let (nodes, node) = Nodes::start_one(one_host(), MENSHEN).await;
    let settings = json!({"appid": TestGateway::appid("news"), "agrees": "alice"});
    node.simulate("oauth", settings).await;
    (nodes, node)
}

async fn killed_and_started(nodes: &Nodes, node: Node) -> Node {
    node.program.signal("KILL").await;
    assert_eq!(node.program.ended().await.code, None);
    nodes.serve(MENSHEN).await
}

/// Asks for a ticket and returns the path that uses it.
async fn ticket(address: SocketAddr, token: &str) -> String {
    let asked = http()
        .post(format!("http://{address}/_auth/ticket"))
        .header("host", "shop.example")
        .bearer_auth(token);
    let told = Reply::of(asked).await.json();
    told["path"].as_str().unwrap().to_owned()
}

/// Loads what a script would, which is told more than a person.
async fn asked(address: SocketAddr, path: &str, cookies: &str) -> Reply {
    let request = http()
        .get(format!("http://{address}{path}"))
        .header("host", "shop.example")
        .header("sec-fetch-dest", "empty")
        .header("cookie", cookies);
    Reply::of(request).await
}

async fn session(address: SocketAddr, cookies: &str) -> String {
    let about = load(address, "/_auth/session", cookies).await.json();
    about["session"].as_str().unwrap().to_owned()
}

/// Begins a login in the official account, agrees, and returns the callback and what the browser keeps.
async fn agreed(address: SocketAddr) -> (String, String) {
    let begun = load(address, "/orders", "").await;
    let wechat = Reply::of(http().get(begun.header("location"))).await;
    let callback = wechat.header("location").replace("http://shop.example", "");
    (callback, cookies(&begun))
}

fn code_in(callback: &str) -> &str {
    let (_, code) = callback.split_once("code=").unwrap();
    code.split('&').next().unwrap()
}

#[tokio::test]
async fn a_second_use_of_a_ticket_ends_what_the_first_one_opened_before_the_process_was_killed() {
    let (nodes, node) = nodes().await;
    let grant = node.log_in("bob").await;
    let used = ticket(node.address, &grant.token).await;
    let fresh = ticket(node.address, &grant.token).await;
    let opened = load(node.address, &used, "").await;
    assert_eq!(opened.status, 302, "{}", opened.text());
    let cookie = cookies(&opened);
    let node = killed_and_started(&nodes, node).await;
    assert_eq!(load(node.address, "/mini/x", &cookie).await.status, 200);
    let second = asked(node.address, &used, "").await;
    second.refused(401, "ticket_invalid");
    assert_eq!(load(node.address, "/mini/x", &cookie).await.status, 401);
    asked(node.address, &used, "")
        .await
        .refused(401, "ticket_invalid");
    // One that nobody has used is as good as before, and so is the mini-program's session.
    assert_eq!(load(node.address, &fresh, "").await.status, 302);
    assert_eq!(node.get("/mini/x", &grant.token).await.status, 200);
}

#[tokio::test]
async fn a_state_is_good_for_one_code_although_the_process_was_killed() {
    let (nodes, node) = nodes().await;
    let (callback, bound) = agreed(node.address).await;
    let first = load(node.address, &callback, &bound).await;
    assert_eq!((first.status, first.header("location")), (302, "/orders"));
    let opened = session(node.address, &cookies(&first)).await;
    let node = killed_and_started(&nodes, node).await;
    let again = load(node.address, &callback, &bound).await;
    assert_eq!((again.status, again.header("location")), (302, "/orders"));
    assert_eq!(session(node.address, &cookies(&again)).await, opened);
    let calls = node.calls("/sns/oauth2/access_token").await;
    let (other, _) = agreed(node.address).await;
    let forged = callback.replace(code_in(&callback), code_in(&other));
    for _ in 0..2 {
        let refused = asked(node.address, &forged, &bound).await;
        refused.refused(401, "code_used");
    }
    assert_eq!(node.calls("/sns/oauth2/access_token").await, calls);
}

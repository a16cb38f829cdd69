//! No redirect ever leaves the hosts that are allowed.

use menshen_test_support::Visitor;

use crate::{builder, started};

/// What attackers put there, as it stands in the query.
const HOSTILE: [&str; 24] = [
    "//evil.example",
    "%2F%2Fevil.example",
    "%2F%252Fevil.example",
    "/%5Cevil.example",
    "%5C%5Cevil.example",
    "/%255Cevil.example",
    "/%09/evil.example",
    "%09//evil.example",
    "/%0D%0ASet-Cookie:a=b",
    "/%250d%250aSet-Cookie:a=b",
    "/%00",
    "https://evil.example",
    "https:evil.example",
    "https:%2F%2Fevil.example",
    "http://shop.example@evil.example",
    "https://www.shop.example.evil.example",
    "https://www.shop.example@evil.example",
    "https://www.shop.example%5C@evil.example",
    "https://www.shop.example//evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "/../..//evil.example",
    "/%EF%BC%8Fevil.example",
    "evil.example",
];

#[tokio::test]
async fn a_hostile_return_to_is_refused_before_anything_is_kept() {
    let t = started(builder().section("web", "return_to = [\"https://www.shop.example\"]")).await;
    let grant = t.log_in("alice").await;
    for hostile in HOSTILE {
        let ticket = t
            .http
            .post(t.url("/_auth/ticket"))
            .bearer_auth(&grant.token);
        let ticket = menshen_test_support::Reply::of(ticket).await.json();
        let ticket = format!("/_auth/ticket/{}", ticket["ticket"].as_str().unwrap());
        for endpoint in ["/_auth/web/site", "/_auth/web/news", &ticket] {
            let url = t.url(&format!("{endpoint}?return_to={hostile}"));
            let mut script = Visitor::new(&t).saying("sec-fetch-dest", "empty");
            let reply = script.load(&url).await;
            reply.refused(400, "return_to_invalid");
            assert!(reply.headers.get("location").is_none(), "{hostile}");
            assert!(reply.headers.get("set-cookie").is_none(), "{hostile}");
            let page = Visitor::new(&t).load(&url).await;
            assert!(!page.text().contains("evil.example"), "{hostile}");
        }
    }
    let twice = t.url("/_auth/web/site?return_to=/a&return_to=//evil.example");
    let mut script = Visitor::new(&t).saying("sec-fetch-dest", "empty");
    script.load(&twice).await.refused(400, "return_to_invalid");
}

#[tokio::test]
async fn a_configured_origin_and_any_path_here_are_returned_to() {
    let t = started(builder().section("web", "return_to = [\"https://www.shop.example\"]")).await;
    for (asked, location) in [
        (
            "https://www.shop.example/a?b=1",
            "https://www.shop.example/a?b=1",
        ),
        ("/a%23/b", "/a#/b"),
        ("/%E5%95%86%E5%93%81", "/%E5%95%86%E5%93%81"),
        (
            "/x%3Fnext=https://evil.example",
            "/x?next=https://evil.example",
        ),
    ] {
        let mut visitor = Visitor::new(&t);
        let begun = visitor
            .load(&t.url(&format!("/_auth/web/site?return_to={asked}")))
            .await;
        let wechat = visitor.load(begun.header("location")).await;
        let done = visitor.load(wechat.header("location")).await;
        assert_eq!(
            (done.status, done.header("location")),
            (302, location),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn a_page_load_with_an_odd_path_leads_nowhere_else() {
    let t = started(builder()).await;
    for path in [
        "//evil.example",
        "/%2fevil.example",
        "/\\evil.example",
        "/%5cevil.example",
    ] {
        let line = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\nConnection: close\r\n\r\n",
            t.host()
        );
        let answer = menshen_test_support::raw(t.address, line.as_bytes()).await;
        let answer = answer.to_lowercase();
        let location = answer.lines().find(|line| line.starts_with("location:"));
        // Where it is sent to WeChat, it comes back to a path of this host or not at all.
        if let Some(location) = location {
            assert!(location.contains(&t.simulator.to_string()), "{location}");
        }
    }
}

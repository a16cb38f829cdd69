//! What the gateway sets survives another proxy between it and the backend, whatever the client says in `Connection`.

use menshen_test_support::{
    Front, Kind, TestGateway, Upstream, folded, forged, raw_request, status,
};

async fn what_is_set_survives(kind: Kind) {
    let backend = Upstream::start().await;
    let hop = Front::plain(kind, backend.address).await;
    let upstream = format!(
        "[[upstream]]\nname = \"hop\"\nservers = [\"{}\"]\n",
        hop.address
    );
    let t = TestGateway::builder()
        .upstreams(&upstream)
        .routes("[[route]]\npath = \"/\"\nupstream = \"hop\"\n")
        .start()
        .await;
    let alice = t.log_in("alice").await;
    let own = t.identity(&alice).await;
    for named in [
        "close",
        "close, X-WX-OPENID, X-WX-SOURCE",
        "close, x-wx-openid, X-WX-APPID, X-WX-UNIONID, X-Menshen-App, X-Menshen-Session",
        "close, X-Original-Forwarded-For, X-Request-Id",
        "close, x_wx_openid, X.WX.SOURCE",
    ] {
        let mut lines = forged("victim");
        lines.push((
            "Authorization".to_owned(),
            format!("Bearer {}", alice.token),
        ));
        lines.push(("Connection".to_owned(), named.to_owned()));
        let before = backend.requests();
        let answer = raw_request(t.address, "GET /orders", &lines).await;
        assert_eq!(status(&answer), 200, "{named}: {answer}");
        assert_eq!(backend.requests(), before + 1);
        let received = backend.last();
        assert_eq!(received.identity(), own, "{named}: {}", received.head);
        assert_eq!(received.aliases("x-request-id").len(), 1, "{named}");
        let names = received.all("connection").into_iter().map(folded);
        assert!(names.into_iter().all(|names| !names.contains("x-")));
    }
}

// Without this, a hop that takes nothing away would prove nothing.
#[tokio::test]
async fn caddy_takes_away_what_connection_names() {
    let backend = Upstream::start().await;
    let hop = Front::plain(Kind::Caddy, backend.address).await;
    let lines = [
        ("X-WX-OPENID", "alice"),
        ("Connection", "close, X-WX-OPENID"),
    ];
    raw_request(hop.address, "GET /orders", &lines).await;
    assert!(backend.last().identity().is_empty());
}

#[tokio::test]
async fn what_is_set_survives_caddy() {
    what_is_set_survives(Kind::Caddy).await;
}

#[tokio::test]
async fn what_is_set_survives_nginx() {
    what_is_set_survives(Kind::Nginx).await;
}

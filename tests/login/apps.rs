//! Several apps behind one gateway: which one a login means, and which routes its tokens open.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use menshen_test_support::{Reply, TestGateway};
use serde_json::{Value, json};

/// Starts a gateway with the apps `shop` and `cafe`, a route of each and one of both.
async fn two_apps() -> TestGateway {
    TestGateway::builder()
        .apps(&["shop", "cafe"])
        .routes(
            "[[route]]\npath = \"/\"\nupstream = \"api\"\n\
             [[route]]\npath = \"/shop\"\nupstream = \"api\"\napps = [\"shop\"]\n\
             [[route]]\npath = \"/cafe\"\nupstream = \"api\"\napps = [\"cafe\"]\n\
             [[route]]\npath = \"/cafe/menu\"\nupstream = \"api\"\napps = [\"cafe\"]\nauth = \"optional\"\n",
        )
        .start()
        .await
}

fn referer(app: &str) -> String {
    format!(
        "https://servicewechat.com/{}/7/page-frame.html",
        TestGateway::appid(app)
    )
}

/// Logs in with a code of the app `cafe`, a `Referer` and these other members.
async fn log_in(t: &TestGateway, referer: Option<&str>, more: Value) -> Reply {
    let mut body = json!({"code": t.code_in("cafe", "alice").await});
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    let mut request = t.request("POST", "/_auth/login").json(&body);
    if let Some(referer) = referer {
        request = request.header("Referer", referer);
    }
    Reply::of(request).await
}

/// Returns the app that a login's token is for.
async fn app(t: &TestGateway, login: &Reply) -> Value {
    let json = login.json();
    let token = json["token"].as_str().unwrap();
    t.get_as("/_auth/session", token).await.json()["app"].clone()
}

#[tokio::test]
async fn a_login_says_which_app_it_is_for() {
    let t = two_apps().await;
    let login = log_in(&t, None, json!({"app": "cafe"})).await;
    assert_eq!(app(&t, &login).await, "cafe");
}

#[tokio::test]
async fn the_referer_of_a_mini_program_says_which_app_it_is() {
    let t = two_apps().await;
    let login = log_in(&t, Some(&referer("cafe")), json!({})).await;
    assert_eq!(app(&t, &login).await, "cafe");
}

#[tokio::test]
async fn a_name_counts_more_than_the_referer() {
    let t = two_apps().await;
    let login = log_in(&t, Some(&referer("shop")), json!({"app": "cafe"})).await;
    assert_eq!(app(&t, &login).await, "cafe");
}

#[tokio::test]
async fn a_login_that_could_mean_two_apps_spends_no_code() {
    let t = two_apps().await;
    let appid = TestGateway::appid("cafe");
    for referer in [
        None,
        Some("https://servicewechat.com/".to_owned()),
        Some("https://servicewechat.com/wx0000000000000000/7/page-frame.html".to_owned()),
        Some(format!("https://evil.example/{appid}/7/page-frame.html")),
        Some(format!(
            "https://servicewechat.com.evil.example/{appid}/7/page-frame.html"
        )),
        Some(format!(
            "http://servicewechat.com/{appid}/7/page-frame.html"
        )),
        Some(format!("https://servicewechat.com//{appid}/")),
        Some(format!("https://servicewechat.com/{appid}0/")),
        Some(appid.clone()),
    ] {
        let login = log_in(&t, referer.as_deref(), json!({})).await;
        assert_eq!(
            login.refusal(),
            (400, "app_ambiguous".to_owned()),
            "{referer:?}"
        );
    }
    assert_eq!(t.redeemed().await, 0);
}

#[tokio::test]
async fn a_login_for_an_unknown_app_spends_no_code() {
    let t = two_apps().await;
    let appid = TestGateway::appid("cafe");
    for name in ["Cafe", "cafe ", "unknown", appid.as_str()] {
        let login = log_in(&t, Some(&referer("cafe")), json!({"app": name})).await;
        assert_eq!(login.refusal(), (400, "app_unknown".to_owned()), "{name:?}");
    }
    assert_eq!(t.redeemed().await, 0);
}

#[tokio::test]
async fn what_stands_for_no_app_names_none() {
    let t = two_apps().await;
    for nothing in ["", "undefined", "null"] {
        let login = log_in(&t, None, json!({"app": nothing})).await;
        login.refused(400, "app_ambiguous");
        let login = log_in(&t, Some(&referer("cafe")), json!({"app": nothing})).await;
        assert_eq!(app(&t, &login).await, "cafe", "{nothing:?}");
    }
    assert_eq!(t.redeemed().await, 3);
}

#[tokio::test]
async fn a_code_of_another_app_is_refused() {
    let t = two_apps().await;
    let login = log_in(&t, None, json!({"app": "shop"})).await;
    assert_eq!(login.refusal(), (401, "code_invalid".to_owned()));
}

#[tokio::test]
async fn a_single_app_needs_no_name() {
    let t = TestGateway::start().await;
    let code = t.code("alice").await;
    let login = t.redeem(&code).await;
    assert_eq!(app(&t, &login).await, "shop");
}

#[tokio::test]
async fn a_token_opens_the_routes_of_its_app_only() {
    let t = two_apps().await;
    let shop = t.log_in_to("shop", "alice").await.token;
    assert_eq!(t.get_as("/shop", &shop).await.status, 200);
    assert_eq!(t.get_as("/either", &shop).await.status, 200);
    for path in ["/cafe", "/cafe/x", "/cafe/menu"] {
        let reply = t.get_as(path, &shop).await;
        assert_eq!(
            reply.refusal(),
            (403, "app_not_allowed".to_owned()),
            "{path}"
        );
    }
    assert_eq!(t.upstream.requests(), 2);
}

#[tokio::test]
async fn the_backend_is_told_the_app_of_the_token() {
    let t = two_apps().await;
    for name in ["shop", "cafe"] {
        let token = t.log_in_to(name, "alice").await.token;
        t.get_as("/either", &token).await;
        let received = t.upstream.last();
        assert_eq!(received.only("x-menshen-app"), Some(name));
        let appid = TestGateway::appid(name);
        assert_eq!(received.only("x-wx-appid"), Some(appid.as_str()));
    }
}

#[tokio::test]
async fn one_person_has_an_openid_for_each_app() {
    let t = two_apps().await;
    for name in ["shop", "cafe"] {
        let token = t.log_in_to(name, "alice").await.token;
        t.get_as("/either", &token).await;
    }
    let received = t.upstream.received();
    let of = |name: &str| -> Vec<&str> {
        received
            .iter()
            .map(|request| request.only(name).unwrap())
            .collect()
    };
    let (openids, unionids) = (of("x-wx-openid"), of("x-wx-unionid"));
    assert_ne!(openids[0], openids[1]);
    assert_eq!(unionids[0], unionids[1]);
}

#[tokio::test]
async fn a_first_request_is_for_the_only_app_of_its_route() {
    let t = two_apps().await;
    let code = t.code_in("cafe", "alice").await;
    let request = t.get("/cafe").header("X-WX-Code", code);
    assert_eq!(Reply::of(request).await.status, 200);
    assert_eq!(t.upstream.last().only("x-menshen-app"), Some("cafe"));
}

#[tokio::test]
async fn a_code_of_an_app_that_the_route_does_not_allow_is_not_spent() {
    let t = two_apps().await;
    let code = t.code_in("shop", "alice").await;
    for path in ["/cafe", "/cafe/menu"] {
        for app in [None, Some("cafe")] {
            let mut request = t.get(path).header("X-WX-Code", &code);
            request = request.header("Referer", referer("shop"));
            if let Some(app) = app {
                request = request.header("X-Menshen-App", app);
            }
            let reply = Reply::of(request).await;
            assert_eq!(reply.refusal(), (403, "app_not_allowed".to_owned()));
        }
    }
    assert_eq!((t.redeemed().await, t.upstream.requests()), (0, 0));
    let request = t.get("/shop").header("X-WX-Code", code);
    assert_eq!(
        Reply::of(request.header("Referer", referer("shop")))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_first_request_may_name_its_app() {
    let t = two_apps().await;
    let code = t.code_in("cafe", "alice").await;
    let request = t
        .get("/either")
        .header("X-WX-Code", code)
        .header("X-Menshen-App", "cafe");
    assert_eq!(Reply::of(request).await.status, 200);
    assert_eq!(t.upstream.last().only("x-menshen-app"), Some("cafe"));
}

#[tokio::test]
async fn a_first_request_may_come_from_a_mini_programs_page() {
    let t = two_apps().await;
    let code = t.code_in("cafe", "alice").await;
    let request = t
        .get("/either")
        .header("X-WX-Code", code)
        .header("Referer", referer("cafe"));
    assert_eq!(Reply::of(request).await.status, 200);
    assert_eq!(t.upstream.last().only("x-menshen-app"), Some("cafe"));
}

#[tokio::test]
async fn a_first_request_that_fits_no_app_spends_no_code() {
    let t = two_apps().await;
    for (path, app, refusal) in [
        ("/either", None, (400, "app_ambiguous")),
        ("/either", Some("unknown"), (400, "app_unknown")),
        ("/shop", Some("cafe"), (403, "app_not_allowed")),
        ("/cafe/menu", Some("shop"), (403, "app_not_allowed")),
        ("/shop", Some("unknown"), (400, "app_unknown")),
    ] {
        let code = t.code_in("cafe", "alice").await;
        let mut request = t.get(path).header("X-WX-Code", code);
        if let Some(app) = app {
            request = request.header("X-Menshen-App", app);
        }
        let reply = Reply::of(request).await;
        assert_eq!(reply.refusal(), (refusal.0, refusal.1.to_owned()), "{path}");
    }
    assert_eq!((t.redeemed().await, t.upstream.requests()), (0, 0));
}

#[tokio::test]
async fn a_session_is_of_no_use_without_its_app() {
    let builder = TestGateway::builder();
    let mut t = builder.clone().apps(&["shop", "cafe"]).start().await;
    let (shop, cafe) = (
        t.log_in_to("shop", "alice").await,
        t.log_in_to("cafe", "alice").await,
    );
    t.stop().await;
    let t = builder.start_in(t.folder).await;
    assert_eq!(t.get_as("/orders", &shop.token).await.status, 200);
    let reply = t.get_as("/orders", &cafe.token).await;
    assert_eq!(reply.refusal(), (401, "token_invalid".to_owned()));
    let body = json!({"refresh_token": cafe.refresh_token});
    let reply = t.post("/_auth/refresh", body).await;
    assert_eq!(reply.refusal(), (400, "app_unknown".to_owned()));
}

//! What `menshen check` finds out of what a file names: addresses, chains of certificates, their time, servers that are Menshen itself.

use std::fs;

use menshen_test_support::{
    Builder, Certificate, Ended, Program, Reply, Site, TestGateway, find_free_port, make_client,
};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

async fn check(site: &Site) -> Ended {
    let mut command = site.command(MENSHEN, &["check"]);
    command.env("SEAL_KEY", menshen_test_support::SEAL_KEY);
    command.env("REDIS_URL", "rediss://localhost:1");
    Program::run(command).await
}

/// Asserts that the check says this, or nothing, and how it ends.
async fn is_told(site: &Site, told: Option<&str>, code: i32) {
    let checked = check(site).await;
    let said = checked.said();
    assert_eq!(checked.code, Some(code), "{said}");
    match told {
        None => assert_eq!(checked.stderr, "", "{said}"),
        Some(told) => assert!(checked.stderr.contains(told), "{told}: {said}"),
    }
}

#[tokio::test]
async fn an_address_of_ipv4_that_ipv6_wraps_is_the_same_one() {
    for (listen, told) in [
        (
            "127.0.0.1:81\", \"[::ffff:127.0.0.1]:81",
            "names 127.0.0.1:81 twice",
        ),
        (
            "0.0.0.0:81\", \"[::ffff:0.0.0.0]:81",
            "names 0.0.0.0:81 twice",
        ),
        (
            "[::ffff:0.0.0.0]:81\", \"127.0.0.1:81",
            "cannot be listened on beside 0.0.0.0:81",
        ),
    ] {
        let site = TestGateway::builder().site_alone();
        site.change(
            "listen = [\"127.0.0.1:0\"]",
            &format!("listen = [\"{listen}\"]"),
        );
        is_told(&site, Some(told), 2).await;
    }
    // Alone it can be listened on.
    let site = TestGateway::builder().site_alone();
    site.change(
        "listen = [\"127.0.0.1:0\"]",
        "listen = [\"[::ffff:127.0.0.1]:0\"]",
    );
    is_told(&site, None, 0).await;
    let serving = Program::start(site.command(MENSHEN, &["serve"]));
    serving.find_address().await;
    assert_eq!(serving.stop().await.code, Some(0));
}

#[tokio::test]
async fn each_certificate_of_a_chain_is_followed_by_its_issuer() {
    let (leaf, [between, root]) = Certificate::issued_by_two("shop.example");
    let own = fs::read_to_string(leaf.folder().join("cert.pem")).unwrap();
    let other = Certificate::by_openssl("other.example", true, &[]);
    let other = fs::read_to_string(other.folder().join("cert.pem")).unwrap();
    let site = TestGateway::builder()
        .section("server", &leaf.lines())
        .site_alone();
    let broken = Some("certificate 2 in it did not issue the one before it");
    for (chain, told) in [
        (vec![&own], Some("holds the certificate alone")),
        (vec![&own, &between], None),
        (vec![&own, &between, &root], None),
        (vec![&own, &root], broken),
        (vec![&own, &own], broken),
        (vec![&own, &other], broken),
        (
            vec![&own, &between, &other],
            Some("certificate 3 in it did not issue the one before it"),
        ),
    ] {
        let text: String = chain.into_iter().map(String::as_str).collect();
        fs::write(leaf.folder().join("cert.pem"), text).unwrap();
        is_told(&site, told, 0).await;
    }
}

#[tokio::test]
async fn authorities_that_are_all_out_of_date_are_told() {
    let expired = Certificate::expired("a.example");
    let (good, _) = Certificate::issued_by_two("b.example");
    let read = |from: &Certificate| fs::read_to_string(from.folder().join("cert.pem")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.pem");
    let ca_file = format!("ca_file = '{}'", bundle.display());
    let builders: [(&str, Builder); 3] = [
        (
            "upstream.tls.ca_file: ",
            TestGateway::builder()
                .section("upstream", &format!("tls.enabled = true\ntls.{ca_file}")),
        ),
        (
            "wechat.ca_file: ",
            TestGateway::builder().section("wechat", &ca_file),
        ),
        (
            "traces.ca_file: ",
            TestGateway::builder().section(
                "traces",
                &format!("endpoint = \"https://127.0.0.1:1\"\n{ca_file}"),
            ),
        ),
    ];
    for (key, builder) in builders {
        fs::write(&bundle, read(&expired)).unwrap();
        let site = builder.site_alone();
        is_told(&site, Some(key), 0).await;
        is_told(&site, Some("has expired (2020-01-01T00:00:00Z)"), 0).await;
        let serving = Program::start(site.command(MENSHEN, &["serve"]));
        serving.logs("listening").await;
        assert!(serving.stderr().contains(key), "{}", serving.stderr());
        // Those of the system have some that are over, too.
        fs::write(&bundle, read(&expired) + &read(&good)).unwrap();
        is_told(&site, None, 0).await;
    }
}

#[tokio::test]
async fn what_is_shown_to_redis_must_not_be_out_of_date() {
    for (certificate, told, code) in [
        (Certificate::new("redis.example"), None, 0),
        (
            Certificate::expired("redis.example"),
            Some("session.redis_cert_file: a certificate in it has expired"),
            2,
        ),
    ] {
        let folder = certificate.folder().display();
        let lines = format!(
            "store = \"redis\"\nredis_url_env = \"REDIS_URL\"\nseal_key_env = \"SEAL_KEY\"\n\
             redis_cert_file = '{folder}/cert.pem'\nredis_key_file = '{folder}/key.pem'"
        );
        let site = TestGateway::builder()
            .section("session", &lines)
            .site_alone();
        is_told(&site, told, code).await;
    }
}

#[tokio::test]
async fn a_server_whose_name_leads_here_is_told() {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let port = find_free_port();
    let server = format!("{}:{port}", name.trim());
    let site = TestGateway::builder().make_public().site_alone();
    site.change(
        "servers = [\"127.0.0.1:1\"]",
        &format!("servers = [\"{server}\"]"),
    );
    // Another port of this machine is somebody else's.
    is_told(&site, None, 0).await;
    site.change(
        "listen = [\"127.0.0.1:0\"]",
        &format!("listen = [\"0.0.0.0:{port}\"]"),
    );
    let told = format!("{server} of api leads to Menshen itself (0.0.0.0:{port} of server.listen)");
    is_told(&site, Some(&told), 0).await;
    let serving = Program::start(site.command(MENSHEN, &["serve"]));
    serving.logs(&told).await;
    // A name may lead here later too.
    let url = format!("http://127.0.0.1:{port}/x");
    let reply = Reply::of(make_client().get(url)).await;
    reply.refused(502, "upstream_unreachable");
    serving.logs("requests are not sent there").await;
}

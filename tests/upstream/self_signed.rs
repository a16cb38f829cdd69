//! Servers that show a certificate of `openssl req -x509`, which is marked as an authority's: it is trusted where it is named.

use menshen_test_support::{Certificate, NOBODY, Program, Reply, TestGateway, Upstream, tls_front};

const NAME: &str = "api.internal";

/// A gateway before a server that shows `shown`, and trusts `trusted` for a name.
async fn gateway(
    shown: &Certificate,
    trusted: &Certificate,
    name: &str,
    more: &str,
) -> (TestGateway, Upstream) {
    menshen::app::install_crypto();
    let backend = Upstream::start().await;
    let front = tls_front(shown, backend.address).await;
    let upstream = format!(
        "[[upstream]]\nname = \"own\"\nservers = [\"{front}\"]\ntls.enabled = true\n\
         tls.server_name = \"{name}\"\ntls.ca_file = '{}/cert.pem'\n{more}\n",
        trusted.folder().display()
    );
    let routes = "[[route]]\npath = \"/\"\nupstream = \"own\"\nauth = \"public\"\n";
    let builder = TestGateway::builder().upstreams(&upstream).routes(routes);
    (builder.start().await, backend)
}

async fn status(t: &TestGateway) -> u16 {
    Reply::of(t.get("/x")).await.status
}

#[tokio::test]
async fn its_own_certificate_is_trusted_with_and_without_alternative_names() {
    for has_alternative in [true, false] {
        let own = Certificate::by_openssl(NAME, has_alternative, &[]);
        for protocol in ["", "protocol = \"auto\""] {
            let (t, backend) = gateway(&own, &own, NAME, protocol).await;
            // Twice, since the second may go on what the first one left.
            assert_eq!((status(&t).await, status(&t).await), (200, 200));
            assert_eq!(backend.requests(), 2);
        }
    }
}

#[tokio::test]
async fn a_health_check_trusts_it_too() {
    let own = Certificate::by_openssl(NAME, false, &[]);
    let health = "health.path = \"/healthz\"";
    let (_t, backend) = gateway(&own, &own, NAME, health).await;
    backend.arrived(1).await;
    assert_eq!(backend.last().target, "/healthz");
}

#[tokio::test]
async fn another_certificate_or_another_name_is_not_trusted() {
    let own = Certificate::by_openssl(NAME, true, &[]);
    let bare = Certificate::by_openssl(NAME, false, &[]);
    let forged = Certificate::by_openssl(NAME, true, &[]);
    for (shown, trusted, name) in [
        (&forged, &own, NAME),
        (&own, &forged, NAME),
        (&own, &own, "other.internal"),
        (&bare, &bare, "other.internal"),
        (&bare, &bare, "internal"),
    ] {
        let (t, backend) = gateway(shown, trusted, name, "").await;
        assert_eq!(status(&t).await, 502, "{name}");
        assert_eq!(backend.requests(), 0);
    }
}

#[tokio::test]
async fn one_that_is_not_valid_yet_is_not_trusted() {
    // By rcgen, since the OpenSSL of Debian 12 makes certificates that begin now.
    let early = Certificate::of_the_future(NAME);
    let (t, backend) = gateway(&early, &early, NAME, "").await;
    assert_eq!(status(&t).await, 502);
    let expired = Certificate::expired(NAME);
    let (t, _) = gateway(&expired, &expired, NAME, "").await;
    assert_eq!(status(&t).await, 502);
    assert_eq!(backend.requests(), 0);
}

#[tokio::test]
async fn a_check_finds_nothing_wrong_with_it() {
    let own = Certificate::by_openssl(NAME, false, &[]);
    let lines = format!(
        "tls.enabled = true\ntls.ca_file = '{}/cert.pem'",
        own.folder().display()
    );
    let builder = TestGateway::builder().section("upstream", &lines);
    let site = builder.site(NOBODY, builder.simulator().await);
    let checked = Program::run(site.command(env!("CARGO_BIN_EXE_menshen"), &["check"])).await;
    assert_eq!(checked.code, Some(0), "{}", checked.said());
}

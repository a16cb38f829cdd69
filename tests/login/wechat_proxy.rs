//! WeChat through a proxy, behind authorities of one's own, and below a path.

use menshen_test_support::{
    Certificate, ForwardProxy, Nodes, Program, Reply, TestGateway, tls_front,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const AUTH: &str = "me:a-pass:w0rd";

/// Replaces where WeChat is, which is known only once it is simulated.
fn lead(nodes: &Nodes, wechat: &str) {
    let direct = format!("api_base = \"http://{}\"", nodes.simulator());
    nodes.site.change(&direct, wechat);
}

#[tokio::test]
async fn a_proxy_connects_to_a_wechat_whose_authority_is_ones_own() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let certificate = Certificate::new("wechat.test");
    let front = tls_front(&certificate, nodes.simulator()).await;
    let proxy = ForwardProxy::asking_for(AUTH, front).await;
    std::fs::write(
        nodes.site.folder.path().join("proxy-auth"),
        format!("{AUTH}\n"),
    )
    .unwrap();
    let wechat = format!(
        "api_base = \"https://wechat.test\"\nproxy = \"http://{}\"\nproxy_auth_file = '{}/proxy-auth'\nca_file = '{}/cert.pem'",
        proxy.address,
        nodes.site.folder.path().display(),
        certificate.folder().display()
    );
    lead(&nodes, &wechat);
    let node = nodes.serve(MENSHEN).await;
    node.log_in("alice").await;
    let asked = proxy.asked();
    assert!(
        asked
            .iter()
            .all(|head| head.starts_with("CONNECT wechat.test:443 ")),
        "{asked:?}"
    );
    assert!(!node.program.stderr().contains("a-pass"));
}

#[tokio::test]
async fn a_proxy_passes_plain_http_on() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let proxy = ForwardProxy::asking_for(AUTH, nodes.simulator()).await;
    let wechat = format!(
        "api_base = \"http://wechat.test\"\nallow_plain_http = true\nproxy = \"http://{}\"\nproxy_auth_env = \"PROXY_AUTH\"",
        proxy.address
    );
    lead(&nodes, &wechat);
    let mut command = nodes.command(MENSHEN);
    command.env("PROXY_AUTH", AUTH);
    let node = nodes.join(Program::start(command)).await;
    node.log_in("alice").await;
    assert!(proxy.asked()[0].starts_with("GET http://wechat.test/sns/jscode2session?"));
}

#[tokio::test]
async fn the_environments_proxy_counts_only_where_the_file_says_so() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let proxy = ForwardProxy::asking_for("me:pw", nodes.simulator()).await;
    let url = format!("http://me:pw@{}", proxy.address);
    let environment = [
        ("HTTP_PROXY", &url),
        ("HTTPS_PROXY", &url),
        ("ALL_PROXY", &url),
    ];
    let with_environment = || {
        let mut command = nodes.command(MENSHEN);
        command.envs(environment);
        command
    };
    let node = nodes.join(Program::start(with_environment())).await;
    node.log_in("alice").await;
    assert_eq!(proxy.asked(), Vec::<String>::new());
    node.program.stop().await;

    let direct = format!("api_base = \"http://{}\"", nodes.simulator());
    nodes
        .site
        .change(&direct, &format!("{direct}\nproxy = \"environment\""));
    let node = nodes.join(Program::start(with_environment())).await;
    node.log_in("alice").await;
    assert_eq!(proxy.asked().len(), 1);
    node.program.stop().await;

    // Which one it was is told where it is in the way, without what it is shown.
    let mut command = with_environment();
    let elsewhere = url.replace("me:pw@", "me:pw7@zz9@");
    command.env("HTTP_PROXY", elsewhere);
    let node = nodes.join(Program::start(command)).await;
    Reply::of(node.login_with("0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p"))
        .await
        .refused(503, "wechat_unreachable");
    let told = format!("http://{}, of the environment", proxy.address);
    node.program.logs(&told).await;
    assert!(!node.program.stderr().contains("zz9"));
    node.program.stop().await;
    let asked = proxy.asked().len();

    let mut command = with_environment();
    command.env("NO_PROXY", "127.0.0.1");
    let node = nodes.join(Program::start(command)).await;
    node.log_in("alice").await;
    assert_eq!(proxy.asked().len(), asked);
}

#[tokio::test]
async fn the_api_may_be_below_a_path() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    // It takes the path off, as a gateway of one's own does.
    let (listener, simulator) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        nodes.simulator(),
    );
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let inner = head.replacen("GET /gw/wechat/", "GET /", 1);
            assert_ne!(inner, head);
            let inner = inner.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            let mut server = TcpStream::connect(simulator).await.unwrap();
            server.write_all(inner.as_bytes()).await.unwrap();
            let _ = tokio::io::copy(&mut server, &mut client).await;
        }
    });
    lead(
        &nodes,
        &format!("api_base = \"http://{address}/gw/wechat/\""),
    );
    nodes.serve(MENSHEN).await.log_in("alice").await;
}

#[tokio::test]
async fn check_looks_at_the_authorities_and_probes_through_the_proxy() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let proxy = ForwardProxy::start(nodes.simulator()).await;
    let direct = format!("api_base = \"http://{}\"", nodes.simulator());
    let wechat = format!("{direct}\nproxy = \"http://{}\"", proxy.address);
    lead(&nodes, &wechat);
    let checked = Program::run(nodes.command_to(MENSHEN, &["check", "--probe"])).await;
    assert_eq!(checked.code, Some(0), "{}", checked.said());
    assert_eq!(proxy.asked().len(), 1);
    let garbage = nodes.site.folder.path().join("ca.pem");
    std::fs::write(
        &garbage,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    nodes.site.change(
        &direct,
        &format!("{direct}\nca_file = '{}'", garbage.display()),
    );
    let checked = Program::run(nodes.command_to(MENSHEN, &["check"])).await;
    assert_eq!(checked.code, Some(2), "{}", checked.said());
    assert!(checked.stderr.contains("wechat"), "{}", checked.stderr);
}

#[tokio::test]
async fn a_self_signed_certificate_of_openssls_is_trusted_where_it_is_named() {
    for has_alternative in [true, false] {
        let nodes = Nodes::new(TestGateway::builder()).await;
        let certificate = Certificate::by_openssl("localhost", has_alternative, &[]);
        let front = tls_front(&certificate, nodes.simulator()).await;
        let wechat = format!(
            "api_base = \"https://localhost:{}\"\nca_file = '{}/cert.pem'",
            front.port(),
            certificate.folder().display()
        );
        lead(&nodes, &wechat);
        nodes.serve(MENSHEN).await.log_in("alice").await;
    }
}

//! Menshen reaches a Redis that wants TLS, a certificate and a password, with no more rights than it needs, and says at
//! the start what it lacks.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use menshen_test_support::redis::{Cluster, Group, MASTER, Redis};
use menshen_test_support::{Ended, Nodes, Program};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
/// The file that operators are told to begin with.
const ACL: &str = include_str!("../../examples/redis/users.acl");
const PASSWORD: &str = "a9w2-hidden-pa5sword";

/// Returns the words after `user menshen`, with the test's password.
fn rights() -> Vec<String> {
    let words = ACL.split_whitespace().skip(2);
    let words = words.map(|word| word.replace(">password", &format!(">{PASSWORD}")));
    words.collect()
}

fn allow(redis: &Redis, rights: &[String]) {
    let rights = rights.iter().map(String::as_str);
    let words: Vec<&str> = ["ACL", "SETUSER", "menshen", "reset"]
        .into_iter()
        .chain(rights)
        .collect();
    assert_eq!(redis.ask(&words), "OK");
}

fn url(scheme: &str, port: u16) -> String {
    format!("{scheme}://menshen:{PASSWORD}@127.0.0.1:{port}")
}

async fn serve(url: &str, session: &str) -> Ended {
    let nodes = Nodes::over(url, session).await;
    Program::run(nodes.command(MENSHEN)).await
}

/// Checks that a start failed for good with one sentence that holds a text and no secret.
#[track_caller]
fn refused(ended: &Ended, because: &str) {
    failed(ended, 2, because);
}

/// The same of a start that a supervisor should try again.
#[track_caller]
fn postponed(ended: &Ended, because: &str) {
    failed(ended, 1, because);
}

#[track_caller]
fn failed(ended: &Ended, code: i32, because: &str) {
    ended.check_failed(code);
    let told = ended.stderr.to_lowercase();
    assert!(told.contains("redis at 127.0.0.1:"), "{told}");
    assert!(told.contains(because), "{told}");
    for secret in [PASSWORD, menshen_test_support::SEAL_KEY] {
        assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
    }
}

/// Goes through everything that asks Redis something.
async fn works(url: &str, session: &str) {
    let nodes = Nodes::over(url, session).await;
    let node = nodes.serve(MENSHEN).await;
    let grant = node.log_in("alice").await;
    let other = node.log_in("alice").await;
    let grant = node.refreshed(&grant.refresh_token).await;
    node.log_out(&grant.token).await;
    let everywhere = node.logout(&other.token);
    let everywhere = everywhere.json(&serde_json::json!({"everywhere": true}));
    assert_eq!(everywhere.send().await.unwrap().status(), 204);
    let again = nodes.serve(MENSHEN).await;
    assert_eq!(again.get_as(&other.token).await.status, 401);
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // With the same name as those that it signs, it could not be told from them.
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn sign(&self, folder: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(folder.join(format!("{name}.pem")), signed.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// A folder with what both sides show and trust, and with a stranger's authority and certificate.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (authority, names) in [
        ("ca", &["server", "client"][..]),
        ("strange", &["stranger"]),
    ] {
        let ours = Authority::new(authority);
        fs::write(folder.path().join(format!("{authority}.pem")), &ours.pem).unwrap();
        names.iter().for_each(|name| ours.sign(folder.path(), name));
    }
    folder
}

fn trusting(folder: &TempDir, authority: &str, shown: Option<&str>) -> String {
    let folder = folder.path().display();
    let shown = shown.map(|name| {
        format!("redis_cert_file = '{folder}/{name}.pem'\nredis_key_file = '{folder}/{name}.key'")
    });
    let shown = shown.unwrap_or_default();
    format!("redis_ca_file = '{folder}/{authority}.pem'\n{shown}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_client_certificate_and_a_user_with_few_rights_works() {
    let folder = certificates();
    let redis = Redis::with_tls(folder.path());
    allow(&redis, &rights());
    let url = url("rediss", redis.port() + 10_000);
    works(&url, &trusting(&folder, "ca", Some("client"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_works_in_a_cluster() {
    let folder = certificates();
    let cluster = Cluster::with_tls(3, folder.path());
    let mut rights = rights();
    rights.push("+cluster|slots".to_owned());
    cluster.nodes.iter().for_each(|node| allow(node, &rights));
    let url = url("rediss", cluster.nodes[0].port() + 10_000);
    let session = trusting(&folder, "ca", Some("client"));
    works(&url, &format!("{session}\nredis_mode = \"cluster\"")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_works_with_sentinels() {
    let folder = certificates();
    let group = Group::with_tls(folder.path());
    let more = [rights(), vec!["+role".to_owned()]].concat();
    allow(&group.servers[0], &more);
    let url = url("rediss", group.sentinels[0].port() + 10_000);
    let session = trusting(&folder, "ca", Some("client"));
    let mode = format!("redis_mode = \"sentinel\"\nredis_master = \"{MASTER}\"");
    works(&url, &format!("{session}\n{mode}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_that_redis_does_not_have_is_told() {
    let folder = certificates();
    let redis = Redis::with_tls(folder.path());
    allow(&redis, &rights());
    let url = url("rediss", redis.port() + 10_000);
    let session = trusting(&folder, "strange", Some("client"));
    refused(&serve(&url, &session).await, "its tls failed");
    for shown in [None, Some("stranger")] {
        let session = trusting(&folder, "ca", shown);
        refused(&serve(&url, &session).await, "its tls failed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_speaks_no_tls_or_only_that_is_told() {
    let folder = certificates();
    let redis = Redis::with_tls(folder.path());
    allow(&redis, &rights());
    let session = trusting(&folder, "ca", Some("client"));
    let unencrypted = serve(&url("rediss", redis.port()), &session).await;
    postponed(&unencrypted, "speaks no tls");
    let plain = serve(&url("redis", redis.port() + 10_000), "").await;
    postponed(&plain, "cannot be reached");
    println!("{}", plain.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_and_not_shown() {
    let another = [">another".to_owned(), "on".to_owned()];
    let redis = Redis::start(&[]);
    allow(&redis, &another);
    let ended = serve(&url("redis", redis.port()), "").await;
    refused(&ended, "the user or the password is wrong");
    let strangers = format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port());
    redis.ask(&["CONFIG", "SET", "requirepass", "another"]);
    let ended = serve(&strangers, "").await;
    refused(&ended, "the user or the password is wrong");
    let ended = serve(&redis.url(), "").await;
    refused(&ended, "authentication required");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_with_sentinels_and_in_a_cluster() {
    let another = [">another".to_owned(), "on".to_owned()];
    let group = Group::start(0, 1);
    allow(&group.servers[0], &another);
    let session = format!("redis_mode = \"sentinel\"\nredis_master = \"{MASTER}\"");
    let ended = serve(&url("redis", group.sentinels[0].port()), &session).await;
    println!("{}", ended.stderr);
    refused(&ended, "password");
    let cluster = Cluster::start(3, &[]);
    cluster.nodes.iter().for_each(|node| allow(node, &another));
    let urls = cluster.nodes.iter().map(|node| url("redis", node.port()));
    let urls: Vec<String> = urls.collect();
    let ended = serve(&urls.join(","), "redis_mode = \"cluster\"").await;
    // What kept it from all of them is known as a text only.
    println!("{}", ended.stderr);
    postponed(&ended, "password");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_redis_ends_soon_and_may_be_tried_again() {
    let mut redis = Redis::start(&[]);
    redis.signal("STOP");
    let asked = Instant::now();
    postponed(&serve(&redis.url(), "").await, "in time");
    assert!(
        asked.elapsed() < Duration::from_secs(6),
        "{:?}",
        asked.elapsed()
    );
    redis.kill();
    postponed(&serve(&redis.url(), "").await, "refused");
    let group = Group::start(0, 1);
    let session = "redis_mode = \"sentinel\"\nredis_master = \"another\"";
    let ended = serve(&group.sentinels[0].url(), session).await;
    postponed(&ended, "master");
    redis.restart();
    works(&redis.url(), "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_that_lacks_is_told_at_the_start() {
    let redis = Redis::start(&[]);
    let rights = rights();
    let commands: Vec<&String> = rights.iter().filter(|word| word.starts_with('+')).collect();
    assert!(commands.len() > 15, "{commands:?}");
    for lacking in commands {
        let fewer: Vec<String> = rights
            .iter()
            .filter(|word| *word != lacking)
            .cloned()
            .collect();
        allow(&redis, &fewer);
        let _ = redis.ask(&["SCRIPT", "FLUSH"]);
        let ended = serve(&url("redis", redis.port()), "").await;
        refused(&ended, "permission");
        println!("{lacking}: {}", ended.stderr.trim());
    }
    let elsewhere: Vec<String> = rights
        .iter()
        .map(|word| word.replace("~menshen:", "~other:"))
        .collect();
    allow(&redis, &elsewhere);
    refused(&serve(&url("redis", redis.port()), "").await, "permission");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_probe_tries_redis_out_and_does_not_make_it_ours() {
    let mut redis = Redis::start(&[]);
    let probe = async |rights: &[String]| {
        allow(&redis, rights);
        let nodes = Nodes::over(&url("redis", redis.port()), "").await;
        Program::run(nodes.command_to(MENSHEN, &["check", "--probe"])).await
    };
    let ended = probe(&rights()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(ended.stdout.contains("can be used"), "{}", ended.said());
    assert_eq!(redis.ask(&["EXISTS", "menshen:seal-check"]), "0");
    let fewer = rights().into_iter().filter(|word| word != "+evalsha");
    refused(&probe(&fewer.collect::<Vec<_>>()).await, "permission");
    let another = "b3RoZXIga2V5IG90";
    redis.ask(&["SET", "menshen:seal-check", another]);
    refused(&probe(&rights()).await, "a different seal key");
    redis.kill();
    let nodes = Nodes::over(&redis.url(), "").await;
    let ended = Program::run(nodes.command_to(MENSHEN, &["check", "--probe"])).await;
    refused(&ended, "cannot be reached");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_few_rights_is_enough_with_sentinels_and_in_a_cluster() {
    let group = Group::start(0, 1);
    let more = |command: &str| [rights(), vec![command.to_owned()]].concat();
    allow(&group.servers[0], &more("+role"));
    let session = format!("redis_mode = \"sentinel\"\nredis_master = \"{MASTER}\"");
    let sentinel = &group.sentinels[0];
    works(&url("redis", sentinel.port()), &session).await;
    let password = tempfile::NamedTempFile::new().unwrap();
    fs::write(&password, PASSWORD).unwrap();
    let secret = format!(">{PASSWORD}");
    let watcher = ["ACL", "SETUSER", "watcher", "on", &secret, "-@all"];
    let watcher = [&watcher[..], &["+sentinel|masters"]].concat();
    assert_eq!(sentinel.ask(&watcher), "OK");
    assert_eq!(sentinel.ask(&["ACL", "SETUSER", "default", "off"]), "OK");
    let file = password.path().display();
    let told = format!(
        "{session}\nredis_sentinel_user = \"watcher\"\nredis_sentinel_password_file = '{file}'"
    );
    works(&url("redis", sentinel.port()), &told).await;
    let ended = serve(&url("redis", sentinel.port()), &session).await;
    refused(&ended, "authentication required");
    let cluster = Cluster::start(3, &[]);
    let mut urls = Vec::new();
    for node in &cluster.nodes {
        allow(node, &more("+cluster|slots"));
        urls.push(url("redis", node.port()));
    }
    works(&urls.join(","), "redis_mode = \"cluster\"").await;
}

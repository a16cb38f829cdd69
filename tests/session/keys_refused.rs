//! Keys that can be guessed or that another user can replace are refused by `check`, at the start and by a reload.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use menshen_test_support::{NOBODYS_UID, Node, Nodes, Program, TestGateway, set_mode};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// Keys that were made for these tests.
const RSA_1024: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBAOkesy+VuF0XkNug\n\
JIAKlwHMqWLFNL0Z62PnIfe1DmJhm7EfIH7Aq4515Salo+ETpcnUKrAt9NYcXAc9\n\
z7aR1cj9bQNcM0LufyETBKOfzF6dl4bZk/5b+0eL4C6dgmRNtWNblmQ2gxVVa1FW\n\
H4juzPXQ7/o01AhjQUXzuX/GIFRXAgMBAAECgYEApvnkYusc2SEuEwIL4uKy8wkD\n\
MsoKUoCkSDSf8etv2CwN9rpS7jdXKn1rm1j9nxQRphUgVn00Z8B8cntlsmGW/Dfd\n\
h0CXuioCUHaTbniuBQ2KXv6ENBAQ4ZYpaT8v8NFt2a4j0udMI4A4gckhfq028wuT\n\
9oPuOo1Ma59yUp+KnJECQQD7f99odQ3UP1opl5ewRHYaw6l/5q1M+0Ilhm/xvKDQ\n\
K4+Bb00b9tE5xxtMQeQDmxd/pgy0vXnKmh9bDmUNJdgdAkEA7UqhOurQMRM1RpKu\n\
ZV5HAynU0O2v4hzAkgnzrRX2nYOotC1NNSUD6vlaCKuBY/iM4eZ0Zk+FpOg9OrF8\n\
Eag8AwJALbRxX0RWfQn+Uqyv7mKiq/5+4TWErQbEYJlr4pyLBQnFjJozgy95mmxq\n\
s5MN4vHedV4x1O7SIVWc+SlGh/smqQJBAOVtY+g4QqVAYiFjDxVZiyVm26pKNeVU\n\
UWiiEKWId9KiCopyxpScvmYBQ2jgkhEbrvN3w5FsT9Y66YCHPGNCGwsCQB9jqKGo\n\
lyXkk8T2n5SwBJcTBTs3OesUWzq+L7oK4AAmg5YuZD2uBey2qIR7ino4RlMrel69\n\
1YYUQZVB4L9N3Ok=\n\
-----END PRIVATE KEY-----\n";
const P_384: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAZ4w/6YlvYbyLUGtoL\n\
8Y7lYTwG5fXmUg9pGO5oZCfrPmTe8WDLBlHWO7adjVebKgOhZANiAARrmQS8rJe+\n\
pYVbxPRtD1liWwMbtIz+fUgahpJ9v1JaJeNjJuPgOjrdLWVG7e0sBdTgErvkqZBS\n\
+VRWensXdQDiN2KaBkeSREmUy/k+Ia5js1IvL99gOAQ0/5bD3VoMh5s=\n\
-----END PRIVATE KEY-----\n";
const X25519: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MC4CAQAwBQYDK2VuBCIEIDCqcfhXGsqiV12GbMwRb1l8qCTF1DyN2oSuELDuy1do\n\
-----END PRIVATE KEY-----\n";

/// A place where a node has made the first signing key, and goes on running.
struct Place {
    nodes: Nodes,
    node: Node,
}

impl Place {
    async fn new() -> Self {
        let (nodes, node) = Nodes::start_one(TestGateway::builder(), MENSHEN).await;
        Self { nodes, node }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.nodes.site.folder.path().join(name)
    }

    /// Checks that nobody takes what the folder holds now, and that each says why.
    async fn refuses(&self, because: &str, reloads_refused: usize) {
        for command in ["check", "serve"] {
            // It stops before it asks for the store, which is in use.
            let ended = Program::run(self.nodes.site.command(MENSHEN, &[command])).await;
            assert_eq!(ended.code, Some(2), "{command}: {}", ended.said());
            assert!(
                ended.stderr.contains(because),
                "{command}: {}",
                ended.said()
            );
        }
        self.node.program.signal("HUP").await;
        let program = &self.node.program;
        program.logs_times("not reloaded", reloads_refused).await;
        let log = program.stderr();
        let line = log.lines().rfind(|line| line.contains("not reloaded"));
        assert!(line.unwrap().contains(because), "{log}");
    }
}

/// Makes bytes that nothing orders.
fn random(length: usize) -> Vec<u8> {
    let bytes = b"\x9d\x03\xe7W\xb1\x0c\xf2h~\xa4\x19\xc6\x00\x8b]\xe0\x31\xda\x77\x45\x0f\xbc\x92\xe8K\x16\xd3\xa9\x62\xfe\x24\x8f";
    bytes.get(..length).unwrap().to_vec()
}

#[tokio::test]
async fn a_key_that_is_too_weak_for_its_algorithm_is_refused() {
    let place = Place::new().await;
    let short = [0, 3, 31].map(|length| STANDARD.encode(random(length)));
    let [empty, three, almost] = &short;
    // What a disk that was full, or a copy that broke off, leaves of a key.
    let [zeros, same] = [0, b'k'].map(|byte| STANDARD.encode([byte; 48]));
    for (times, (file, text, because)) in [
        ("2.HS256.secret", empty.as_str(), "32 random bytes"),
        ("2.HS256.secret", three, "32 random bytes"),
        ("2.HS256.secret", almost, "32 random bytes"),
        ("2.HS256.secret", &zeros, "32 random bytes"),
        ("2.HS256.secret", &same, "32 random bytes"),
        ("2.RS256.pem", RSA_1024, "2048 bits"),
        ("2.ES256.pem", P_384, "curve P-256"),
        ("2.ES256.pem", X25519, "curve P-256"),
        ("2.EdDSA.pem", X25519, "curve Ed25519"),
        ("2.EdDSA.pem", P_384, "curve Ed25519"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = place.folder("keys").join(file);
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        place.refuses(because, times + 1).await;
        fs::remove_file(path).unwrap();
    }
    // The weakest that is taken.
    let path = place.folder("keys").join("2.HS256.secret");
    fs::write(&path, STANDARD.encode(random(32))).unwrap();
    set_mode(&path, 0o600);
    place.node.program.reload(1).await;
}

#[tokio::test]
async fn two_keys_of_one_id_are_refused() {
    let place = Place::new().await;
    let keys = place.folder("keys");
    for (times, file) in ["2.ES256.pem", "2.ES256.secret", "2.RS256.pem"]
        .into_iter()
        .enumerate()
    {
        for path in [keys.join("2.HS256.secret"), keys.join(file)] {
            fs::write(&path, STANDARD.encode(random(32))).unwrap();
            set_mode(&path, 0o600);
        }
        place.refuses("has the id of", times + 1).await;
        // Nobody can tell which of them is meant.
        let retired = Program::run(place.nodes.site.command(MENSHEN, &["keys", "retire", "2"]));
        let retired = retired.await;
        assert_eq!(retired.code, Some(1), "{}", retired.said());
        assert!(
            retired.stderr.contains("has the id of"),
            "{}",
            retired.said()
        );
        fs::remove_file(keys.join(file)).unwrap();
    }
    place.node.program.reload(1).await;
}

#[tokio::test]
async fn what_is_no_file_is_refused_and_not_waited_for() {
    let place = Place::new().await;
    let path = place.folder("keys").join("2.HS256.secret");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    set_mode(&path, 0o600);
    place.refuses("is not a file", 1).await;
}

#[tokio::test]
async fn keys_that_another_user_may_replace_are_refused() {
    let place = Place::new().await;
    let keys = place.folder("keys");
    let key = fs::read_dir(&keys)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let key = key.filter(|path| path.extension().is_some_and(|end| end == "pem"));
    let key = key.last().unwrap();
    let mut times = 0;
    for path in [&keys, &key] {
        let mode = fs::metadata(path).unwrap().mode() & 0o7777;
        for unsafe_mode in [mode | 0o002, mode | 0o1002] {
            set_mode(path, unsafe_mode);
            times += 1;
            let because = format!("{}: must not be writable", path.display());
            place.refuses(&because, times).await;
        }
        set_mode(path, mode);
        // Only root can give a file away.
        let owner = fs::metadata(path).unwrap().uid();
        if owner == 0 {
            chown(path, Some(NOBODYS_UID), None).unwrap();
            times += 1;
            let because = format!("{}: must belong to root", path.display());
            place.refuses(&because, times).await;
            chown(path, Some(owner), None).unwrap();
        }
    }
    place.node.program.reload(1).await;
}

#[tokio::test]
async fn nothing_is_done_with_keys_in_a_folder_that_everybody_may_write_to() {
    let place = Place::new().await;
    set_mode(&place.folder("keys"), 0o777);
    for arguments in [&["keys", "new"][..], &["keys", "list"]] {
        let ended = Program::run(place.nodes.site.command(MENSHEN, arguments)).await;
        assert_eq!(ended.code, Some(1), "{}", ended.said());
        assert!(
            ended.stderr.contains("must not be writable"),
            "{}",
            ended.said()
        );
    }
}

#[tokio::test]
async fn sessions_and_a_seal_key_that_another_user_may_replace_are_refused() {
    let (nodes, node) = Nodes::start_one(TestGateway::builder(), MENSHEN).await;
    assert_eq!(node.program.stop().await.code, Some(0));
    let data = nodes.site.folder.path().join("data");
    for path in [data.clone(), data.join("sessions.redb")] {
        let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
        set_mode(&path, mode | 0o002);
        for command in ["check", "serve"] {
            let ended = Program::run(nodes.site.command(MENSHEN, &[command])).await;
            assert_eq!(ended.code, Some(2), "{command}: {}", ended.said());
            let because = format!("{}: must not be writable", path.display());
            assert!(
                ended.stderr.contains(&because),
                "{command}: {}",
                ended.said()
            );
        }
        set_mode(&path, mode);
    }
    let ended = Program::run(nodes.site.command(MENSHEN, &["check"])).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
}

#[tokio::test]
async fn a_secret_file_that_everybody_may_write_to_is_refused() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let file = nodes.site.folder.path().join("app-secret");
    fs::write(&file, "0123456789abcdef0123456789abcdef").unwrap();
    let named = format!("secret_file = '{}'", file.display());
    nodes.site.change("secret_env = \"APP_SECRET\"", &named);
    for (mode, code) in [(0o666, 2), (0o644, 0)] {
        set_mode(&file, mode);
        let ended = Program::run(nodes.site.command(MENSHEN, &["check"])).await;
        assert_eq!(ended.code, Some(code), "{mode:o}: {}", ended.said());
        let said = ended
            .stderr
            .contains("must name a file that not every user may write to");
        assert_eq!(said, code == 2, "{mode:o}: {}", ended.said());
    }
}

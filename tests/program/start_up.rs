//! A start that must fail says why in one sentence, soon, and leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use menshen_test_support::{
    Ended, NOBODYS_UID, Program, Site, TestGateway, copy_program, raw, read_mode, set_mode,
};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

async fn serve(site: &Site) -> Ended {
    Program::run(site.command(MENSHEN, &["serve"])).await
}

/// Runs `serve` as somebody whom file permissions stop.
async fn serve_as_nobody(site: &Site) -> Ended {
    set_mode(site.folder.path(), 0o755);
    if fs::metadata(&site.config).unwrap().uid() != 0 {
        return serve(site).await;
    }
    // Where the program was built, nobody may not even look.
    let program = site.folder.path().join("menshen");
    copy_program(MENSHEN, &program);
    let mut command = site.command(program.to_str().unwrap(), &["serve"]);
    command.uid(NOBODYS_UID);
    let ended = Program::run(command).await;
    fs::remove_file(program).unwrap();
    ended
}

/// Gives a folder to whom [`serve_as_nobody`] runs as.
fn give_to_nobody(folder: &Path) {
    if fs::metadata(folder).unwrap().uid() == 0 {
        chown(folder, Some(NOBODYS_UID), None).unwrap();
    }
}

/// Makes the first signing key and returns its file.
async fn key_file(site: &Site) -> PathBuf {
    let made = Program::run(site.command(MENSHEN, &["keys", "new"])).await;
    let file = format!("{}.ES256.pem", made.stdout.trim());
    site.folder.path().join("keys").join(file)
}

/// Returns what is in the folder, without the configuration.
fn left_behind(site: &Site) -> Vec<String> {
    let names = fs::read_dir(&site.folder).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "menshen.toml")
        .collect();
    names.sort();
    names
}

/// Checks that a start failed with one sentence that holds a text, and that another try is of no use.
#[track_caller]
fn refused(ended: &Ended, because: &str) {
    failed(ended, 2, because);
}

/// The same where another try may go better.
#[track_caller]
fn refused_for_now(ended: &Ended, because: &str) {
    failed(ended, 1, because);
}

#[track_caller]
fn failed(ended: &Ended, code: i32, because: &str) {
    ended.check_failed(code);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains(because), "{}", ended.stderr);
    assert!(!ended.stderr.contains("app5ecret"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_port_in_use_is_named_and_nothing_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listen = format!("listen = [\"{address}\"]");
    let site = TestGateway::builder()
        .section("server", &listen)
        .site_alone();
    let ended = serve(&site).await;
    refused_for_now(&ended, &address.to_string());
    assert_eq!(left_behind(&site), Vec::<String>::new());
}

#[tokio::test]
async fn one_port_in_use_of_two_is_enough() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listen = format!("listen = [\"127.0.0.1:0\", \"{address}\"]");
    let site = TestGateway::builder()
        .section("server", &listen)
        .site_alone();
    let ended = serve(&site).await;
    refused_for_now(&ended, &address.to_string());
    assert_eq!(left_behind(&site), Vec::<String>::new());
}

#[tokio::test]
async fn an_address_of_another_machine_is_named() {
    let listen = "listen = [\"192.0.2.1:8080\"]";
    let site = TestGateway::builder()
        .section("server", listen)
        .site_alone();
    refused(&serve(&site).await, "192.0.2.1:8080");
    assert_eq!(left_behind(&site), Vec::<String>::new());
}

#[tokio::test]
async fn a_key_file_full_of_rubbish_is_named_and_not_shown() {
    let site = TestGateway::builder().site_alone();
    let key = key_file(&site).await;
    fs::write(&key, "rubbish").unwrap();
    let ended = serve(&site).await;
    refused(&ended, key.to_str().unwrap());
    assert!(!ended.stderr.contains("rubbish"));
    assert_eq!(left_behind(&site), ["keys"]);
}

#[tokio::test]
async fn a_key_file_that_everybody_may_read_is_named() {
    let site = TestGateway::builder().site_alone();
    let key = key_file(&site).await;
    set_mode(&key, 0o644);
    refused(&serve(&site).await, key.to_str().unwrap());
}

#[tokio::test]
async fn a_key_file_that_may_not_be_read_is_named() {
    let site = TestGateway::builder().site_alone();
    let key = key_file(&site).await;
    set_mode(&site.folder.path().join("keys"), 0o755);
    set_mode(&key, 0o000);
    refused(&serve_as_nobody(&site).await, key.to_str().unwrap());
    assert_eq!(left_behind(&site), ["keys"]);
}

#[tokio::test]
async fn a_folder_where_no_key_may_be_made_is_named() {
    let site = TestGateway::builder().site_alone();
    let keys = site.folder.path().join("keys");
    fs::create_dir(&keys).unwrap();
    set_mode(&keys, 0o555);
    // The store comes first, and can be made.
    let data = site.folder.path().join("data");
    fs::create_dir(&data).unwrap();
    give_to_nobody(&data);
    refused(&serve_as_nobody(&site).await, keys.to_str().unwrap());
    assert_eq!(fs::read_dir(&keys).unwrap().count(), 0);
}

#[tokio::test]
async fn a_data_folder_without_permission_is_named() {
    let site = TestGateway::builder().site_alone();
    let (keys, data) = (
        site.folder.path().join("keys"),
        site.folder.path().join("data"),
    );
    for folder in [&keys, &data] {
        fs::create_dir(folder).unwrap();
    }
    give_to_nobody(&keys);
    set_mode(&data, 0o000);
    refused(&serve_as_nobody(&site).await, data.to_str().unwrap());
    set_mode(&data, 0o700);
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
}

#[tokio::test]
async fn a_data_folder_that_is_a_file_is_named() {
    let site = TestGateway::builder().site_alone();
    let data = site.folder.path().join("data");
    fs::write(&data, "").unwrap();
    refused(&serve(&site).await, data.to_str().unwrap());
}

#[tokio::test]
async fn a_store_full_of_rubbish_is_named_and_kept() {
    let site = TestGateway::builder().site_alone();
    let data = site.folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let store = data.join("sessions.redb");
    fs::write(&store, "rubbish").unwrap();
    refused(&serve(&site).await, data.to_str().unwrap());
    assert_eq!(fs::read(&store).unwrap(), b"rubbish");
}

#[tokio::test]
async fn a_missing_configuration_is_named() {
    let site = TestGateway::builder().site_alone();
    fs::remove_file(&site.config).unwrap();
    let ended = serve(&site).await;
    let file = site.config.to_str().unwrap();
    assert_eq!(ended.code, Some(2));
    assert_eq!(
        ended.stderr,
        format!("{file}: 1 problem\n  cannot be read: no such file\n")
    );
}

#[tokio::test]
async fn a_missing_certificate_is_named_with_its_line() {
    let tls = "tls.cert_file = \"nowhere.pem\"\ntls.key_file = \"nowhere.pem\"";
    let site = TestGateway::builder().section("server", tls).site_alone();
    let ended = serve(&site).await;
    assert_eq!(ended.code, Some(2));
    let lines: Vec<&str> = ended.stderr.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "  server.tls.cert_file (line 3): cannot be read: no such file",
            "  server.tls.key_file (line 4): cannot be read: no such file",
        ]
    );
    assert_eq!(left_behind(&site), Vec::<String>::new());
}

#[tokio::test]
async fn a_certificate_with_another_ones_key_is_named_and_nothing_is_made() {
    let tls = "tls.cert_file = \"cert.pem\"\ntls.key_file = \"key.pem\"";
    let site = TestGateway::builder().section("server", tls).site_alone();
    let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, other) = (made(), made());
    fs::write(site.folder.path().join("cert.pem"), one.cert.pem()).unwrap();
    fs::write(
        site.folder.path().join("key.pem"),
        other.signing_key.serialize_pem(),
    )
    .unwrap();
    refused(&serve(&site).await, "cert.pem");
    assert_eq!(left_behind(&site), ["cert.pem", "key.pem"]);
    let checked = Program::run(site.command(MENSHEN, &["check"])).await;
    refused(&checked, "cert.pem");
}

#[tokio::test]
async fn two_processes_do_not_share_a_store() {
    let site = TestGateway::builder().site_alone();
    let first = Program::start(site.command(MENSHEN, &["serve"]));
    let address = first.find_address().await;
    refused_for_now(&serve(&site).await, "in use by another process");
    let still = b"GET /_auth/session HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    assert!(raw(address, still).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_wish_to_reload_does_not_end_a_start() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}", silent.local_addr().unwrap());
    let lines = "store = \"redis\"\nredis_url_env = \"REDIS_URL\"\nseal_key_env = \"SEAL_KEY\"";
    let site = TestGateway::builder()
        .section("session", lines)
        .site_alone();
    let mut command = site.command(MENSHEN, &["serve"]);
    command.env("REDIS_URL", url);
    command.env("SEAL_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let program = Program::start(command);
    let asked = tokio::task::spawn_blocking(move || silent.accept().unwrap());
    let asked = asked.await.unwrap();
    program.signal("HUP").await;
    drop(asked);
    refused_for_now(&program.ended().await, "cannot be reached");
}

#[tokio::test]
async fn what_a_first_start_makes_is_its_owners_alone() {
    let site = TestGateway::builder().site_alone();
    let program = Program::start(site.command(MENSHEN, &["serve"]));
    program.logs("listening").await;
    let mut folders = vec![
        site.folder.path().join("keys"),
        site.folder.path().join("data"),
    ];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(read_mode(&folder), 0o700, "{}", folder.display());
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(read_mode(&path), 0o600, "{}", path.display());
                files += 1;
            }
        }
    }
    // A signing key and the lock under which it was made, the seal key and the sessions.
    assert_eq!(files, 4);
}

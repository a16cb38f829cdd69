//! What a process knows stays out of the reach of others on its machine.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};

use menshen_test_support::{
    APP_SECRET, CONTROL_SECRET, NOBODYS_UID, Nodes, Program, Reply, TestGateway, copy_program,
    make_client, set_mode,
};

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

#[tokio::test]
async fn no_core_and_no_other_process_of_the_user_shows_what_it_holds_in_memory() {
    let nodes = Nodes::new(TestGateway::builder()).await;
    let folder = nodes.site.folder.path();
    // Where the program was built, another user may not even look.
    let program = folder.join("menshen");
    copy_program(MENSHEN, &program);
    let mut command = nodes.site.command(program.to_str().unwrap(), &["serve"]);
    // As root, since root may look at everything anyway.
    if fs::metadata(folder).unwrap().uid() == 0 {
        set_mode(folder, 0o755);
        chown(folder, Some(NOBODYS_UID), None).unwrap();
        command.uid(NOBODYS_UID);
    }
    let user = fs::metadata(folder).unwrap().uid();
    let running = Program::start(command);
    running.find_address().await;
    let proc = format!("/proc/{}", running.id());
    let limits = fs::read_to_string(format!("{proc}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let mut core = core.unwrap().split_whitespace().skip(4);
    assert_eq!(
        (core.next(), core.next()),
        (Some("0"), Some("0")),
        "{limits}"
    );
    // The kernel gives these to root where a process must not be looked into; nobody else may read them.
    for name in ["environ", "mem"] {
        let found = fs::metadata(format!("{proc}/{name}")).unwrap();
        assert_ne!(user, 0);
        assert_eq!(found.uid(), 0, "{name}");
        assert_eq!(found.mode() & 0o077, 0, "{name}");
    }
}

#[tokio::test]
async fn secrets_are_in_no_environment_and_a_reload_still_has_them() {
    let builder = TestGateway::builder().require_control_secret();
    let nodes = Nodes::new(builder).await;
    let mut command = nodes.site.command(MENSHEN, &["serve"]);
    command.env("BESIDE", "stays");
    let running = Program::start(command);
    let control = running.find_control_address().await;
    let environment = fs::read(format!("/proc/{}/environ", running.id())).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    // What is no secret is kept, such as where certificates are.
    assert!(environment.contains("BESIDE=stays"), "{environment}");
    for gone in [APP_SECRET, CONTROL_SECRET, "APP_SECRET=", "CONTROL_SECRET="] {
        assert!(!environment.contains(gone), "{gone}: {environment}");
    }
    let command_line = fs::read_to_string(format!("/proc/{}/cmdline", running.id())).unwrap();
    assert!(command_line.starts_with(MENSHEN), "{command_line}");
    let name = fs::read_to_string(format!("/proc/{}/comm", running.id())).unwrap();
    assert_eq!(name.trim(), "menshen");
    let http = make_client();
    let reload = http.post(format!("http://{control}/v1/reload"));
    let reloaded = Reply::of(reload.bearer_auth(CONTROL_SECRET)).await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    // The AppSecret is as good as before, too.
    let node = nodes.join(running).await;
    node.log_in("alice").await;
}

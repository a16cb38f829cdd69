//! The program's commands: what they print, what they leave behind and how they exit.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::TcpListener;

use menshen_test_support::{
    APP_SECRET, Certificate, Ended, NOBODY, Program, Site, TestGateway, find_repository,
    make_client, read_mode, set_mode,
};
use serde_json::json;
use tokio::process::Command;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

async fn run(site: &Site, arguments: &[&str]) -> Ended {
    Program::run(site.command(MENSHEN, arguments)).await
}

async fn run_alone(arguments: &[&str]) -> Ended {
    Program::run(Program::command(MENSHEN, arguments)).await
}

/// Describes `menshen check` of a file that comes with Menshen.
fn check_shipped(name: &str) -> Command {
    let file = find_repository().join("conf").join(name);
    Program::command(
        MENSHEN,
        &["check".as_ref(), "-c".as_ref(), file.as_os_str()],
    )
}

/// Checks a configuration of this text.
async fn check(text: &str) -> Ended {
    let site = TestGateway::builder().site_alone();
    fs::write(&site.config, text).unwrap();
    run(&site, &["check"]).await
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_bad_usage() {
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["serve", "--frobnicate"],
        &["keys"],
        &["keys", "retire"],
        &["dev", "--listen", "nowhere"],
        &["dev", "--upstream", "nowhere"],
        &["dev", "--upstream", "https://127.0.0.1:3000"],
        &["simulate"],
        &["simulate", "--app", "no-colon"],
    ] {
        let ended = run_alone(arguments).await;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.said());
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert_ne!(ended.stderr, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn help_and_version_are_no_failures() {
    for arguments in ["--help", "--version"] {
        let ended = run_alone(&[arguments]).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
        assert!(ended.stdout.contains("menshen"), "{}", ended.stdout);
    }
}

#[tokio::test]
async fn the_version_says_what_was_built_and_from_what() {
    let said = run_alone(&["--version"]).await.stdout;
    let lines: Vec<&str> = said.lines().collect();
    let version = format!("menshen {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines[0], version);
    for (line, name) in lines[1..].iter().zip(["commit: ", "date: ", "features: "]) {
        assert!(line.len() > name.len() && line.starts_with(name), "{said}");
    }
    assert_eq!(lines.len(), 4, "{said}");
    let short = run_alone(&["-V"]).await.stdout;
    assert!(
        short.starts_with(&version) && short.lines().count() == 1,
        "{short}"
    );
}

#[test]
fn a_release_knows_its_commit_from_git_or_from_whoever_builds_it_where_there_is_none() {
    use std::process::Command;
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("build");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/build.rs");
    let mut rustc = Command::new("rustc");
    let built = rustc
        .args(["--edition=2024", "-o"])
        .arg(&script)
        .arg(source)
        .status();
    assert!(built.unwrap().success());
    let run = |program: &str, arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&folder).env_clear();
        command
            .envs(variables.iter().copied())
            .env("HOME", folder.path());
        let ran = command
            .env("PATH", std::env::var_os("PATH").unwrap())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).unwrap()
    };
    let script = script.to_str().unwrap();
    let nothing = run(script, &[], &[("PROFILE", "release")]);
    assert!(nothing.contains("MENSHEN_COMMIT=unknown\n"), "{nothing}");
    let given = [
        ("PROFILE", "release"),
        ("MENSHEN_COMMIT", "abc"),
        ("MENSHEN_DATE", "today"),
    ];
    let given = run(script, &[], &given);
    assert!(
        given.contains("MENSHEN_COMMIT=abc\n") && given.contains("MENSHEN_DATE=today\n"),
        "{given}"
    );
    run("git", &["init", "-q"], &[]);
    let author = ["-c", "user.name=a", "-c", "user.email=a@b"];
    let commit = ["commit", "-q", "--allow-empty", "-m", "x"];
    let date = [("GIT_COMMITTER_DATE", "2026-02-03T12:00:00Z")];
    run("git", &[&author[..], &commit[..]].concat(), &date);
    let head = run("git", &["log", "-1", "--abbrev=12", "--format=%h"], &[]);
    let release = run(script, &[], &[("PROFILE", "release")]);
    assert!(
        release.contains(&format!("MENSHEN_COMMIT={head}")),
        "{release}"
    );
    assert!(release.contains("MENSHEN_DATE=2026-02-03\n"), "{release}");
    // It is built anew when there is another commit, which a debug build is not.
    assert!(release.contains("rerun-if-changed=.git/HEAD"), "{release}");
    let debug = run(script, &[], &[("PROFILE", "debug")]);
    assert!(
        !debug.contains(".git") && debug.contains("MENSHEN_COMMIT=unknown\n"),
        "{debug}"
    );
}

#[tokio::test]
async fn manual_pages_and_completions_are_those_of_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run_alone(&["generate", folder.path().to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    let help = run_alone(&["--help"]).await.stdout;
    let (_, listed) = help.split_once("Commands:\n").unwrap();
    let commands = listed.lines().take_while(|line| !line.is_empty());
    let commands: Vec<&str> = commands
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert!(
        commands.contains(&"serve") && !commands.contains(&"generate"),
        "{help}"
    );
    let bash = std::fs::read_to_string(folder.path().join("completions/menshen.bash")).unwrap();
    for command in commands.into_iter().filter(|command| *command != "help") {
        let page = folder.path().join(format!("man/menshen-{command}.1"));
        let page = std::fs::read_to_string(page).unwrap();
        assert!(
            page.contains(&format!(".TH menshen-{command} 1 ")),
            "{page}"
        );
        assert!(bash.contains(&format!("menshen,{command})")), "{command}");
    }
    assert!(!folder.path().join("man/menshen-generate.1").exists());
    let completions = folder.path().join("completions/menshen.bash");
    let complete = "source $0; COMP_WORDS=(menshen sch); COMP_CWORD=1; _menshen menshen sch menshen; echo \"${COMPREPLY[@]}\"";
    let mut completed = Program::command("bash", &["-c", complete]);
    completed.arg(completions);
    assert_eq!(Program::run(completed).await.stdout, "schema\n");
}

#[tokio::test]
async fn a_secret_on_the_command_line_is_not_repeated() {
    for app in [":app5ecret", "app5ecret", "app5ecret:"] {
        let ended = run_alone(&["simulate", "--app", app]).await;
        assert_eq!(ended.code, Some(2));
        assert!(!ended.said().contains("app5ecret"), "{}", ended.said());
    }
}

#[tokio::test]
async fn check_passes_the_files_that_come_with_menshen() {
    for name in ["minimal.toml", "menshen.toml"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = check_shipped(name);
        command
            .env("SHOP_APP_SECRET", "0123456789abcdef0123456789abcdef")
            .current_dir(&folder);
        let ended = Program::run(command).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{name}");
        let (open, rest) = ended.stdout.split_once('\n').unwrap();
        let (no_problems, outlook) = rest.split_once('\n').unwrap();
        let every_program = "control.listen: 127.0.0.1:9090 asks for no secret, so every program";
        assert!(open.starts_with(every_program), "{open}");
        assert!(no_problems.ends_with(": no problems"), "{no_problems}");
        assert_eq!(
            outlook,
            "  only logged in    / (to api)\n  \
               logged in or not  nowhere\n  \
               everybody         Menshen's own endpoints below /_auth\n",
            "{name}"
        );
        let left = fs::read_dir(&folder).unwrap().count();
        assert_eq!(left, 0, "a check should leave nothing behind");
    }
}

#[tokio::test]
async fn check_ends_with_who_is_let_in_where() {
    let route = |lines: &str| format!("[[route]]\nupstream = \"api\"\n{lines}\n");
    let mut routes = route(
        "path = \"/admin\"\nhost = \"a.example\"\nmethods = [\"GET\", \"POST\"]\napps = [\"staff\"]",
    );
    routes += &route("");
    routes += &route("path = \"/news\"\nauth = \"optional\"");
    routes += &route("path = \"/files\"\nauth = \"signed_url\"");
    for number in 0..8 {
        routes += &route(&format!("path = \"/p{number}\"\nauth = \"public\""));
    }
    let site = TestGateway::builder()
        .apps(&["shop", "staff"])
        .routes(&routes)
        .site_alone();
    let ended = run(&site, &["check"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let own = "Menshen's own endpoints below /_auth";
    let public: Vec<_> = (0..6).map(|n| format!("/p{n} (to api); ")).collect();
    assert_eq!(
        lines[lines.len() - 3..],
        [
            "  only logged in    GET, POST a.example/admin, users of staff (to api); / (to api); \
             /files, or with a signed URL (to api)"
                .to_owned(),
            "  logged in or not  /news (to api)".to_owned(),
            format!("  everybody         {}and 2 more; {own}", public.concat()),
        ]
    );
}

#[tokio::test]
async fn check_says_which_variable_is_not_set() {
    let ended = Program::run(check_shipped("minimal.toml")).await;
    assert_eq!(ended.code, Some(2));
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(lines[0].ends_with("minimal.toml: 1 problem"), "{lines:?}");
    assert!(
        lines[1].starts_with("  app[1].secret_env (line 8): "),
        "{lines:?}"
    );
}

#[tokio::test]
async fn check_prints_every_problem_with_its_key_and_line() {
    let five_mistakes = r#"[server]
listen = ["nowhere"]
lisen = ["127.0.0.1:0"]

[[app]]
name = "shop"
kind = "mini_program"
appid = "wx0123456789abcdef"
secret_env = "NOT_SET"

[token]
ttl = 7200

[[upstream]]
name = "api"
servers = ["127.0.0.1:3000"]

[[route]]
path = "/"
upstream = "ape"
"#;
    let ended = check(five_mistakes).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(lines[0].ends_with("menshen.toml: 5 problems"), "{lines:?}");
    let places: Vec<&str> = lines[1..]
        .iter()
        .map(|line| line.split_once("): ").unwrap().0)
        .collect();
    assert_eq!(
        places,
        [
            "  server.listen (line 2",
            "  server.lisen (line 3",
            "  app[1].secret_env (line 9",
            "  token.ttl (line 12",
            "  route[1].upstream (line 20",
        ]
    );
}

#[tokio::test]
async fn no_mistake_shows_the_secret_it_was_made_with() {
    let app = "[[app]]\nname = \"shop\"\nkind = \"mini_program\"\nappid = \"wx1\"\n";
    for line in [
        "secret = \"app5ecret\"",
        "secret_env = \"app5ecret\"",
        "secret_file = \"app5ecret\"",
        "secret_file = [\"app5ecret\"]",
        "secret_env = \"APP_SECRET\"\nprevious_secret_env = \"app5ecret\"",
        "secret = \"app5ecret",
        "secret = app5ecret",
        "secret_env = 'app5ecret\n'",
        "secret_env = \"app5ecret\" x",
        "secret_env = \"\\app5ecret\"",
        "secret_env = \"app5ecret\"\nsecret_env = \"app5ecret\"",
        "secret_env = { app5ecret = 1, }",
        "[session]\nseal_key_env = \"APP_SECRET\"",
        "[session]\nseal_key_env = \"app5ecret\"",
        "[session]\nseal_key = \"app5ecret\"",
    ] {
        let ended = check(&format!("{app}{line}\n")).await;
        assert_eq!(ended.code, Some(2), "{line}");
        assert!(!ended.said().contains("app5ecret"), "{}", ended.said());
    }
}

#[tokio::test]
async fn a_secret_of_two_lines_in_a_file_is_not_shown() {
    let site = TestGateway::builder().site_alone();
    fs::write(site.folder.path().join("secret"), "app5ecret\napp5ecret\n").unwrap();
    let text = fs::read_to_string(&site.config).unwrap();
    let text = text.replace("secret_env = \"APP_SECRET\"", "secret_file = \"secret\"");
    fs::write(&site.config, text).unwrap();
    let ended = run(&site, &["check"]).await;
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("app[1].secret_file"),
        "{}",
        ended.stderr
    );
    assert!(!ended.said().contains("app5ecret"), "{}", ended.said());
}

#[tokio::test]
async fn check_finds_folders_that_cannot_be_made_and_addresses_of_other_machines() {
    for (section, line, key) in [
        ("session", "path = '/proc/menshen/data'", "session.path: "),
        (
            "token",
            "keys_dir = '/proc/menshen/keys'",
            "token.keys_dir: ",
        ),
        ("server", "listen = [\"192.0.2.1:1\"]", "server.listen: "),
    ] {
        let site = TestGateway::builder().site_alone();
        let text = fs::read_to_string(&site.config).unwrap();
        let start = line.split_inclusive(['\'', '[']).next().unwrap();
        let other = text
            .lines()
            .filter(|written| !written.starts_with(start))
            .map(|written| format!("{written}\n"))
            .collect::<String>();
        let changed = other.replacen(
            &format!("[{section}]\n"),
            &format!("[{section}]\n{line}\n"),
            1,
        );
        fs::write(&site.config, changed).unwrap();
        let ended = run(&site, &["check"]).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.starts_with(key), "{ended:?}");
    }
}

#[tokio::test]
async fn check_opens_the_seal_key() {
    let site = TestGateway::builder().site_alone();
    let data = site.folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("seal.key"), "rubbish").unwrap();
    set_mode(&data.join("seal.key"), 0o600);
    let ended = run(&site, &["check"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.starts_with("session.path: "), "{ended:?}");
    assert!(!ended.stderr.contains("rubbish"), "{ended:?}");
}

#[tokio::test]
async fn check_opens_the_signing_keys() {
    let site = TestGateway::builder().site_alone();
    run(&site, &["keys", "new"]).await;
    assert_eq!(run(&site, &["check"]).await.code, Some(0));
    let key = fs::read_dir(site.folder.path().join("keys"))
        .unwrap()
        .next();
    let key = key.unwrap().unwrap().path();
    fs::write(&key, "rubbish").unwrap();
    let ended = run(&site, &["check"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(
        ended.stderr.contains(key.to_str().unwrap()),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("rubbish"));
}

#[tokio::test]
async fn the_probe_says_that_appid_and_secret_are_right() {
    let builder = TestGateway::builder();
    let site = builder.site(NOBODY, builder.simulator().await);
    let ended = run(&site, &["check", "--probe"]).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let right = "app shop: appid and secret are right\n";
    assert!(ended.stdout.contains(right), "{}", ended.stdout);
    let outlook = ended.stdout.split_once(right).unwrap().1;
    assert!(outlook.starts_with("  only logged in "), "{outlook}");
}

#[tokio::test]
async fn the_probe_finds_a_wrong_secret() {
    let builder = TestGateway::builder();
    let site = builder.site(NOBODY, builder.simulator().await);
    let mut command = site.command(MENSHEN, &["check", "--probe"]);
    command.env("APP_SECRET", "wr0ngsecret");
    let ended = Program::run(command).await;
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("app shop: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("40125"), "{}", ended.stderr);
    assert!(!ended.said().contains("wr0ngsecret"), "{}", ended.said());
}

#[tokio::test]
async fn the_probe_finds_an_unknown_appid_among_others() {
    let simulator = TestGateway::builder().simulator().await;
    let site = TestGateway::builder()
        .apps(&["stranger", "shop"])
        .site(NOBODY, simulator);
    let ended = run(&site, &["check", "--probe"]).await;
    ended.check_failed(2);
    assert!(ended.stderr.contains("app stranger: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("40013"), "{}", ended.stderr);
    assert!(
        ended
            .stdout
            .contains("app shop: appid and secret are right")
    );
}

#[tokio::test]
async fn the_probe_cannot_tell_when_wechat_is_out_of_reach() {
    let ended = run(&TestGateway::builder().site_alone(), &["check", "--probe"]).await;
    ended.check_failed(2);
    let said = "app shop: cannot tell: WeChat could not be reached; can this machine reach";
    assert!(ended.stderr.starts_with(said), "{}", ended.stderr);
    assert!(!ended.said().contains("app5ecret"), "{}", ended.said());
}

#[tokio::test]
async fn the_probe_says_which_of_two_secrets_wechat_takes() {
    for (secret, previous, code, said) in [
        (
            "APP_SECRET",
            "OTHER_SECRET",
            0,
            "appid and secret are right; WeChat does not take previous_secret",
        ),
        (
            "OTHER_SECRET",
            "APP_SECRET",
            0,
            "WeChat takes previous_secret",
        ),
        (
            "OTHER_SECRET",
            "OTHER_SECRET",
            2,
            "WeChat answered errcode 40125: the secret is wrong",
        ),
    ] {
        let lines = format!("secret_env = \"{secret}\"\nprevious_secret_env = \"{previous}\"");
        let builder = TestGateway::builder().section("app", &lines);
        let site = builder.site(NOBODY, builder.simulator().await);
        let ended = run(&site, &["check", "--probe"]).await;
        assert_eq!(ended.code, Some(code), "{}", ended.said());
        let said = format!("app shop: {said}");
        assert!(ended.said().contains(&said), "{}", ended.said());
        assert!(!ended.said().contains("5ecret"), "{}", ended.said());
    }
}

#[tokio::test]
async fn the_probe_waits_for_no_wechat_that_never_answers() {
    let builder = TestGateway::builder().section("wechat", "timeout = \"300ms\"");
    let swallows = TcpListener::bind("127.0.0.1:0").unwrap();
    let site = builder.site(NOBODY, swallows.local_addr().unwrap());
    let ended = run(&site, &["check", "--probe"]).await;
    assert_eq!(ended.code, Some(2));
    let said = "app shop: cannot tell: WeChat did not answer; try again";
    assert!(ended.stderr.starts_with(said), "{}", ended.stderr);
    assert!(!ended.said().contains("app5ecret"), "{}", ended.said());
}

#[tokio::test]
async fn the_probe_says_what_wechat_said_and_what_to_do() {
    let builder = TestGateway::builder();
    let simulator = builder.simulator().await;
    let site = builder.site(NOBODY, simulator);
    let whitelist = "invalid ip 192.0.2.1 ipv6 ::ffff:192.0.2.1, not in whitelist";
    for (errcode, errmsg, said) in [
        (
            40013,
            "",
            "WeChat answered errcode 40013: the appid does not exist; copy it",
        ),
        (
            40164,
            whitelist,
            "WeChat answered errcode 40164: add this machine's address to the IP whitelist in the console (192.0.2.1)",
        ),
        (
            -1,
            "",
            "cannot tell: WeChat answered errcode -1; WeChat is busy",
        ),
        (
            99999,
            "",
            "cannot tell: WeChat answered errcode 99999; WeChat's documentation",
        ),
    ] {
        let plan = json!({"path": "/sns/jscode2session", "fault": "errcode", "errcode": errcode, "errmsg": errmsg, "times": 1});
        let http = make_client();
        let plan = http
            .post(format!("http://{simulator}/_sim/faults"))
            .json(&plan);
        assert_eq!(plan.send().await.unwrap().status(), 200);
        let ended = run(&site, &["check", "--probe"]).await;
        assert_eq!(ended.code, Some(2));
        let said = format!("app shop: {said}");
        assert!(ended.stderr.starts_with(&said), "{}", ended.stderr);
        // By which WeChat finds the call.
        let has_rid = ended.stderr.contains("(rid ");
        assert_eq!(has_rid, said.contains("app shop: WeChat answered errcode"));
    }
}

#[tokio::test]
async fn no_proxy_of_the_environment_gets_between_menshen_and_wechat() {
    let builder = TestGateway::builder();
    let site = builder.site(NOBODY, builder.simulator().await);
    let mut command = site.command(MENSHEN, &["check", "--probe"]);
    for name in ["http_proxy", "HTTPS_PROXY", "all_proxy"] {
        command.env(name, format!("http://{NOBODY}"));
    }
    let ended = Program::run(command).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[tokio::test]
async fn keys_are_made_listed_and_retired() {
    let site = TestGateway::builder().site_alone();
    let first = run(&site, &["keys", "new"]).await;
    let file = site.folder.path().join("keys");
    let file = file.join(format!("{}.ES256.pem", first.stdout.trim()));
    let told = format!("{}: signs\n", file.display());
    assert_eq!(
        (first.code, first.stderr.as_str()),
        (Some(0), told.as_str())
    );
    let second = run(&site, &["keys", "new"]).await;
    let told = format!("{}.ES256.pem: signs from 2", second.stdout.trim());
    assert!(second.stderr.contains(&told), "{}", second.stderr);
    let (first, second) = (first.stdout.trim(), second.stdout.trim());

    let listed = run(&site, &["keys", "list"]).await;
    let (signs, waits) = listed.stdout.split_once('\n').unwrap();
    assert_eq!(signs, format!("{first} ES256 signs"));
    let from = format!("{second} ES256 signs from 2");
    assert!(waits.starts_with(&from), "{waits}");
    let keys = site.folder.path().join("keys");
    assert_eq!(read_mode(&keys), 0o700);
    assert_eq!(read_mode(&keys.join(format!("{first}.ES256.pem"))), 0o600);

    let retired = run(&site, &["keys", "retire", first]).await;
    assert_eq!((retired.code, retired.stdout.as_str()), (Some(0), ""));
    // The only one that is left signs although it is new.
    assert!(retired.stderr.contains("reload"), "{}", retired.stderr);
    let listed = run(&site, &["keys", "list"]).await;
    assert_eq!(listed.stdout, format!("{second} ES256 signs\n"));
}

#[tokio::test]
async fn keys_need_no_secret_and_lie_beside_the_configuration() {
    let (site, elsewhere) = (
        TestGateway::builder().site_alone(),
        tempfile::tempdir().unwrap(),
    );
    let absolute = format!("keys_dir = '{}/keys'", site.folder.path().display());
    site.change(&absolute, "keys_dir = \"made/keys\"");
    let keys = |arguments: &[&str]| {
        let mut command = Program::command(MENSHEN, arguments);
        command
            .arg("--config")
            .arg(&site.config)
            .current_dir(&elsewhere);
        Program::run(command)
    };
    let made = keys(&["keys", "new"]).await;
    assert_eq!(made.code, Some(0), "{}", made.said());
    let file = format!("made/keys/{}.ES256.pem", made.stdout.trim());
    assert!(site.folder.path().join(file).is_file());
    let listed = keys(&["keys", "list"]).await;
    assert_eq!(
        listed.stdout,
        format!("{} ES256 signs\n", made.stdout.trim())
    );
    // What is wrong with the keys' own section is still told.
    site.change("keys_dir = \"made/keys\"", "keys_dir = 1");
    let refused = keys(&["keys", "list"]).await;
    assert_eq!(refused.code, Some(2), "{}", refused.said());
    assert!(
        refused.stderr.contains("token.keys_dir"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn a_relative_path_begins_at_the_configuration_for_every_command() {
    let site = TestGateway::builder().site_alone();
    fs::create_dir(site.folder.path().join("secrets")).unwrap();
    fs::write(site.folder.path().join("secrets/shop"), APP_SECRET).unwrap();
    site.change(
        "secret_env = \"APP_SECRET\"",
        "secret_file = \"secrets/shop\"",
    );
    let folder = site.folder.path().display().to_string();
    site.change(&format!("keys_dir = '{folder}/keys'"), "");
    site.change(&format!("path = '{folder}/data'"), "");
    let elsewhere = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Program::command(MENSHEN, arguments);
        command
            .arg("--config")
            .arg(&site.config)
            .current_dir(&elsewhere);
        command
    };
    let checked = Program::run(command(&["check"])).await;
    assert_eq!(checked.code, Some(0), "{}", checked.said());
    let serving = Program::start(command(&["serve"]));
    serving.logs("listening").await;
    assert_eq!(serving.stop().await.code, Some(0));
    for made in ["keys", "data"] {
        assert!(site.folder.path().join(made).is_dir(), "{made}");
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[tokio::test]
async fn a_key_that_cannot_be_retired_is_named() {
    let site = TestGateway::builder().site_alone();
    let only = run(&site, &["keys", "new"]).await.stdout;
    for kid in [only.trim(), "1234-unknown", "../menshen"] {
        let ended = run(&site, &["keys", "retire", kid]).await;
        ended.check_failed(2);
        assert_eq!(ended.stdout, "");
        assert!(ended.stderr.contains(kid), "{}", ended.stderr);
    }
    assert_eq!(
        run(&site, &["keys", "list"]).await.stdout.trim(),
        format!("{} ES256 signs", only.trim())
    );
}

#[tokio::test]
async fn a_new_key_is_of_the_configured_algorithm() {
    for (algorithm, extension) in [("EdDSA", "pem"), ("RS256", "pem"), ("HS256", "secret")] {
        let line = format!("algorithm = \"{algorithm}\"");
        let site = TestGateway::builder().section("token", &line).site_alone();
        let kid = run(&site, &["keys", "new"]).await.stdout;
        let file = format!("{}.{algorithm}.{extension}", kid.trim());
        assert!(site.folder.path().join("keys").join(file).is_file());
    }
}

#[tokio::test]
async fn what_fails_while_it_runs_is_no_bad_usage() {
    let ended = run(&TestGateway::builder().site_alone(), &["keys", "list"]).await;
    ended.check_failed(1);
    assert_eq!(ended.stdout, "");
}

#[tokio::test]
async fn check_looks_at_the_time_and_the_chain_of_a_certificate() {
    for (certificate, code, told) in [
        (Certificate::new("shop.example"), 0, None),
        (
            Certificate::expired("shop.example"),
            2,
            Some("has expired (2020-01-01T00:00:00Z)"),
        ),
        (
            Certificate::of_the_future("shop.example"),
            2,
            Some("is not valid yet"),
        ),
        (
            Certificate::issued("shop.example"),
            0,
            Some("holds the certificate alone"),
        ),
    ] {
        let site = TestGateway::builder()
            .section("server", &certificate.lines())
            .site_alone();
        let checked = run(&site, &["check"]).await;
        assert_eq!(checked.code, Some(code), "{}", checked.said());
        assert_eq!(
            checked.stderr.is_empty(),
            told.is_none(),
            "{}",
            checked.stderr
        );
        assert!(
            told.is_none_or(|told| checked.stderr.contains(told)),
            "{}",
            checked.stderr
        );
        // A reload by hand must not be what is missing when the certificate is renewed.
        let serving = Program::start(site.command(MENSHEN, &["serve"]));
        serving.logs("listening").await;
        assert!(
            told.is_none_or(|told| serving.stderr().contains(told)),
            "{}",
            serving.stderr()
        );
    }
}

#[tokio::test]
async fn check_tells_a_secret_that_was_not_copied_whole() {
    let site = TestGateway::builder().site_alone();
    let direct = fs::read_to_string(&site.config).unwrap();
    let (_, rest) = direct.split_once("api_base = \"").unwrap();
    let (base, _) = rest.split_once('"').unwrap();
    site.change(base, "https://api.weixin.qq.com");
    for (secret, code, told) in [
        ("0123456789abcdef0123456789abcdef".to_owned(), 0, None),
        (APP_SECRET.to_owned(), 0, Some("other characters than 0-9")),
        (
            "0123456789abcdef0123456789abcde".to_owned(),
            0,
            Some("has 31 characters"),
        ),
        (
            "\u{feff}0123456789abcdef0123456789abcdef".to_owned(),
            2,
            Some("byte order mark"),
        ),
        (
            "\"0123456789abcdef0123456789abcdef\"".to_owned(),
            2,
            Some("quotes"),
        ),
        (
            "0123456789abcdef0123456789abcdef ".to_owned(),
            2,
            Some("white space"),
        ),
        (
            "0123456789abcdef\u{a0}123456789abcdef".to_owned(),
            2,
            Some("no-break space"),
        ),
    ] {
        let mut command = site.command(MENSHEN, &["check"]);
        command.env("APP_SECRET", &secret);
        let checked = Program::run(command).await;
        assert_eq!(checked.code, Some(code), "{}", checked.said());
        assert_eq!(
            checked.stderr.is_empty(),
            told.is_none(),
            "{}",
            checked.stderr
        );
        assert!(
            told.is_none_or(|told| checked.stderr.contains(told)),
            "{}",
            checked.stderr
        );
        assert!(!checked.said().contains("456789ab"), "{}", checked.said());
    }
}

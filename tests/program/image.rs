//! The container image: what the last stage of `examples/deploy/Dockerfile` says, assembled as a root file system over what its
//! base has, and run in a chroot as an engine runs it: as its user, with nothing writable but the volume.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use menshen_test_support::{
    Backend, Program, Reply, address_in, copy_program, make_client, read_from_repository, set_mode,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const SECRET: &str = "0123456789abcdef0123456789abcdef";
const APPID: &str = "wx0123456789abcdef";

/// What an engine would make of the file.
struct Image {
    folder: TempDir,
    user: String,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
}

impl Image {
    fn assemble() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        base(&root);
        let (mut user, mut entrypoint, mut cmd) = (String::new(), Vec::new(), Vec::new());
        let dockerfile = read_from_repository("examples/deploy/Dockerfile");
        let (_, stage) = dockerfile.split_once("FROM ${BASE}\n").unwrap();
        let steps = stage.lines().filter(|line| !line.starts_with('#'));
        for (step, rest) in steps.filter_map(|line| line.split_once(' ')) {
            let words: Vec<&str> = rest.split(' ').collect();
            match (step, words.as_slice()) {
                ("COPY", ["--from=build", "/src/target/release/menshen", to]) => {
                    put(Path::new(MENSHEN), &inside(&root, to));
                }
                ("COPY", ["--from=build", owner, "/state", to]) => {
                    fs::create_dir_all(inside(&root, to)).unwrap();
                    let owner = owner.strip_prefix("--chown=").unwrap();
                    let (uid, gid) = owner.split_once(':').unwrap();
                    let ids = (uid.parse().ok(), gid.parse().ok());
                    chown(inside(&root, to), ids.0, ids.1).unwrap();
                }
                ("WORKDIR", [path]) => assert!(inside(&root, path).is_dir(), "{path}"),
                ("USER", [named]) => user = (*named).to_owned(),
                ("ENTRYPOINT", _) => entrypoint = serde_json::from_str(rest).unwrap(),
                ("CMD", _) => cmd = serde_json::from_str(rest).unwrap(),
                ("EXPOSE", _) => {}
                _ => panic!("nobody says what this does: {step} {rest}"),
            }
        }
        Self {
            folder,
            user,
            entrypoint,
            cmd,
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Describes a container of its own processes and mounts, in which a folder of configuration is mounted, and in which
    /// nothing can be written but the state.
    fn container(&self, configuration: &Path, arguments: &[String]) -> tokio::process::Command {
        let (root, state) = (self.root(), self.folder.path().join("state"));
        fs::create_dir_all(&state).unwrap();
        let (uid, gid) = self.user.split_once(':').unwrap();
        chown(&state, uid.parse().ok(), gid.parse().ok()).unwrap();
        let script = "set -e; mount --bind \"$1\" \"$1\"
            mount -t proc proc \"$1/proc\"
            mount --bind \"$2\" \"$1/etc/menshen\"
            mount --bind \"$3\" \"$1/var/lib/menshen\"
            mount -o remount,bind,ro \"$1/etc/menshen\"
            mount -o remount,bind,ro \"$1\"
            root=$1 user=$4; shift 4
            # A change of user forgets the signal of a parent's death, so the shell stays, and its namespace ends with it.
            chroot --userspec=\"$user\" \"$root\" \"$@\"; exit $?";
        let mut command = tokio::process::Command::new("unshare");
        command.args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command
            .args([&*root, configuration, &*state])
            .arg(&self.user);
        command.args(&self.entrypoint).args(arguments).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }
}

fn inside(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn put(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    copy_program(from, to);
}

/// Makes what distroless/cc has: the C library and what else the program asks for, certificates, a user, and no shell.
fn base(root: &Path) {
    for folder in ["etc/menshen", "proc", "tmp", "usr/local/bin"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    set_mode(&root.join("tmp"), 0o1777);
    fs::write(
        root.join("etc/passwd"),
        "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
    )
    .unwrap();
    let needed = Command::new("ldd").arg(MENSHEN).output().unwrap();
    let needed = String::from_utf8(needed.stdout).unwrap();
    let libraries = needed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for library in libraries {
        put(Path::new(library), &inside(root, library));
    }
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    put(Path::new(authorities), &inside(root, authorities));
}

/// Returns a folder that is mounted at /etc/menshen.
fn configuration(toml: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(folder.path().join("menshen.toml"), toml).unwrap();
    fs::write(&secret, SECRET).unwrap();
    for path in [folder.path(), &secret] {
        chown(path, Some(65532), Some(65532)).unwrap();
    }
    set_mode(&secret, 0o400);
    folder
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[tokio::test]
async fn a_user_logs_in_and_comes_through_and_nothing_else_is_in_the_image() {
    let image = Image::assemble();
    assert!(!image.root().join("bin/sh").exists());
    let nothing = configuration("");
    let app = format!("{APPID}:{SECRET}");
    let simulate = strings(&["simulate", "--listen", "127.0.0.1:0", "--app", &app]);
    let wechat = Program::start(image.container(nothing.path(), &simulate));
    let wechat = (address_in(&wechat.prints("listens on").await), wechat);
    let backend = Backend::php().await;
    let toml = read_from_repository("examples/deploy/compose.toml")
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("wechat:8600", &wechat.0.to_string())
        .replace("backend:3000", &backend.addr.to_string())
        .replace("/run/secrets/shop_app_secret", "/etc/menshen/secret");
    let toml = format!("{toml}[control]\nlisten = \"127.0.0.1:0\"\n");
    let configuration = configuration(&toml);
    let serve = image.container(configuration.path(), &image.cmd);
    let menshen = Program::start(serve);
    let address = menshen.find_address().await;

    let http = make_client();
    let user = json!({"appid": APPID, "user": "me"});
    let code = http.post(format!("http://{}/_sim/login", wechat.0));
    let code = Reply::of(code.json(&user)).await.json()["code"].clone();
    let login = http.post(format!("http://{address}/_auth/login"));
    let login = Reply::of(login.json(&json!({ "code": code }))).await;
    assert_eq!(login.status, 200, "{}", login.text());
    let token: Value = login.json()["token"].clone();
    let asked = http.get(format!("http://{address}/orders"));
    let orders = Reply::of(asked.bearer_auth(token.as_str().unwrap())).await;
    assert_eq!(orders.status, 200, "{}", orders.text());
    assert_eq!(orders.json()["app"], "shop");

    // What it keeps is on the volume, and its processes are those of its user.
    let state = image.folder.path().join("state");
    assert!(state.join("keys").is_dir() && state.join("data/sessions.redb").is_file());
    let child = |of: &str| {
        let children = format!("/proc/{of}/task/{of}/children");
        fs::read_to_string(children).unwrap().trim().to_owned()
    };
    let serving = child(&child(&menshen.id().to_string()));
    let status = fs::read_to_string(format!("/proc/{serving}/status")).unwrap();
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.unwrap()
            .split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(line("Uid:"), ["65532"; 4]);
    assert_eq!(line("CapEff:"), ["0000000000000000"]);
    let stop = Command::new("kill").args(["-s", "TERM", &serving]).status();
    assert!(stop.unwrap().success());
    assert_eq!(menshen.ended().await.code, Some(0));
}

#[tokio::test]
async fn a_configuration_whose_state_is_not_on_the_volume_is_refused() {
    let image = Image::assemble();
    let toml = read_from_repository("examples/deploy/compose.toml")
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("/run/secrets/shop_app_secret", "/etc/menshen/secret")
        .replace("/var/lib/menshen/keys", "/keys");
    let configuration = configuration(&toml);
    let check = strings(&["check", "-c", "/etc/menshen/menshen.toml"]);
    let ended = Program::run(image.container(configuration.path(), &check)).await;
    assert_eq!(ended.code, Some(2), "{}", ended.said());
    assert!(
        ended
            .stderr
            .contains("token.keys_dir: /keys: cannot be made"),
        "{}",
        ended.said()
    );
}

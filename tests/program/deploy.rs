//! The files of `examples/deploy` and `packaging` are what their own tools accept, and run Menshen as they say.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use menshen_test_support::{
    Backend, Program, SEAL_KEY, address_in, find_installed, find_repository, read_from_repository,
};
use serde_json::{Value, json};

use super::commands::done;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");
const PROGRAM: &str = "/usr/bin/menshen";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn file(name: &str) -> PathBuf {
    find_repository().join("examples/deploy").join(name)
}

/// Describes a tool that `tests/setup.sh` installs from PyPI.
fn tool(name: &str) -> Command {
    Command::new(find_installed(&format!("deploy/bin/{name}"), name))
}

/// Reads every document of a YAML file.
fn documents(name: &str) -> Vec<Value> {
    let program =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let read = tool("python")
        .args(["-c", program])
        .arg(file(name))
        .output();
    serde_json::from_slice(&read.unwrap().stdout).unwrap()
}

fn document(name: &str, kind: &str) -> Value {
    let mut documents = documents(name).into_iter();
    documents.find(|document| document["kind"] == kind).unwrap()
}

fn words(value: &Value) -> Vec<String> {
    let words = value.as_array().unwrap().iter();
    words
        .map(|word| word.as_str().unwrap().to_owned())
        .collect()
}

/// Replaces what only Docker would fill in.
fn interpolated(word: &str) -> String {
    let named = "${SHOP_APP_SECRET:?is to be what is in the file shop_app_secret}";
    word.replace(named, SECRET)
}

const MANIFESTS: [&str; 2] = ["kubernetes.yaml", "kubernetes-replicas.yaml"];

fn unit_text() -> String {
    read_from_repository("packaging/menshen.service")
}

/// Returns a copy of the unit that starts the program under test.
fn unit(folder: &Path) -> PathBuf {
    let unit = folder.join("menshen.service");
    fs::write(&unit, unit_text().replace(PROGRAM, MENSHEN)).unwrap();
    unit
}

#[test]
fn hadolint_accepts_the_dockerfile() {
    let mut hadolint = tool("hadolint");
    hadolint.arg(file("Dockerfile"));
    done(&mut hadolint);
}

#[test]
fn the_compose_file_is_of_its_schema() {
    let mut check = tool("check-jsonschema");
    check.args(["--builtin-schema", "vendor.compose-spec"]);
    check.arg(file("compose.yaml"));
    done(&mut check);
}

#[test]
fn the_manifests_are_of_the_schema_of_kubernetes() {
    let mut validate = tool("kubernetes-validate");
    validate.arg("--strict").args(MANIFESTS.map(file));
    done(&mut validate);
}

#[test]
fn systemd_accepts_the_unit_and_finds_it_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit(folder.path());
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(&unit);
    done(&mut verify);
    let mut security = Command::new("systemd-analyze");
    // Of 100; a unit that says nothing has 96.
    security.args(["security", "--offline=true", "--threshold=15", "--no-pager"]);
    security.arg(&unit);
    done(&mut security);
}

#[tokio::test]
async fn the_unit_runs_the_full_configuration_as_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let unit = unit_text();
    let commands: Vec<&str> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("ExecStart"))
        .filter_map(|line| line.split_once('=').map(|(_, command)| command))
        .collect();
    assert_eq!(commands.len(), 2);
    let conf = read_from_repository("conf/menshen.toml");
    let conf = conf.replace("0.0.0.0:8080", "127.0.0.1:0");
    let conf = conf.replace("127.0.0.1:9090", "127.0.0.1:0");
    fs::write(folder.path().join("menshen.toml"), conf).unwrap();
    let start = |command: &str| {
        let command = command.replace("/etc/menshen/", "");
        let words: Vec<&str> = command.split(' ').collect();
        assert_eq!(words[0], PROGRAM);
        let mut command = Program::command(MENSHEN, &words[1..]);
        command.current_dir(&folder).env("SHOP_APP_SECRET", SECRET);
        Program::start(command)
    };
    let check = start(commands[0]).ended().await;
    assert_eq!(check.code, Some(0), "{}", check.said());
    let serve = start(commands[1]);
    serve.logs("listening").await;
    assert!(unit.contains("ExecReload=/bin/sh -c 'kill -HUP \"$MAINPID\"'\n"));
    serve.reload(1).await;
    assert_eq!(serve.stop().await.code, Some(0));
}

#[tokio::test]
async fn the_configurations_in_the_files_have_no_problems() {
    let manifests = MANIFESTS.map(|name| {
        let manifest = document(name, "ConfigMap");
        manifest["data"]["menshen.toml"]
            .as_str()
            .unwrap()
            .to_owned()
    });
    let configurations = manifests
        .into_iter()
        .chain([read_from_repository("examples/deploy/compose.toml")]);
    for configuration in configurations {
        let folder = tempfile::tempdir().unwrap();
        let configuration = configuration.replace("/run/secrets/", "");
        let configuration = configuration.replace("/var/lib/menshen/", "");
        let configuration = configuration.replace("/etc/menshen-keys", "keys");
        fs::write(folder.path().join("menshen.toml"), configuration).unwrap();
        fs::write(folder.path().join("shop_app_secret"), SECRET).unwrap();
        let mut command = Program::command(MENSHEN, &["check", "-c", "menshen.toml"]);
        command.current_dir(&folder).env("SHOP_APP_SECRET", SECRET);
        command.env("MENSHEN_CONTROL_SECRET", SECRET);
        command.env("MENSHEN_SEAL_KEY", SEAL_KEY);
        command.env("REDIS_URL", "redis://127.0.0.1:6379/0");
        let ended = Program::run(command).await;
        assert_eq!(ended.code, Some(0), "{}", ended.said());
    }
}

#[test]
fn the_manifests_fit_each_other() {
    for name in MANIFESTS {
        fits(name);
    }
}

fn fits(name: &str) {
    let pod = document(name, "Deployment");
    let labels = &pod["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&pod["spec"]["selector"]["matchLabels"], labels);
    let service = document(name, "Service");
    assert_eq!(&service["spec"]["selector"], labels);
    let spec = &pod["spec"]["template"]["spec"];
    let container = &spec["containers"][0];
    let port = &container["ports"][0];
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    let control = &container["ports"][1];
    for (probe, path) in [
        ("startupProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/healthz"),
    ] {
        let asked = &container[probe]["httpGet"];
        assert_eq!(asked["port"], control["name"], "{probe}");
        assert_eq!(asked["path"], path, "{probe}");
    }
    let secrets = document(name, "Secret");
    for variable in container["env"].as_array().unwrap() {
        let secret = &variable["valueFrom"]["secretKeyRef"];
        assert_eq!(secret["name"], secrets["metadata"]["name"]);
        let key = secret["key"].as_str().unwrap();
        assert_eq!(secrets["stringData"][key], "replace-me");
    }
    let config = document(name, "ConfigMap");
    let volumes = &spec["volumes"];
    assert_eq!(volumes[0]["configMap"]["name"], config["metadata"]["name"]);
    let toml = config["data"]["menshen.toml"].as_str().unwrap();
    let listens = format!(":{}\"]", port["containerPort"]);
    assert!(toml.contains(&listens), "{listens}");
    let listens = format!("\"0.0.0.0:{}\"", control["containerPort"]);
    assert!(toml.contains(&listens), "{listens}");
    for variable in container["env"].as_array().unwrap() {
        assert!(toml.contains(variable["name"].as_str().unwrap()));
    }
}

#[test]
fn one_menshen_has_a_volume_and_several_have_redis_and_keys_and_are_never_all_taken() {
    let (one, several) = (MANIFESTS[0], MANIFESTS[1]);
    let deployments = MANIFESTS.map(|name| document(name, "Deployment"));
    let volumes = deployments.each_ref().map(|deployment| {
        let volumes = &deployment["spec"]["template"]["spec"]["volumes"];
        volumes[1].clone()
    });
    let claimed = &volumes[0]["persistentVolumeClaim"]["claimName"];
    let claim = document(one, "PersistentVolumeClaim");
    assert_eq!(claimed, &claim["metadata"]["name"]);
    assert_eq!(deployments[0]["spec"]["replicas"], 1);
    assert_eq!(deployments[0]["spec"]["strategy"]["type"], "Recreate");

    assert_eq!(deployments[1]["spec"]["replicas"], 2);
    let rolling = &deployments[1]["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(rolling["maxUnavailable"], 0);
    let budget = document(several, "PodDisruptionBudget");
    assert_eq!(budget["spec"]["minAvailable"], 1);
    let labels = &deployments[1]["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
    // Only the user that Menshen runs as, and its group, may read the keys.
    assert_eq!(volumes[1]["secret"]["defaultMode"], 0o400);
    let pod = &deployments[1]["spec"]["template"]["spec"];
    let mounted = &pod["containers"][0]["volumeMounts"][1];
    let config = document(several, "ConfigMap");
    let toml = config["data"]["menshen.toml"].as_str().unwrap();
    let keys = format!("keys_dir = {}\n", mounted["mountPath"]);
    assert!(toml.contains(&keys), "{keys}");
    // It ends no sooner than its shutdown_delay, its drain of 30 s and the rest take.
    assert!(toml.contains("shutdown_delay = \"5s\""));
    assert_eq!(pod["terminationGracePeriodSeconds"], 60);
}

fn is_confined(name: &str, dockerfile: &str) {
    let pod = document(name, "Deployment");
    let spec = &pod["spec"]["template"]["spec"];
    let user = spec["securityContext"]["runAsUser"].to_string();
    assert!(dockerfile.contains(&format!("USER {user}:{user}\n")));
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(spec["automountServiceAccountToken"], false);
    let context = &spec["containers"][0]["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
}

#[test]
fn nothing_in_the_cluster_runs_as_root_or_writes_outside_its_volume() {
    let dockerfile = read_from_repository("examples/deploy/Dockerfile");
    for name in MANIFESTS {
        is_confined(name, &dockerfile);
    }
    let compose = &documents("compose.yaml")[0];
    for (name, service) in compose["services"].as_object().unwrap() {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], json!(["ALL"]), "{name}");
    }
    let folder = "/var/lib/menshen";
    assert!(dockerfile.contains(&format!("WORKDIR {folder}\n")));
    let pod = document("kubernetes.yaml", "Deployment");
    let mounts = &pod["spec"]["template"]["spec"]["containers"][0]["volumeMounts"];
    assert_eq!(mounts[1]["mountPath"], folder);
    let volumes = words(&compose["services"]["menshen"]["volumes"]);
    assert!(volumes.contains(&format!("state:{folder}")), "{volumes:?}");
}

#[test]
fn what_compose_publishes_is_for_this_machine_and_no_secret_is_in_it() {
    let compose = &documents("compose.yaml")[0];
    for (name, service) in compose["services"].as_object().unwrap() {
        let ports = service["ports"].as_array();
        for port in ports.into_iter().flatten() {
            let port = port.as_str().unwrap();
            assert!(port.starts_with("127.0.0.1:"), "{name}: {port}");
        }
    }
    assert!(!read_from_repository("examples/deploy/compose.yaml").contains(SECRET));
    assert!(!read_from_repository("examples/deploy/compose.toml").contains(SECRET));
}

#[test]
fn the_build_gets_all_it_needs() {
    let context = tempfile::tempdir().unwrap();
    for line in read_from_repository("examples/deploy/Dockerfile.dockerignore").lines() {
        let Some(kept) = line.strip_prefix('!') else {
            continue;
        };
        let mut copy = Command::new("cp");
        copy.arg("-r")
            .arg(find_repository().join(kept))
            .arg(context.path());
        done(&mut copy);
    }
    // Looks at every target without building any.
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["metadata", "--locked", "--offline", "--no-deps"]);
    tree.args(["--format-version", "1"]);
    tree.current_dir(&context);
    done(&mut tree);
}

#[cfg(target_os = "linux")]
#[test]
fn the_program_needs_no_library_that_the_image_lacks() {
    let needed = Command::new("ldd").arg(MENSHEN).output().unwrap();
    let needed = String::from_utf8(needed.stdout).unwrap();
    // What distroless/cc has over an empty image.
    let there = ["linux-vdso", "ld-linux", "libc.so", "libm.so", "libgcc_s"];
    for line in needed.lines() {
        assert!(there.iter().any(|name| line.contains(name)), "{line}");
    }
}

#[tokio::test]
async fn the_services_of_the_compose_file_work_together() {
    let compose = &documents("compose.yaml")[0];
    let service = |name: &str| &compose["services"][name];
    let folder = tempfile::tempdir().unwrap();

    let commanded = words(&service("wechat")["command"]);
    let simulate: Vec<String> = commanded
        .iter()
        .map(|word| interpolated(word).replace("0.0.0.0:8600", "127.0.0.1:0"))
        .collect();
    let wechat = Program::start(Program::command(MENSHEN, &simulate));
    let wechat_address = address_in(&wechat.prints("listens on").await);

    let php = words(&service("backend")["command"]);
    assert_eq!(php, ["php", "-S", "0.0.0.0:3000", "index.php"]);
    let backend = Backend::php().await;

    let toml = read_from_repository("examples/deploy/compose.toml")
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("wechat:8600", &wechat_address.to_string())
        .replace("backend:3000", &backend.addr.to_string())
        .replace("/run/secrets/", "")
        .replace("/var/lib/menshen/", "");
    // Where it is by itself, its private listener may meet another's.
    let toml = format!("{toml}[control]\nlisten = \"127.0.0.1:0\"\n");
    let config = folder.path().join("menshen.toml");
    fs::write(&config, toml).unwrap();
    // The image's own CMD.
    let mut serve = Program::command(MENSHEN, &["serve", "-c", "menshen.toml"]);
    assert!(
        read_from_repository("examples/deploy/Dockerfile")
            .contains(r#"CMD ["serve", "-c", "/etc/menshen/menshen.toml"]"#)
    );
    let given = words(&service("menshen")["secrets"]);
    assert_eq!(given, ["shop_app_secret"]);
    let source = &compose["secrets"]["shop_app_secret"]["file"];
    assert_eq!(source, "./shop_app_secret");
    fs::write(folder.path().join("shop_app_secret"), SECRET).unwrap();
    serve.current_dir(&folder);
    let menshen = Program::start(serve);
    let address = menshen.find_address().await;

    let readme = read_from_repository("examples/deploy/README.md");
    let (_, as_a_client) = readme.split_once("wx.login` would:\n\n```sh\n").unwrap();
    let (lines, _) = as_a_client.split_once("```").unwrap();
    let lines = lines
        .replace("127.0.0.1:8600", &wechat_address.to_string())
        .replace("127.0.0.1:8080", &address.to_string());
    let pasted = tokio::task::spawn_blocking(move || {
        let mut bash = Command::new("bash");
        bash.args(["-c", &lines]).env("no_proxy", "*").output()
    });
    let answer: Value = serde_json::from_slice(&pasted.await.unwrap().unwrap().stdout).unwrap();
    assert_eq!(answer["app"], "shop");
    assert!(answer["user"].is_string(), "{answer}");
}

//! The Debian package, in a Debian of its own that boots with systemd: installed, used, upgraded without a lost request, removed.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use menshen_test_support::find_repository;

use super::commands::done;

const MENSHEN: &str = env!("CARGO_BIN_EXE_menshen");

/// Makes a package of the program under test.
fn package(folder: &Path) -> PathBuf {
    let first = folder.join("first.deb");
    let mut make = Command::new(find_repository().join("packaging/deb.sh"));
    make.arg(MENSHEN)
        .args(["--fast", "-Z", "gz", "--compress-system", "-o"])
        .arg(&first);
    done(&mut make);
    first
}

/// Makes a newer one of the same files.
fn newer(folder: &Path, first: &Path) {
    let files = folder.join("files");
    done(Command::new("dpkg-deb").arg("-R").args([first, &files]));
    let control = files.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let version = text
        .lines()
        .find(|line| line.starts_with("Version: "))
        .unwrap();
    fs::write(&control, text.replace(version, &format!("{version}+next"))).unwrap();
    // Another file than the one that runs, with other bytes.
    let program = fs::OpenOptions::new()
        .append(true)
        .open(files.join("usr/bin/menshen"));
    std::io::Write::write_all(&mut program.unwrap(), b"next").unwrap();
    let mut build = Command::new("dpkg-deb");
    build.args(["-Znone", "--root-owner-group", "-b"]);
    done(build.arg(&files).arg(folder.join("second.deb")));
}

/// Installs without a package, twice, and checks that what was configured in between is kept.
fn is_installed_without(folder: &Path) {
    let destination = folder.join("destination");
    let install = || {
        let mut install = Command::new(find_repository().join("packaging/install.sh"));
        install.arg(MENSHEN).arg(&destination);
        done(install.args(["/usr/local", "/etc"]));
    };
    install();
    let read = |path: &str| fs::read_to_string(destination.join(path)).unwrap();
    let unit = read("usr/local/lib/systemd/system/menshen.service");
    assert!(unit.contains("ExecStart=/usr/local/bin/menshen serve -c /etc/menshen/menshen.toml\n"));
    assert!(!unit.contains("=/usr/bin/menshen"), "{unit}");
    for made in [
        "share/man/man1/menshen.1",
        "share/bash-completion/completions/menshen",
        "share/zsh/site-functions/_menshen",
        "share/fish/vendor_completions.d/menshen.fish",
    ] {
        assert!(!read(&format!("usr/local/{made}")).is_empty(), "{made}");
    }
    done(Command::new(destination.join("usr/local/bin/menshen")).arg("--version"));
    fs::write(destination.join("etc/menshen/menshen.toml"), "# Mine.\n").unwrap();
    install();
    assert_eq!(read("etc/menshen/menshen.toml"), "# Mine.\n");
}

// One test, as both ways gather what they install in the same folder.
#[test]
fn the_package_is_installed_used_upgraded_under_load_and_removed() {
    let system = find_repository().join("target/test-backends/debian/root");
    assert!(
        system.exists(),
        "there is no Debian: run `make test` as root"
    );
    let folder = tempfile::tempdir().unwrap();
    let (accept, results) = (folder.path().join("accept"), folder.path().join("results"));
    fs::create_dir(&accept).unwrap();
    fs::create_dir(&results).unwrap();
    let first = package(&accept);
    newer(&accept, &first);
    fs::remove_dir_all(accept.join("files")).unwrap();
    is_installed_without(folder.path());
    let scripts = find_repository().join("tests/debian");
    fs::copy(scripts.join("accept.sh"), accept.join("accept.sh")).unwrap();
    let unit = scripts.join("accept.service");

    let mut boot = Command::new("systemd-nspawn");
    // A network of its own, and nothing is left behind.
    boot.args([
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--private-network",
    ]);
    boot.args(["--volatile=overlay", "--console=pipe"]);
    boot.arg(format!("--machine=menshen-{}", std::process::id()));
    boot.arg("--directory").arg(&system);
    boot.arg(format!("--bind-ro={}:/accept", accept.display()));
    boot.arg(format!("--bind={}:/results", results.display()));
    boot.arg(format!(
        "--bind-ro={}:/etc/systemd/system/accept.service",
        unit.display()
    ));
    boot.args(["--boot", "systemd.wants=accept.service"]);
    let booted = boot.output().unwrap();
    let said = fs::read_to_string(results.join("log")).unwrap_or_default();
    let steps = said
        .lines()
        .filter_map(|line| line.strip_prefix("passed: "));
    let steps: Vec<&str> = steps.collect();
    let console = String::from_utf8_lossy(&booted.stderr).into_owned();
    let every = [
        "install", "start", "use", "reload", "upgrade", "restart", "back_up", "remove", "purge",
        "all",
    ];
    assert_eq!(steps, every, "{said}\n{console}");
}

//! Tells the program which commit it was built from, and when that was made.
//!
//! `MENSHEN_COMMIT` and `MENSHEN_DATE` say so where git cannot, as in an image. A debug build does not ask git: with every
//! commit it would be built anew.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if release {
        for path in [".git/HEAD", ".git/logs/HEAD"] {
            if std::fs::exists(path).unwrap_or(false) {
                println!("cargo::rerun-if-changed={path}");
            }
        }
    }
    let asked = |format: &str| git(format).filter(|_| release);
    for (name, format) in [("MENSHEN_COMMIT", "%h"), ("MENSHEN_DATE", "%cs")] {
        println!("cargo::rerun-if-env-changed={name}");
        let given = env::var(name).ok().filter(|given| !given.is_empty());
        let known = given.or_else(|| asked(format));
        let known = known.unwrap_or_else(|| "unknown".to_owned());
        println!("cargo::rustc-env={name}={known}");
    }
}

fn git(format: &str) -> Option<String> {
    let format = format!("--format={format}");
    let mut command = Command::new("git");
    let asked = command.args(["log", "-1", "--abbrev=12", &format]).output();
    let asked = asked.ok().filter(|asked| asked.status.success())?;
    let line = String::from_utf8(asked.stdout).ok()?.trim().to_owned();
    (!line.is_empty() && !line.contains('\n')).then_some(line)
}

//! Where secrets come from, and where they are not seen.

use super::{SECRET, instead, read, with};

#[test]
fn a_secret_is_in_no_problem() {
    for text in [
        with("app", &format!("secret = \"{SECRET}\"")),
        with("app", &format!("app_secret = \"{SECRET}\"")),
        with("app", &format!("secret = {SECRET}")),
        with("app", &format!("secret = \"{SECRET}")),
        with("app", &format!("secret_env = \"{SECRET}\"")),
        instead("\"SECRET\"", &format!("\"{SECRET}\"")),
        instead("\"SECRET\"", &format!("[\"{SECRET}\"]")),
        instead("\"SECRET\"", &format!("\"{SECRET}\\n\"")),
        instead(
            "secret_env = \"SECRET\"",
            &format!("secret_file = \"{SECRET}\""),
        ),
        with("[session]", &format!("seal_key = \"{SECRET}\"")),
        with("[session]", &format!("seal_key_file = \"{SECRET}\"")),
        with("[session]", "seal_key_env = \"SECRET\""),
        with("[control]", &format!("secret = \"{SECRET}\"")),
        with("[control]", "secret_env = \"SECRET\""),
        with(
            "[wechat]",
            &format!("api_base = \"https://me:{SECRET}@a.example\""),
        ),
        with(&format!("secret = \"{SECRET}\""), ""),
    ] {
        let problems = read(&text).unwrap_err();
        assert!(
            !format!("{problems} {problems:?}").contains(SECRET),
            "{problems}"
        );
    }
}

#[test]
fn a_secret_is_not_in_the_debug_form_of_a_configuration() {
    let config = read(&with("[session]", "seal_key_env = \"SEAL_KEY\"")).unwrap();
    assert_eq!(config.apps[0].secret.expose(), SECRET);
    let debug = format!("{config:?}");
    assert!(
        !debug.contains(SECRET) && !debug.contains("AAAA"),
        "{debug}"
    );
}

#[test]
fn a_secret_may_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "from-a-file\n").unwrap();
    let lines = format!("secret_file = {file:?}");
    let config = read(&instead("secret_env = \"SECRET\"", &lines)).unwrap();
    assert_eq!(config.apps[0].secret.expose(), "from-a-file");
}

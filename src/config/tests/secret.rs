//! Where secrets come from, and where they are not seen.

use super::{SECRET, instead, problems, read, with};

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
fn every_key_of_a_secret_is_hidden_where_settings_are_shown() {
    use crate::config::SettingValue;

    let text = with("[session]", "seal_key_env = \"SEAL_KEY\"")
        + "[wechat]\nproxy = \"http://proxy.internal:3128\"\nproxy_auth_env = \"PROXY_AUTH\"\n\
           [control]\nsecret_env = \"WHOLE_SECRET\"\n";
    let config = read(&text).unwrap();
    let shown = format!("{:?}", config.settings.0);
    for secret in [SECRET, "AAAA", "me:a:b", "0123456789abcdef"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    let state = |key: &str| {
        let mut found = config
            .settings
            .0
            .iter()
            .filter(|setting| setting.key == key);
        found.next().unwrap().value.clone()
    };
    for key in [
        "app[1].secret_env",
        "session.seal_key_env",
        "wechat.proxy_auth_env",
        "control.secret_env",
    ] {
        assert_eq!(state(key), SettingValue::Hidden, "{key}");
    }
    assert_eq!(state("control.secret_file"), SettingValue::Unset);
    let proxy = SettingValue::Written("\"http://proxy.internal:3128\"".to_owned());
    assert_eq!(state("wechat.proxy"), proxy);
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

#[test]
fn quotes_and_no_break_spaces_in_other_secrets_are_told_too() {
    for (name, told) in [("QUOTED", "quotes"), ("UNBROKEN", "no-break space")] {
        let proxy = format!("proxy = \"http://proxy.internal\"\nproxy_auth_env = \"{name}\"");
        let secret = format!("secret_env = \"{name}\"");
        for (section, lines, key) in [
            ("[wechat]", proxy, "wechat.proxy_auth_env"),
            ("[control]", secret, "control.secret_env"),
        ] {
            let found = problems(&with(section, &lines)).concat();
            assert!(found.contains(key) && found.contains(told), "{found}");
            assert!(!found.contains("hun"), "{found}");
        }
    }
}

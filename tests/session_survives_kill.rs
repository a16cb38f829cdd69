//! A login that was answered is still there after the process was killed.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use menshen::clock::Clock;
use menshen::secret::Secret;
use menshen::session::{Identity, Lifetimes, RefreshToken, Sessions, Source};

const FOLDER: &str = "SESSION_SURVIVES_KILL_FOLDER";
const ANSWERED: &str = "answered: ";

fn store(folder: &Path) -> Sessions {
    let lifetimes = Lifetimes {
        session_ttl: Duration::from_secs(3600),
        refresh_grace: Duration::from_secs(30),
        token_ttl: Duration::from_secs(600),
    };
    Sessions::embedded(folder, None, lifetimes, Clock::system()).unwrap()
}

async fn log_in(store: &Sessions, openid: String) -> RefreshToken {
    let identity = Identity {
        app: "shop".to_owned(),
        appid: "wx1".to_owned(),
        openid,
        unionid: None,
        source: Source::MiniProgram,
    };
    let key = Secret::new("c2Vzc2lvbl9rZXlfYnl0ZQ==");
    store.open_session(identity, &key).await.unwrap().refresh
}

#[tokio::test]
#[ignore = "it runs until it is killed, as the child of the test below"]
async fn logs_in_for_ever() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let store = store(Path::new(&folder));
    let workers = (0..8).map(|worker| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0_u64.. {
                let token = log_in(&store, format!("user-{worker}-{n}")).await;
                println!("{ANSWERED}{}", token.expose());
            }
        })
    });
    futures::future::join_all(workers).await;
}

#[tokio::test]
async fn every_login_that_was_answered_before_a_kill_can_be_refreshed_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "logs_in_for_ever", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut tokens = Vec::new();
    for line in lines.map_while(Result::ok) {
        let Some((_, token)) = line.split_once(ANSWERED) else {
            continue;
        };
        tokens.push(RefreshToken::from_client(token));
        // What was printed before the kill arrived is read to its end.
        if tokens.len() == 100 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(tokens.len() >= 100, "only {} logins", tokens.len());
    let store = store(folder.path());
    for (n, token) in tokens.iter().enumerate() {
        if let Err(error) = store.refresh(token).await {
            panic!("login {n} of {}: {error}", tokens.len());
        }
    }
}

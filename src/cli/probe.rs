//! `menshen check --probe`: tells what WeChat says of each app's credentials, and what to do about it.

use super::{Outcome, complain, runtime, say};
use crate::config::{App, Config};
use crate::wechat::{Client, SECRET_REFUSED, Verdict};

/// Asks WeChat about every app; one that can log its users in is in order.
pub(super) fn run(config: &Config) -> Outcome {
    let (client, runtime) = match (Client::new(&config.wechat), runtime(1)) {
        (Ok(client), Ok(runtime)) => (client, runtime),
        (Err(error), _) => return complain(&error),
        (_, Err(error)) => return complain(&error),
    };
    let mut outcome = Outcome::Done;
    for app in &config.apps {
        let verdict = runtime.block_on(client.probe(app));
        let previous = app.previous_secret.as_ref().map(|secret| App {
            secret: secret.clone(),
            ..app.clone()
        });
        let told = match previous {
            Some(previous) if !matches!(verdict, Verdict::Unknown { .. }) => {
                let previous = runtime.block_on(client.probe(&previous));
                of_two(&app.name, &verdict, &previous)
            }
            Some(_) | None => of_one(&app.name, &verdict),
        };
        if told == Outcome::Misconfigured {
            outcome = told;
        }
    }
    outcome
}

fn of_one(app: &str, verdict: &Verdict) -> Outcome {
    match verdict {
        Verdict::Right => {
            say(&format_args!("app {app}: appid and secret are right"));
            Outcome::Done
        }
        Verdict::Wrong {
            errcode,
            advice,
            rid,
            address,
        } => {
            let address = address.map_or_else(String::new, |address| format!(" ({address})"));
            let rid = rid
                .as_ref()
                .map(|rid| format!(" (rid {rid})"))
                .unwrap_or_default();
            complain(&format_args!(
                "app {app}: WeChat answered errcode {errcode}: {advice}{address}{rid}"
            ))
        }
        Verdict::Unknown { error, advice } => {
            complain(&format_args!("app {app}: cannot tell: {error}; {advice}"))
        }
    }
}

/// Tells of an app with two secrets, of which WeChat takes one while the other replaces it.
fn of_two(app: &str, verdict: &Verdict, previous: &Verdict) -> Outcome {
    match (verdict, previous) {
        (Verdict::Right, Verdict::Wrong { .. }) => say(&format_args!(
            "app {app}: appid and secret are right; WeChat does not take previous_secret, which can be taken out"
        )),
        (
            Verdict::Wrong {
                errcode: SECRET_REFUSED,
                ..
            },
            Verdict::Right,
        ) => say(&format_args!(
            "app {app}: WeChat takes previous_secret, which is used until it takes secret: \
             is secret what the Mini Program console shows?"
        )),
        (Verdict::Right | Verdict::Wrong { .. } | Verdict::Unknown { .. }, _) => {
            return of_one(app, verdict);
        }
    }
    Outcome::Done
}

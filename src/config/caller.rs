//! Reads `[[control.caller]]`, somebody who may ask the private listener for some calls only.

use super::kind::{Kind, TEXT, text};
use super::name::{self, Names};
use super::reader::Table;
use super::secret::{self, Environment, Keys};
use crate::secret::Secret;

/// Shorter ones could be guessed from many addresses.
const SHORTEST_SECRET: usize = 16;

pub(super) const SECRET: Keys = Keys {
    file: "secret_file",
    env: "secret_env",
};

/// What may be asked of the private listener, as far as callers are told apart by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The counters.
    Metrics,
    /// A user's sessions.
    ListSessions,
    /// The users who have a unionid.
    ListUsers,
    /// Ending a session, or all of a user's.
    EndSessions,
    /// Opening data with a user's session_key.
    Decrypt,
    /// Checking a signature made with it.
    Verify,
    /// Signing with it.
    Sign,
    /// A user's phone number.
    PhoneNumber,
    /// The access_token, or a newer one.
    AccessToken,
    /// WeChat's API with the access_token put in.
    Relay,
    /// Asking WeChat whether it knows it.
    CheckSession,
    /// Having WeChat give another one.
    ResetSessionKey,
    /// Reading the configuration again.
    Reload,
    /// What was decided about one of the last requests.
    ExplainRequest,
    /// What the status page shows.
    Status,
}

impl Call {
    /// Every call, with its name in the configuration.
    const NAMES: [(&'static str, Self); 15] = [
        ("metrics", Self::Metrics),
        ("list_sessions", Self::ListSessions),
        ("list_users", Self::ListUsers),
        ("end_sessions", Self::EndSessions),
        ("decrypt", Self::Decrypt),
        ("verify", Self::Verify),
        ("sign", Self::Sign),
        ("check_session", Self::CheckSession),
        ("reset_session_key", Self::ResetSessionKey),
        ("phone_number", Self::PhoneNumber),
        ("access_token", Self::AccessToken),
        ("relay", Self::Relay),
        ("reload", Self::Reload),
        ("explain_request", Self::ExplainRequest),
        ("status", Self::Status),
    ];

    /// Returns every call.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::NAMES.into_iter().map(|(_, call)| call)
    }

    /// Returns its name in the configuration.
    pub fn name(self) -> &'static str {
        let named = Self::NAMES.into_iter().find(|(_, call)| *call == self);
        named.map_or("", |(name, _)| name)
    }

    fn from_name(name: &str) -> Option<Self> {
        let known = Self::NAMES.into_iter().find(|(known, _)| *known == name);
        known.map(|(_, call)| call)
    }
}

/// Somebody with a secret that is good for some calls only.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The name in the log.
    pub name: String,
    /// What is sent as a bearer token.
    pub secret: Secret,
    /// The names of the apps it is good for; `None` means all.
    pub apps: Option<Vec<String>>,
    /// The calls it is good for, at least one.
    pub calls: Vec<Call>,
}

const CALL: Kind<Call> = Kind {
    expected: "a list of calls among \"metrics\", \"list_sessions\", \"list_users\", \"end_sessions\", \"decrypt\", \"verify\", \"sign\", \"check_session\", \"reset_session_key\", \"phone_number\", \"access_token\", \"relay\", \"reload\", \"explain_request\" and \"status\"",
    read: |value| Call::from_name(text(value)?),
};

const APP: Kind<String> = Kind {
    expected: "a list of the names of apps",
    read: TEXT.read,
};

/// What callers are compared with.
pub(super) struct Callers<'c> {
    pub(super) apps: &'c Names,
    pub(super) names: Names,
    /// Every secret of the listener, with the section that has it.
    pub(super) secrets: Vec<(String, Secret)>,
}

impl Callers<'_> {
    /// Reads one section.
    pub(super) fn read(
        &mut self,
        table: &mut Table<'_, '_>,
        env: Environment<'_>,
    ) -> Option<Caller> {
        let name = table.required("name", &name::APP);
        self.names.take(table, "name");
        let secret = secret::required(table, &SECRET, env);
        secret::refuse_copied(table, &SECRET, secret.as_ref());
        refuse_unfit(table, secret.as_ref());
        self.refuse_known(table, secret.as_ref());
        let calls = table.required_list("calls", &CALL);
        let apps = table.optional_list("apps", &APP);
        if apps.as_ref().is_some_and(Vec::is_empty) {
            let message = "must name an app; without the key the secret is good for all of them";
            table.refuse("apps", message.to_owned());
        }
        for app in apps.iter().flatten() {
            self.apps.resolve(table, "apps", app);
        }
        Some(Caller {
            name: name?,
            secret: secret?,
            apps,
            calls: calls?,
        })
    }

    /// Refuses a secret that somebody else has, since nobody could tell the two apart.
    fn refuse_known(&mut self, table: &mut Table<'_, '_>, secret: Option<&Secret>) {
        let Some(secret) = secret else { return };
        let mut known = self.secrets.iter();
        if let Some((owner, _)) = known.find(|(_, known)| known == secret) {
            let message = format!("must lead to a secret of its own, not to that of {owner}");
            table.refuse(given(table), message);
        }
        self.secrets.push((table.path().to_owned(), secret.clone()));
    }
}

/// Refuses a secret that cannot be sent as a bearer token, or is not worth sending.
pub(super) fn refuse_unfit(table: &mut Table<'_, '_>, secret: Option<&Secret>) {
    let is_fit = |secret: &Secret| {
        let text = secret.expose();
        text.len() >= SHORTEST_SECRET && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if secret.is_some_and(|secret| !is_fit(secret)) {
        let message =
            "must lead to at least 16 characters, without spaces, as `openssl rand -hex 32` prints";
        table.refuse(given(table), message.to_owned());
    }
}

/// Returns the key under which a section's secret was given.
fn given(table: &Table<'_, '_>) -> &'static str {
    let keys = [SECRET.file, SECRET.env];
    let given = keys.into_iter().find(|key| table.has(key));
    given.unwrap_or(SECRET.file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_names_an_unknown_call_is_told_all_that_there_are() {
        for (name, call) in Call::NAMES {
            assert!(CALL.expected.contains(&format!("\"{name}\"")), "{name}");
            assert_eq!(Call::from_name(name), Some(call));
        }
        assert_eq!(CALL.expected.matches('"').count(), 2 * Call::NAMES.len());
    }
}

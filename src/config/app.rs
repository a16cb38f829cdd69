//! Reads `[[app]]`, one WeChat application.

use std::num::NonZeroU32;

use super::app_kind::{AppKind, Scope};
use super::kind::{Kind, text};
use super::login::QUOTA;
use super::model::{App, TokenKind};
use super::name::{self, Names};
use super::reader::Table;
use super::secret::{self, Environment, Keys};
use crate::secret::Secret;

const KIND: Kind<AppKind> = Kind {
    expected: "\"mini_program\", \"official_account\" or \"website\"",
    read: |value| match value.as_str()? {
        "mini_program" => Some(AppKind::MiniProgram),
        "official_account" => Some(AppKind::OfficialAccount(Scope::Base)),
        "website" => Some(AppKind::Website),
        _ => None,
    },
};

const SCOPE: Kind<Scope> = Kind {
    expected: "\"snsapi_base\" or \"snsapi_userinfo\"",
    read: |value| match value.as_str()? {
        "snsapi_base" => Some(Scope::Base),
        "snsapi_userinfo" => Some(Scope::UserInfo),
        _ => None,
    },
};

const APPID: Kind<String> = Kind {
    expected: "an appid of 1 to 64 printable characters, such as \"wx0123456789abcdef\"",
    read: |value| {
        let printable =
            |appid: &&str| appid.len() <= 64 && appid.chars().all(|c| c.is_ascii_graphic());
        text(value).filter(printable).map(str::to_owned)
    },
};

const ACCESS_TOKEN: Kind<TokenKind> = Kind {
    expected: "\"stable\" or \"classic\"",
    read: |value| match value.as_str()? {
        "stable" => Some(TokenKind::Stable),
        "classic" => Some(TokenKind::Classic),
        _ => None,
    },
};

const SECRET: Keys = Keys {
    file: "secret_file",
    env: "secret_env",
};

const PREVIOUS_SECRET: Keys = Keys {
    file: "previous_secret_file",
    env: "previous_secret_env",
};

/// Reads one section; `quota` goes for an app that says nothing itself.
pub(super) fn read(
    table: &mut Table<'_, '_>,
    names: &mut Names,
    appids: &mut Names,
    quota: Option<NonZeroU32>,
    env: Environment<'_>,
) -> Option<Draft> {
    let name = table.required("name", &name::APP);
    names.take(table, "name");
    let kind = table.required("kind", &KIND);
    let scope = table.or("scope", r#""snsapi_base""#, &SCOPE);
    let asks = matches!(kind, Some(AppKind::OfficialAccount(_)) | None);
    if scope == Some(Scope::UserInfo) && !asks {
        let message = "can be \"snsapi_userinfo\" only for apps of the kind \"official_account\"";
        table.refuse("scope", message.to_owned());
    }
    let appid = table.required("appid", &APPID);
    appids.take(table, "appid");
    let secret = secret::required(table, &SECRET, env);
    let previous_secret = secret::optional(table, &PREVIOUS_SECRET, env);
    refuse_flaw(table, &SECRET, secret.as_ref());
    refuse_flaw(table, &PREVIOUS_SECRET, previous_secret.as_ref());
    let shared_from = table.optional("shared_from", &name::APP);
    let access_token = table.or("access_token", r#""stable""#, &ACCESS_TOKEN);
    let own = table.optional("quota_per_minute", &QUOTA);
    let (kind, scope) = (kind?, scope?);
    let app = App {
        name: name?,
        kind: match kind {
            AppKind::OfficialAccount(_) => AppKind::OfficialAccount(scope),
            AppKind::MiniProgram | AppKind::Website => kind,
        },
        appid: appid?,
        secret: secret?,
        previous_secret,
        shared_from: None,
        access_token: access_token?,
        quota_per_minute: own.map_or(quota, NonZeroU32::new),
    };
    Some(Draft { app, shared_from })
}

/// An app that may name another one, which may stand behind it.
pub(super) struct Draft {
    pub(super) app: App,
    shared_from: Option<String>,
}

/// Finds the apps that others name; `None` means that a problem was noted.
pub(super) fn owners(table: &mut Table<'_, '_>, drafts: Vec<Option<Draft>>) -> Option<Vec<App>> {
    let drafts: Vec<Draft> = drafts.into_iter().collect::<Option<_>>()?;
    let names: Vec<String> = drafts.iter().map(|draft| draft.app.name.clone()).collect();
    let sharing: Vec<bool> = drafts.iter().map(|it| it.shared_from.is_some()).collect();
    let mut apps = Vec::with_capacity(drafts.len());
    for (
        at,
        Draft {
            mut app,
            shared_from,
        },
    ) in drafts.into_iter().enumerate()
    {
        if let Some(owner) = shared_from {
            let found = names.iter().position(|name| *name == owner);
            let owner = found.filter(|owner| *owner != at && sharing.get(*owner) == Some(&false));
            if owner.is_none() {
                let key = format!("app[{}].shared_from", at + 1);
                let message = "must be the name of another app, which is not shared itself";
                table.refuse(&key, message.to_owned());
                return None;
            }
            app.shared_from = owner;
        }
        apps.push(app);
    }
    Some(apps)
}

/// Refuses what is no AppSecret, whatever WeChat's look like.
fn refuse_flaw(table: &mut Table<'_, '_>, keys: &Keys, secret: Option<&Secret>) {
    let Some(flaw) = secret.and_then(|secret| flaw(secret.expose())) else {
        return;
    };
    table.refuse(
        secret::given(table, keys),
        format!("must lead to an AppSecret, but {flaw}"),
    );
}

fn flaw(secret: &str) -> Option<&'static str> {
    if secret.starts_with(secret::QUOTES) || secret.ends_with(secret::QUOTES) {
        Some("it is in quotes; take them out")
    } else if secret.contains('\u{a0}') {
        Some("a no-break space is in it")
    } else if secret.contains(char::is_whitespace) {
        Some("white space is in it")
    } else if !secret.chars().all(|c| c.is_ascii_graphic()) {
        Some("a character is in it that no AppSecret has")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_app_secret_is_told_apart() {
        for (secret, told) in [
            ("\"abc\"", "quotes"),
            ("'abc'", "quotes"),
            ("\u{201c}abc\u{201d}", "quotes"),
            ("ab\u{a0}c", "no-break space"),
            ("ab c", "white space"),
            ("abc\u{200b}", "a character"),
            ("\u{ff41}bc", "a character"),
        ] {
            assert!(flaw(secret).unwrap().contains(told), "{secret:?}");
        }
        assert_eq!(flaw("0123456789abcdef0123456789abcdef"), None);
    }
}

//! Which headers of a request are ours: no client sets them, and they are set from what was verified.

use http::header::InvalidHeaderValue;
use http::{HeaderName, HeaderValue};

use super::names::OwnedNames;
use super::{Client, Pass, RequestId};
use crate::config::{App, Headers, InjectedNames, Route};
use crate::session::Source;
use crate::token::{RelayHeader, RelayHeaders, Verified};

/// The headers of one app that are the same for all its users.
#[derive(Clone, Debug)]
struct AppHeaders {
    appid: HeaderValue,
    name: HeaderValue,
    /// The appid of the app from which this one is shared.
    owner: Option<HeaderValue>,
}

/// Names that tell of a user of an app that is shared from another one.
#[derive(Clone, Debug)]
struct FromNames {
    openid: HeaderName,
    appid: HeaderName,
    unionid: HeaderName,
}

/// Names that are set for every request.
#[derive(Clone, Debug)]
struct Always {
    forwarded_for: HeaderName,
    forwarded_proto: HeaderName,
    forwarded_host: HeaderName,
    request_id: HeaderName,
}

/// Knows the headers; everything that does not depend on the request is ready.
#[derive(Clone, Debug)]
pub struct Identities {
    owned: OwnedNames,
    names: InjectedNames,
    env: Option<HeaderValue>,
    sources: Vec<(Source, HeaderValue)>,
    apps: Vec<AppHeaders>,
    from: FromNames,
    always: Always,
    nickname: HeaderName,
    picture: HeaderName,
}

const RELAY_TOKEN: HeaderName = HeaderName::from_static("x-wx-cloudbase-access-token");
const FROM_RELAY_TOKEN: HeaderName = HeaderName::from_static("x-wx-from-cloudbase-access-token");

/// The most headers an authenticated request gets.
const MOST_SET: usize = 16;

impl Identities {
    /// Prepares the names and the values that never change.
    pub fn new(
        headers: &Headers,
        apps: &[App],
        routes: &[Route],
    ) -> Result<Self, InvalidHeaderValue> {
        let owner = |app: &App| app.shared_from.and_then(|owner| apps.get(owner));
        let owner = |app: &App| owner(app).map(|owner| HeaderValue::from_str(&owner.appid));
        let apps = apps
            .iter()
            .map(|app| {
                Ok(AppHeaders {
                    appid: HeaderValue::from_str(&app.appid)?,
                    name: HeaderValue::from_str(&app.name)?,
                    owner: owner(app).transpose()?,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            owned: OwnedNames::new(
                &headers.names,
                routes.iter().any(|route| !route.methods.is_empty()),
            ),
            names: headers.names.clone(),
            env: headers.env.clone(),
            sources: Source::ALL
                .map(|source| (source, HeaderValue::from_static(source.as_str())))
                .to_vec(),
            apps,
            from: FromNames {
                openid: HeaderName::from_static("x-wx-from-openid"),
                appid: HeaderName::from_static("x-wx-from-appid"),
                unionid: HeaderName::from_static("x-wx-from-unionid"),
            },
            nickname: HeaderName::from_static("x-menshen-nickname"),
            picture: HeaderName::from_static("x-menshen-picture"),
            always: Always {
                forwarded_for: HeaderName::from_static("x-forwarded-for"),
                forwarded_proto: HeaderName::from_static("x-forwarded-proto"),
                forwarded_host: HeaderName::from_static("x-forwarded-host"),
                request_id: HeaderName::from_static("x-request-id"),
            },
        })
    }

    /// Returns the headers that are set in one request. Without `pass.who` none of them identifies anybody.
    pub fn set<'a>(
        &'a self,
        pass: &'a Pass,
        client: &'a Client,
        request_id: &'a RequestId,
    ) -> Vec<(&'a HeaderName, &'a HeaderValue)> {
        let mut set = Vec::with_capacity(MOST_SET);
        self.introduce(pass.who.as_deref(), &mut set);
        let (names, always) = (&self.names, &self.always);
        let address = client.address_text.iter();
        set.extend(address.map(|address| (&names.client_address, address)));
        let chain = client.forwarded_for().into_iter();
        set.extend(chain.map(|chain| (&always.forwarded_for, chain)));
        set.push((&always.forwarded_proto, &client.proto));
        let host = client.host.iter();
        set.extend(host.map(|host| (&always.forwarded_host, host)));
        set.push((&always.request_id, request_id.value()));
        set
    }

    /// Returns the identity headers for another gateway, which sets them on the request that it forwards.
    pub fn of<'a>(&'a self, who: Option<&'a Verified>) -> Vec<(&'a HeaderName, &'a HeaderValue)> {
        let mut set = Vec::with_capacity(MOST_SET);
        self.introduce(who, &mut set);
        set
    }

    /// Returns whether a header is ours, so that no client sets it or has it removed.
    pub fn owns(&self, name: &HeaderName) -> bool {
        self.owned.contains(name)
    }

    /// Returns the header that carries an assertion.
    pub fn assertion_name(&self) -> &HeaderName {
        &self.names.assertion
    }

    fn introduce<'a>(
        &'a self,
        who: Option<&'a Verified>,
        set: &mut Vec<(&'a HeaderName, &'a HeaderValue)>,
    ) {
        if let Some(who) = who {
            self.identify(who, set);
        }
        set.extend(self.env.iter().map(|env| (&self.names.env, env)));
    }

    /// Returns what is good at the relay, for the user's app.
    pub fn relay_lines(
        &self,
        relay: &RelayHeaders,
        who: &Verified,
    ) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let header = relay.of(who.app());
        let lines = header.map(|RelayHeader { own, from }| {
            let from = from.map(|from| (FROM_RELAY_TOKEN, from));
            std::iter::once((RELAY_TOKEN, own)).chain(from)
        });
        lines.into_iter().flatten()
    }

    fn identify<'a>(&'a self, who: &'a Verified, set: &mut Vec<(&'a HeaderName, &'a HeaderValue)>) {
        let names = &self.names;
        let app = self.apps.get(who.app());
        let owner = app.and_then(|app| app.owner.as_ref());
        // Another app's user must never be taken for one of this app's.
        let (openid, unionid) = match owner {
            Some(_) => (&self.from.openid, &self.from.unionid),
            None => (&names.openid, &names.unionid),
        };
        set.push((openid, who.openid()));
        set.extend(who.unionid().map(|value| (unionid, value)));
        set.extend(who.nickname().map(|nickname| (&self.nickname, nickname)));
        set.extend(who.picture().map(|picture| (&self.picture, picture)));
        let source = self.sources.iter().find(|(s, _)| *s == who.source());
        set.extend(source.map(|(_, text)| (&names.source, text)));
        set.push((&names.session, who.session_text()));
        if let Some(app) = app {
            if owner.is_some() {
                set.push((&self.from.appid, &app.appid));
            }
            set.push((&names.appid, owner.unwrap_or(&app.appid)));
            set.push((&names.app, &app.name));
        }
    }
}

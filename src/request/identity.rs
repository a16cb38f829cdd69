//! Rewrites the headers for the upstream: what is ours is removed, then set from what was verified.

use http::header::{AUTHORIZATION, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::names::OwnedNames;
use super::{Client, Pass};
use crate::config::{App, Headers, InjectedNames};
use crate::token::Verified;

/// What is done to a request's headers before it is forwarded: first all removals, then the rest.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// Headers to take out.
    pub remove: Vec<HeaderName>,
    /// Headers to set, each to one value.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

/// The headers of one app that are the same for all its users.
#[derive(Clone, Debug)]
struct AppHeaders {
    appid: HeaderValue,
    name: HeaderValue,
}

/// Makes the edits; everything that does not depend on the request is ready.
#[derive(Clone, Debug)]
pub struct Identities {
    owned: OwnedNames,
    names: InjectedNames,
    env: Option<HeaderValue>,
    apps: Vec<AppHeaders>,
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most headers an authenticated request gets.
const MOST_SET: usize = 13;

impl Identities {
    /// Prepares the names and the values that never change.
    pub fn new(headers: &Headers, apps: &[App]) -> Result<Self, InvalidHeaderValue> {
        let apps = apps
            .iter()
            .map(|app| {
                Ok(AppHeaders {
                    appid: HeaderValue::from_str(&app.appid)?,
                    name: HeaderValue::from_str(&app.name)?,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            owned: OwnedNames::new(&headers.names),
            names: headers.names.clone(),
            env: headers.env.clone(),
            apps,
        })
    }

    /// Returns the edits for one request. Without `pass.who` nothing identifies anybody.
    pub fn edits(
        &self,
        inbound: &HeaderMap,
        pass: &Pass,
        client: &Client,
        request_id: &str,
    ) -> Result<Edits, InvalidHeaderValue> {
        let mut edits = Edits {
            remove: Vec::new(),
            set: Vec::with_capacity(MOST_SET),
        };
        for name in inbound.keys() {
            if self.owned.contains(name) {
                edits.remove.push(name.clone());
            }
        }
        if pass.hide_authorization {
            edits.remove.push(AUTHORIZATION);
        }
        if let Some(who) = &pass.who {
            self.identify(who, &mut edits.set);
        }
        if let Some(env) = &self.env {
            edits.set.push((self.names.env.clone(), env.clone()));
        }
        if let Some(address) = client.address {
            let address = HeaderValue::try_from(address.to_string())?;
            edits.set.push((self.names.client_address.clone(), address));
        }
        if !client.forwarded_for.is_empty() {
            let chain = HeaderValue::from_str(&client.forwarded_for)?;
            edits.set.push((FORWARDED_FOR, chain));
        }
        edits
            .set
            .push((FORWARDED_PROTO, HeaderValue::from_static(client.proto)));
        if let Some(host) = &client.host {
            edits
                .set
                .push((FORWARDED_HOST, HeaderValue::from_str(host)?));
        }
        edits
            .set
            .push((REQUEST_ID, HeaderValue::from_str(request_id)?));
        Ok(edits)
    }

    /// Returns the header that carries an assertion.
    pub fn assertion_name(&self) -> &HeaderName {
        &self.names.assertion
    }

    fn identify(&self, who: &Verified, set: &mut Vec<(HeaderName, HeaderValue)>) {
        let names = &self.names;
        set.push((names.openid.clone(), who.openid().clone()));
        if let Some(unionid) = who.unionid() {
            set.push((names.unionid.clone(), unionid.clone()));
        }
        set.push((
            names.source.clone(),
            HeaderValue::from_static(who.source().as_str()),
        ));
        set.push((names.session.clone(), who.session_text().clone()));
        if let Some(app) = self.apps.get(who.app()) {
            set.push((names.appid.clone(), app.appid.clone()));
            set.push((names.app.clone(), app.name.clone()));
        }
    }
}

//! Reads `[control]`, the private listener.

use std::net::{IpAddr, SocketAddr};

use super::kind::Kind;
use super::model::{Control, Server};
use super::reader::Table;
use super::secret::{self, Environment, Keys};
use crate::secret::Secret;

/// Shorter ones could be guessed from many addresses.
const SHORTEST_SECRET: usize = 16;

const LISTEN: Kind<Option<SocketAddr>> = Kind {
    expected: "an address such as \"127.0.0.1:9090\", or \"\" for no private listener",
    read: |value| match value.as_str()? {
        "" => Some(None),
        address => address.parse().ok().map(Some),
    },
};

const SECRET: Keys = Keys {
    file: "secret_file",
    env: "secret_env",
};

/// Reads the section; `server` is the public listener where nothing is wrong with it.
pub(super) fn read(
    table: &mut Table<'_, '_>,
    server: Option<&Server>,
    env: Environment<'_>,
) -> Option<Control> {
    let listen = table.or("listen", r#""127.0.0.1:9090""#, &LISTEN);
    let secret = secret::optional(table, &SECRET, env);
    let given = [SECRET.file, SECRET.env]
        .into_iter()
        .find(|key| table.has(key));
    if secret.as_ref().is_some_and(|secret| !is_bearer(secret)) {
        let message =
            "must lead to at least 16 characters, without spaces, as `openssl rand -hex 32` prints";
        table.refuse(given.unwrap_or(SECRET.file), message.to_owned());
    }
    if let Some(Some(address)) = listen {
        if given.is_none() && !address.ip().to_canonical().is_loopback() {
            let message = "is required, or secret_env instead of it, unless listen is 127.0.0.1 or another address that only this machine reaches";
            table.refuse(SECRET.file, message.to_owned());
        }
        if server.is_some_and(|server| meets(server, address)) {
            let message = format!("must not be a public address, but server has {address} as well");
            table.refuse("listen", message);
        }
    }
    Some(Control {
        listen: listen?,
        secret,
    })
}

/// Says whether a secret can be sent as a bearer token, and is worth sending.
fn is_bearer(secret: &Secret) -> bool {
    let text = secret.expose();
    text.len() >= SHORTEST_SECRET && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn meets(server: &Server, address: SocketAddr) -> bool {
    let mut public = server.listen.iter().chain(&server.redirect_http);
    let overlap =
        |one: IpAddr, other: IpAddr| one == other || one.is_unspecified() || other.is_unspecified();
    address.port() != 0
        && public
            .any(|public| public.port() == address.port() && overlap(public.ip(), address.ip()))
}

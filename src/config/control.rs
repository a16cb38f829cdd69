//! Reads `[control]`, the private listener.

use std::net::{IpAddr, SocketAddr};

use super::caller::{Callers, SECRET, refuse_unfit};
use super::model::{Control, Server};
use super::name::Names;
use super::private_address::{LISTEN, MODE, PrivateAddress};
use super::reader::Table;
use super::secret::{self, Environment};
use super::server::fits_socket;
use crate::secret::Secret;

/// Reads the section; `server` is the public listener where nothing is wrong with it, `apps` are the names of all apps.
pub(super) fn read(
    table: &mut Table<'_, '_>,
    server: Option<&Server>,
    apps: &Names,
    env: Environment<'_>,
) -> Option<Control> {
    let listen = table.or("listen", r#""127.0.0.1:9090""#, &LISTEN);
    let listen = listen.map(|listen| listen.map(|address| located(table, address)));
    let socket_mode = table.or("socket_mode", r#""0600""#, &MODE);
    let secret = secret::optional(table, &SECRET, env);
    secret::refuse_copied(table, &SECRET, secret.as_ref());
    refuse_unfit(table, secret.as_ref());
    let mut callers = Callers {
        apps,
        names: Names::default(),
        secrets: Vec::new(),
    };
    if let Some(secret) = &secret {
        callers
            .secrets
            .push(("[control]".to_owned(), secret.clone()));
    }
    let asks = [SECRET.file, SECRET.env, "caller"];
    let asks = asks.into_iter().any(|key| table.has(key));
    let callers = table.optional_sections("caller", |table| callers.read(table, env));
    match listen.as_ref().and_then(Option::as_ref) {
        Some(PrivateAddress::Tcp(address)) => check_address(table, *address, asks, server),
        Some(PrivateAddress::Unix(path)) => {
            if !fits_socket(path) {
                let message = "must name a socket whose path has up to 107 bytes";
                table.refuse("listen", message.to_owned());
            }
            let upgrade = server.and_then(|server| server.upgrade_socket.as_ref());
            if upgrade.is_some_and(|upgrade| upgrade == path) {
                let message = "must not be server.upgrade_socket";
                table.refuse("listen", message.to_owned());
            }
        }
        None => {}
    }
    Some(Control {
        listen: listen?,
        socket_mode: socket_mode?,
        secret,
        callers: callers.into_iter().collect::<Option<_>>()?,
    })
}

/// Reads where the listener is, and the secret that is good for everything.
pub(super) fn read_access(
    table: &mut Table<'_, '_>,
    env: Environment<'_>,
) -> Option<(Option<PrivateAddress>, Option<Secret>)> {
    let listen = table.or("listen", r#""127.0.0.1:9090""#, &LISTEN)?;
    let listen = listen.map(|address| located(table, address));
    let secret = secret::optional(table, &SECRET, env);
    secret::refuse_copied(table, &SECRET, secret.as_ref());
    Some((listen, secret))
}

/// Returns an address with the whole path of its socket, by which another process finds it too.
fn located(table: &Table<'_, '_>, address: PrivateAddress) -> PrivateAddress {
    match address {
        PrivateAddress::Unix(path) => {
            let path = table.located(path);
            PrivateAddress::Unix(std::path::absolute(&path).unwrap_or(path))
        }
        address @ PrivateAddress::Tcp(_) => address,
    }
}

fn check_address(
    table: &mut Table<'_, '_>,
    address: SocketAddr,
    asks: bool,
    server: Option<&Server>,
) {
    if !asks && !address.ip().to_canonical().is_loopback() {
        let message = "is required, or secret_env instead of it, unless listen is 127.0.0.1 or another address that only this machine reaches";
        table.refuse(SECRET.file, message.to_owned());
    }
    if server.is_some_and(|server| meets(server, address)) {
        let message = format!("must not be a public address, but server has {address} as well");
        table.refuse("listen", message);
    }
}

fn meets(server: &Server, address: SocketAddr) -> bool {
    let mut public = server.listen.iter().chain(&server.redirect_http);
    let overlap =
        |one: IpAddr, other: IpAddr| one == other || one.is_unspecified() || other.is_unspecified();
    address.port() != 0
        && public
            .any(|public| public.port() == address.port() && overlap(public.ip(), address.ip()))
}

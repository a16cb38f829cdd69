//! Reads `[[upstream]]`, the servers of one backend.

use super::address::SERVER;
use super::model::Upstream;
use super::name::{self, Names};
use super::reader::Table;
use super::unit::{PERIOD, TIMEOUT};

/// Reads one section.
pub(super) fn read(table: &mut Table<'_, '_>, names: &mut Names) -> Option<Upstream> {
    let name = table.required("name", &name::UPSTREAM);
    names.take(table, "name");
    let servers = table.required_list("servers", &SERVER);
    let connect_timeout = table.or("connect_timeout", r#""5s""#, &TIMEOUT);
    let read_timeout = table.or("read_timeout", r#""60s""#, &TIMEOUT);
    let write_timeout = table.or("write_timeout", r#""60s""#, &TIMEOUT);
    let keepalive = table.or("keepalive", r#""60s""#, &PERIOD);
    Some(Upstream {
        name: name?,
        servers: servers?,
        connect_timeout: connect_timeout?,
        read_timeout: read_timeout?,
        write_timeout: write_timeout?,
        keepalive: keepalive?,
    })
}

//! What Menshen's tests on real sockets share: a gateway in the test's own process, a backend that remembers
//! everything it received, the spellings of forged headers, and the examples' backends; and what benchmarks share.

mod backends;
pub mod bench;
mod browser;
mod certificate;
mod collector;
mod files;
mod forward_proxy;
mod frames;
mod front;
mod fuzz;
mod fuzzed;
mod gateway;
pub mod history;
mod identity;
mod jwt;
mod nodes;
mod official;
mod others;
mod program;
mod raw;
pub mod redis;
mod relay;
mod reply;
mod repository;
mod secrets;
mod simulated;
mod socket;
mod strict;
mod tls_front;
mod upstream;
mod visitor;
mod wire;

pub use backends::{AUDIENCE, Backend};
pub use browser::{Browser, Page};
pub use certificate::Certificate;
pub use collector::{Collector, Span, Taking};
pub use files::{NOBODYS_UID, read_mode, set_mode};
pub use forward_proxy::ForwardProxy;
pub use frames::{PREFACE, SETTINGS, make_frame};
pub use front::{Front, Kind};
pub use fuzz::fuzz;
pub use fuzzed::Fuzzed;
pub use gateway::{APP_SECRET, Builder, CONTROL_SECRET, Grant, OTHER_SECRET, TestGateway};
pub use identity::{
    IDENTITY, SEPARATORS, folded, forge_identity, forged, make_line, make_lines, spellings,
};
pub use jwt::{encode_part, read_kid};
pub use nodes::{Node, Nodes, SEAL_KEY};
pub use official::Official;
pub use others::nobody_waits;
pub use program::{Ended, NOBODY, Program, Site, address_in, copy_program, resident_memory};
pub use raw::{raw, raw_request, status};
pub use redis::find_free_port;
pub use relay::Relay;
pub use reply::{Reply, make_client};
pub use repository::{find_installed, find_repository, read_from_repository};
pub use secrets::Secrets;
pub use socket::{Socket, check_socket_lives, open_socket, try_open_socket};
pub use strict::{Seen, Step, Strict, StrictRequest, find};
pub use tls_front::tls_front;
pub use upstream::{Received, Upstream};
pub use visitor::{Visitor, WECHAT_AGENT, Walk};
pub use wire::{ByHand, Wire, find_closed_address};

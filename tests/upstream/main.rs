//! The servers behind Menshen: which one is asked, how it is reached, and what happens when it fails.

mod balance;
mod blame;
mod heads;
mod health;
mod http2;
mod http2_servers;
mod limits;
mod retries;
mod self_signed;
mod shared;
mod tls;
mod unprocessed;
mod uploads;

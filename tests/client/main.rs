//! What clients may send and how much of it: TLS, the PROXY protocol, CORS, limits and slow clients.

mod certificates;
mod cors;
mod cors_routes;
mod crowd;
mod greedy;
mod greedy_floods;
mod in_flight;
mod leaving;
mod limits;
mod proxy_protocol;
mod redirect;
mod slow;
mod tls;

//! What happens to a request between its client and its backend: admission, routes, bodies, limits and refusals.

mod admission;
mod authorities;
mod bodies;
mod explain;
mod http2;
mod limits;
mod placeholders;
mod proxying;
mod refusals;
mod refusals_by_others;
mod routing;
mod second_requests;
mod streaming;

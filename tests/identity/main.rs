//! What the backend learns about the user and the client, and that nobody can forge it.

mod assertion;
mod checked_backends;
mod example_backends;
mod extra_hop;
mod forwarded;
mod hidden_token;
mod spoofed_backends;
mod spoofing;
mod spoofing_generated;
mod spoofing_hop_by_hop;
mod spoofing_http2;
mod spoofing_outcomes;

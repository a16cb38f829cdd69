//! Menshen beside other gateways, which ask it for a decision on each request.

mod forward_auth;
mod snippets;

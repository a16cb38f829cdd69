//! Sessions, tokens and keys, and the two stores that hold sessions: what they survive and what ends them.

mod disk_trouble;
mod forgeries;
mod keys;
mod keys_refused;
mod redis_access;
mod redis_away;
mod redis_broken_off;
mod redis_faults;
mod redis_moved;
mod redis_nodes;
mod redis_states;
mod sessions;
mod survives_kill;
mod tokens;

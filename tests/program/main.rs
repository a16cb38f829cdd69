//! The program: its commands, configuration, start, reload, upgrade, stop, log and documents.

mod command_line;
mod config_files;
mod deploy;
mod descriptors;
mod dev;
mod documents;
mod hardening;
mod layering;
mod log_lines;
mod log_reader;
mod metrics;
mod reload;
mod secrets;
mod simulator;
mod start_up;
mod stopping;
mod upgrade;

//! The program: its commands, configuration, start, reload, upgrade, stop, log and documents.

mod backup;
mod command_line;
mod commands;
mod config_files;
mod deploy;
mod descriptors;
mod dev;
mod documents;
mod hardening;
mod image;
mod layering;
mod log_fields;
mod log_lines;
mod log_reader;
mod metrics;
mod monitoring;
mod package;
mod reload;
mod secrets;
mod simulator;
mod snippets;
mod start_up;
mod stopping;
mod supervisor;
mod upgrade;
mod watch;

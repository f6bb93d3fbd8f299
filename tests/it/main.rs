//! The one integration binary: whole paths with real processes.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "tests start processes and tasks themselves, and fail loudly"
)]

mod approvals;
mod apps;
mod audit_down;
mod auth;
mod call_path;
mod cli;
mod client;
mod commands;
mod crossing;
mod differentials;
mod doctor;
mod eras;
mod failover;
mod flood;
mod harness;
mod hostile;
mod hosts;
mod http_rules;
mod https;
mod jail;
mod keys;
mod leases;
mod lifecycle;
mod matrix;
mod mirrored;
mod observe;
mod old_transport;
mod pins;
mod policy;
mod provide;
mod questions;
mod rates;
mod refusals;
mod relay;
mod reload;
mod replicas;
mod resume;
mod risk;
mod service;
mod slow;
mod status;
mod stop;
mod subscriptions;
mod supervise;
mod tasks;
mod trace;
mod traps;
mod witness;

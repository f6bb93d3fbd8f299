//! Portcullis stands between AI applications and many MCP servers.
//!
//! The rooms below are listed in reading order, lowest first; a room may use only rooms above it
//! in this list (`tests/tidy.rs` holds that). Start with `front/dispatch.rs`, the road of one
//! tool call, or with `docs/ARCHITECTURE.md`.

// A future that is moved is copied: what a request needs must stay small. Tests may be large.
#![cfg_attr(not(test), deny(clippy::large_futures))]

pub mod app;
pub mod audit;
pub mod cli;
pub mod config;
pub mod domain;
pub mod fleet;
pub mod front;
pub mod gate;
pub mod jail;
pub mod provide;
pub mod sys;
pub mod telemetry;
pub mod upstream;
pub mod wire;

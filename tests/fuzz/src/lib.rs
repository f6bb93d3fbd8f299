//! The rooms under fuzz, compiled on their own.
//!
//! `wire` uses nothing but `domain`, so these two build in seconds and every counter lies in code
//! that is under test; the rest of the house would only slow the search.

#[path = "../../../src/domain/mod.rs"]
pub mod domain;
#[path = "../../../src/wire/mod.rs"]
pub mod wire;

//! What holds for every message, tried on arbitrary ones.
//!
//! The scan against serde_json as judge, splices against an independent reader of the result, and
//! the readers against themselves with the bytes cut elsewhere. Each failure prints its seed.

mod generate;
mod oracle;
mod scan;
mod splice;
mod stream;

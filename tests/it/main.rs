//! The one integration binary: whole paths with real processes.

mod harness;
mod jail;
mod provide;

//! Whether a replica is sent calls, and whether a call is sent again.
//!
//! Owns the breaker of each replica and the retry budget of each server: decisions over what has
//! been seen, with time passed in. Promises that slow is not dead, that the last replica of a
//! server always stays in, and that nothing is repeated which may have been done already. Starts,
//! probes and sends nothing itself.

pub(super) mod breaker;
pub(super) mod retry;
#[cfg(test)]
mod tests;
mod window;

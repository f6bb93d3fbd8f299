//! Reading a log that somebody else may be writing: to verify, prove, follow and export it.
//!
//! Needs the files alone, takes no lock and changes nothing.

mod calls;
mod export;
mod keyring;
mod payload;
mod prove;
mod records;
mod verify;

pub use calls::records_of;
pub use export::Form;
pub use payload::{Counted, Kept, commitments, count_payloads};
pub use prove::{ProofError, check_proof, prove};
pub use records::Records;
pub use verify::{Verified, VerifyError, Wanted, verify};

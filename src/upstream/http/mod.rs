//! Room to come, in pieces.
mod line;
mod socket;

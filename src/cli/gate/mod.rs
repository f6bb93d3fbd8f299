//! Commands about what the gate decides by.

pub(super) mod approvals;
pub(super) mod keys;
pub(super) mod pins;

//! Commands about what the gate decides by.

pub(super) mod pins;

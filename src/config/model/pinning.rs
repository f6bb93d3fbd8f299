//! How far definitions are trusted: what is approved by itself, and what becomes of odd ones.

/// How far the definitions of a server are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pinning {
    pub mode: PinMode,
    pub scan: ScanMode,
}

/// When a definition counts as approved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PinMode {
    /// At the first use of its list; later only by the operator.
    #[default]
    TrustOnFirstUse,
    /// Only by the operator.
    Locked,
    /// Always.
    Off,
}

/// What becomes of an odd definition at its first use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ScanMode {
    /// It waits for the operator.
    #[default]
    Quarantine,
    /// The operator is told.
    Warn,
    /// The operator is told, and calls of it have points.
    Risk,
    Off,
}

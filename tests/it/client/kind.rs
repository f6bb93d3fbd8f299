//! The kinds of client: an era and a transport, and one of an older revision than the rest.

pub(crate) const MODERN: &str = "2026-07-28";
pub(crate) const LEGACY: &str = "2025-11-25";
const OLD: &str = "2025-06-18";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ModernHttp,
    LegacyHttp,
    /// The first that could be asked with forms.
    OldHttp,
    ModernStdio,
    LegacyStdio,
}

impl Kind {
    pub(crate) fn is_modern(self) -> bool {
        self.version() == MODERN
    }

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::ModernHttp | Self::ModernStdio => MODERN,
            Self::LegacyHttp | Self::LegacyStdio => LEGACY,
            Self::OldHttp => OLD,
        }
    }
}

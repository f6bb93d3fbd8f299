//! The revisions of MCP that we speak, and which of the two eras each belongs to.

use std::fmt;

use crate::domain::Era;

/// A protocol revision. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    V2024_11_05,
    V2025_03_26,
    V2025_06_18,
    V2025_11_25,
    V2026_07_28,
}

impl Version {
    pub const ALL: [Self; 5] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;
    pub const MODERN: Self = Self::V2026_07_28;

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    pub fn era(self) -> Era {
        if self < Self::MODERN { Era::Legacy } else { Era::Modern }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Era, Version};

    #[test]
    fn versions_read_back_and_sort_by_date() {
        assert!(Version::ALL.is_sorted());
        let reads_back = |version: &Version| Version::parse(version.as_str()) == Some(*version);
        assert!(Version::ALL.iter().all(reads_back));
        assert_eq!(Version::parse("2026-07-29"), None);
        let modern = Version::ALL.into_iter().filter(|version| version.era() == Era::Modern);
        assert!(modern.eq([Version::MODERN]));
        assert_eq!(Version::ALL.get(3), Some(&Version::LATEST_LEGACY));
    }
}

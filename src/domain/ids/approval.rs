//! The name of an approval, and which use of it a call is.
//!
//! Random, so that whoever has seen one cannot guess another; it grants nothing by itself.

use std::{fmt, num::NonZeroU64};

/// Shown as `apr-` and 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApprovalId(NonZeroU64);

/// One use of an approval. A call that its server asks something about goes on under the same
/// approval, round by round, and each round is there once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    pub approval: ApprovalId,
    /// 1 for the call itself, 0 before it.
    pub round: u32,
}

impl ApprovalId {
    pub fn new(random: u64) -> Self {
        Self(NonZeroU64::new(random).unwrap_or(NonZeroU64::MIN))
    }

    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS)?;
        u64::from_str_radix(digits, 16).ok().map(Self::new).filter(|id| id.to_string() == text)
    }
}

const PREFIX: &str = "apr-";
const DIGITS: usize = 16;

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:0DIGITS$x}", self.0)
    }
}

impl fmt::Debug for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Use {
    /// That of a call which has asked for the approval and was not let through yet.
    pub fn none_of(approval: ApprovalId) -> Self {
        Self { approval, round: 0 }
    }

    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (approval, round) = text.split_once(':')?;
        Some(Self { approval: ApprovalId::parse(approval)?, round: round.parse().ok()? })
    }
}

/// `apr-0000000000000001:2`
impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.approval, self.round)
    }
}

#[cfg(test)]
mod tests {
    use super::{ApprovalId, Use};

    #[test]
    fn an_id_reads_back_and_nothing_else_is_one() {
        let id = ApprovalId::new(0x1f);
        assert_eq!(ApprovalId::parse(&id.to_string()), Some(id));
        let used = Use { approval: id, round: 2 };
        assert_eq!(Use::parse(&used.to_string()), Some(used));
        for wrong in ["", "apr-", "apr-1f", "apr-000000000000001F", "apr-+00000000000001f", "x"] {
            assert_eq!(ApprovalId::parse(wrong), None, "{wrong}");
        }
    }
}

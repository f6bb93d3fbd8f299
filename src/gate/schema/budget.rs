//! What compiling the schemas of one server may cost, all together.
//!
//! Each schema has bounds of its own; a hostile server lists thousands. Bytes, the memory of
//! compiled patterns and time are drawn here; when one is used up, the tools that are left cannot
//! be called. The memory of a pattern cannot be measured, so its limit is what is drawn.

use std::time::Instant;

use crate::domain::limits;

/// One server's account for one listing.
#[derive(Debug)]
pub struct SchemaBudget {
    bytes: usize,
    pattern_bytes: usize,
    until: Option<Instant>,
}

impl SchemaBudget {
    /// A full account, whose time begins now.
    pub fn open() -> Self {
        Self {
            bytes: limits::SCHEMAS_BYTES_MAX,
            pattern_bytes: limits::SCHEMAS_PATTERN_BYTES_MAX,
            until: Instant::now().checked_add(limits::SCHEMAS_TIME_MAX),
        }
    }

    pub(super) fn draw(&mut self, bytes: usize) -> Result<(), &'static str> {
        if self.until.is_none_or(|until| Instant::now() >= until) {
            return Err("take too long to compile");
        }
        self.bytes = self.bytes.checked_sub(bytes).ok_or("are too large")?;
        Ok(())
    }

    /// The memory that each of `n` patterns may take, of at most `each`.
    pub(super) fn draw_patterns(&mut self, n: usize, each: usize) -> Result<(), &'static str> {
        let all = n.saturating_mul(each);
        self.pattern_bytes = self.pattern_bytes.checked_sub(all).ok_or("have too many patterns")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::SchemaBudget;
    use crate::domain::limits::SCHEMAS_TIME_MAX;

    #[test]
    fn nothing_is_compiled_after_the_time_of_a_server() {
        let opened = Instant::now();
        let mut budget = SchemaBudget::open();
        let until = budget.until.unwrap();
        assert!(until >= opened + SCHEMAS_TIME_MAX && until <= Instant::now() + SCHEMAS_TIME_MAX);
        assert_eq!(budget.draw(1), Ok(()));
        budget.until = until.checked_sub(SCHEMAS_TIME_MAX + Duration::from_millis(1));
        assert_eq!(budget.draw(1), Err("take too long to compile"));
        budget.until = None;
        assert_eq!(budget.draw(1), Err("take too long to compile"), "a clock that ends");
    }
}

//! How often something may be done.

use std::{fmt, num::NonZeroU32, time::Duration};

/// So many calls in so much time, all at once or spread out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    pub calls: NonZeroU32,
    pub per: Per,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Per {
    Second,
    Minute,
    Hour,
    Day,
}

impl Per {
    const ALL: [(Self, &'static str, u64); 4] = [
        (Self::Second, "s", 1),
        (Self::Minute, "m", 60),
        (Self::Hour, "h", 60 * 60),
        (Self::Day, "d", 24 * 60 * 60),
    ];
}

impl Rate {
    /// Reads `20/s`, `600/m`, `100/h` or `1000/d`.
    pub fn parse(text: &str) -> Option<Self> {
        let (calls, unit) = text.split_once('/')?;
        let (per, ..) = Per::ALL.into_iter().find(|(_, name, _)| *name == unit)?;
        // No sign, no blank.
        let is_number = calls.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self { calls: calls.parse().ok().filter(|_| is_number)?, per })
    }

    /// In which all of them may be made.
    pub fn time(self) -> Duration {
        let found = Per::ALL.into_iter().find(|(per, ..)| *per == self.per);
        Duration::from_secs(found.map_or(1, |(_, _, seconds)| seconds))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Per::ALL.into_iter().find(|(per, ..)| *per == self.per);
        write!(f, "{}/{}", self.calls, unit.map_or("s", |(_, name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;

    #[test]
    fn a_rate_is_read_as_it_is_written() {
        for (text, seconds) in [("20/s", 1), ("600/m", 60), ("1/h", 3600), ("1000/d", 86_400)] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!((rate.to_string().as_str(), rate.time().as_secs()), (text, seconds));
        }
        for text in ["", "5", "0/s", "-1/s", "+1/s", " 1/s", "1/x", "1/s ", "4294967296/s", "1.5/s"]
        {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }
}

//! Where a call stands in its caller's distributed trace, as W3C Trace Context level 2 says it.
//!
//! Owns the form of `traceparent`: read strictly, written in version 00. What cannot be read is no
//! trace; whether one is sampled is its caller's decision alone. One of our own is begun only for
//! spans that are exported.

use std::{fmt, num::NonZeroU64};

/// One span of a trace: what `traceparent` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: TraceId,
    span: SpanId,
    flags: u8,
}

/// A whole trace, shown as 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(u128);

/// One step of it, shown as 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub NonZeroU64);

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LENGTH: usize = 55;
const SAMPLED: u8 = 0b01;
const RANDOM: u8 = 0b10;
/// The others are reserved and have to be zero.
const KNOWN_FLAGS: u8 = SAMPLED | RANDOM;

impl TraceParent {
    pub fn parse(text: &str) -> Option<Self> {
        let (known, more) = text.as_bytes().split_at_checked(LENGTH)?;
        let known = std::str::from_utf8(known).ok()?;
        let mut fields = known.split('-');
        let version = hex(fields.next()?, 2)?;
        let trace = hex(fields.next()?, 32).filter(|id| *id != 0)?;
        let span = NonZeroU64::new(u64::try_from(hex(fields.next()?, 16)?).ok()?)?;
        let flags = u8::try_from(hex(fields.next()?, 2)?).ok()?;
        // A version to come may say more behind a dash; 255 is none.
        let is_whole = match version {
            0 => more.is_empty(),
            255 => false,
            _ => more.first().is_none_or(|byte| *byte == b'-'),
        };
        let flags = flags & KNOWN_FLAGS;
        is_whole.then_some(Self { trace: TraceId(trace), span: SpanId(span), flags })
    }

    /// The first step of a trace, which is sampled. No trace has zero as its name.
    pub fn begin(trace: u128, span: SpanId) -> Option<Self> {
        let trace = TraceId(trace);
        (trace.0 != 0).then_some(Self { trace, span, flags: SAMPLED | RANDOM })
    }

    /// The step that `span` is, in the same trace.
    #[must_use]
    pub fn child(self, span: SpanId) -> Self {
        Self { span, ..self }
    }

    pub fn trace_id(&self) -> TraceId {
        self.trace
    }

    pub fn span_id(&self) -> SpanId {
        self.span
    }

    pub fn flags(&self) -> u8 {
        self.flags
    }

    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// Exactly so many lower-case digits.
fn hex(text: &str, n_digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let fits = text.len() == n_digits && text.bytes().all(is_digit);
    if fits { u128::from_str_radix(text, 16).ok() } else { None }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{NonZeroU64, SpanId, TraceParent};

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        let got = TraceParent::parse(text).map(|parent| parent.to_string());
        assert_eq!(got.as_deref(), want, "{text}");
    }

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn only_what_the_specification_allows_is_a_parent() {
        let of = |version, flags| format!("{version}-{TRACE}-{SPAN}-{flags}");
        let same = of("00", "01");
        check(&same, Some(&same));
        check(&of("00", "00"), Some(&of("00", "00")));
        check(&of("00", "03"), Some(&of("00", "03")));
        // Reserved flags are not ours to set, and a later version is answered in ours.
        check(&of("00", "ff"), Some(&of("00", "03")));
        check(&of("cc", "01"), Some(&same));
        check(&(of("cc", "01") + "-what-comes"), Some(&same));

        for wrong in [
            String::new(),
            "00-1-2-01".to_owned(),
            of("ff", "01"),
            of("0", "01"),
            of("00", "1"),
            of("00", "0G"),
            of("00", "01") + "-more",
            of("cc", "01") + ".",
            of("00", "01") + " ",
            of("00", "01").to_uppercase(),
            of("00", "+1"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{TRACE}0-{}-01", SPAN.trim_start_matches("b7")),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("00-{}-{SPAN}-01", "é".repeat(16)),
        ] {
            check(&wrong, None);
        }
    }

    #[test]
    fn a_child_keeps_trace_and_flags_and_has_a_span_of_its_own() {
        let parent = TraceParent::parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
        let child = parent.child(SpanId(NonZeroU64::new(0x2a).unwrap()));
        assert_eq!(child.to_string(), format!("00-{TRACE}-000000000000002a-01"));
        assert_eq!(child.trace_id().to_string(), TRACE);
        assert_eq!(child.span_id().to_string(), "000000000000002a");
    }
}

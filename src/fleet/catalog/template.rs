//! Which URIs a resource template can stand for. Pure.
//!
//! Templates are RFC 6570. A plain variable `{x}` stands for one character or more of one path
//! segment, one with an operator (`{+x}`, `{?x}` …) for anything. That decides only which server is
//! asked: whether there is such a resource is the server's own affair. The work is bounded by the
//! length of the URI times the number of variables.

use crate::domain::limits::TEMPLATE_VARIABLES_MAX;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// Some of one segment.
    Segment,
    /// Anything, or nothing.
    Rest,
}

impl Template {
    /// `None` when its braces do not match or it has too many variables.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mut parts, mut rest, mut n_variables) = (Vec::new(), text, 0);
        while let Some((literal, after)) = rest.split_once('{') {
            let (expression, after) = after.split_once('}')?;
            n_variables += 1;
            if n_variables > TEMPLATE_VARIABLES_MAX || literal.contains('}') {
                return None;
            }
            parts.extend(literal_part(literal));
            parts.push(match expression.chars().next()? {
                '{' => return None,
                // Several variables in one expression are joined by commas, which are no `/`.
                c if c.is_ascii_alphanumeric() || c == '_' || c == '%' => Part::Segment,
                _ => Part::Rest,
            });
            rest = after;
        }
        if rest.contains('}') {
            return None;
        }
        parts.extend(literal_part(rest));
        Some(Self(parts))
    }

    /// How much of it is fixed: of two that match, the one that says more is meant.
    pub(super) fn literal_bytes(&self) -> usize {
        let literal = |part: &Part| match part {
            Part::Literal(text) => text.len(),
            Part::Segment | Part::Rest => 0,
        };
        self.0.iter().map(literal).sum()
    }

    pub(super) fn matches(&self, uri: &str) -> bool {
        if let Some(Part::Literal(first)) = self.0.first()
            && !uri.starts_with(&**first)
        {
            return false;
        }
        let mut ends = vec![false; uri.len() + 1];
        if let Some(start) = ends.first_mut() {
            *start = true;
        }
        for part in &self.0 {
            ends = part.ends(uri.as_bytes(), &ends);
        }
        ends.last() == Some(&true)
    }
}

impl Part {
    /// Where it can end, given where it can begin: one flag for each place in `uri`.
    fn ends(&self, uri: &[u8], begins: &[bool]) -> Vec<bool> {
        let mut open = false;
        match self {
            Self::Literal(text) => {
                let mut ends = vec![false; begins.len()];
                for (at, _) in begins.iter().enumerate().filter(|(_, begins)| **begins) {
                    let here = uri.get(at..).is_some_and(|rest| rest.starts_with(text.as_bytes()));
                    if let Some(end) = ends.get_mut(at + text.len()).filter(|_| here) {
                        *end = true;
                    }
                }
                ends
            }
            Self::Segment => {
                let within = uri.iter().zip(begins).map(|(byte, begins)| {
                    open = (open || *begins) && !matches!(byte, b'/' | b'?' | b'#');
                    open
                });
                std::iter::once(false).chain(within).collect()
            }
            Self::Rest => {
                let after = begins.iter().map(|begins| {
                    open |= *begins;
                    open
                });
                after.collect()
            }
        }
    }
}

fn literal_part(text: &str) -> Option<Part> {
    (!text.is_empty()).then(|| Part::Literal(text.into()))
}

#[cfg(test)]
mod tests {
    use super::Template;

    #[track_caller]
    fn check(template: &str, fit: &[&str], others: &[&str]) {
        let template = Template::parse(template).unwrap();
        for uri in fit {
            assert!(template.matches(uri), "{uri}");
        }
        for uri in others {
            assert!(!template.matches(uri), "{uri}");
        }
    }

    #[test]
    fn a_variable_stands_for_a_piece_of_one_segment() {
        check(
            "test://template/{id}/data",
            &["test://template/1/data", "test://template/a%20b/data"],
            &[
                "test://template//data",
                "test://template/1/2/data",
                "test://template/1/data2",
                "other://template/1/data",
            ],
        );
        check("a:{x}-{y}", &["a:1-2-3"], &["a:1", "a:-1", "a:1-"]);
        check("a:b", &["a:b"], &["a:bc", "a:"]);
        check("{scheme}://{host}/x", &["a://b/x"], &["a://b/c/x"]);
    }

    #[test]
    fn operators_stand_for_anything() {
        check("file:///{+path}", &["file:///a/b?c", "file:///"], &["files:///a"]);
        check("a:b{?q,r}", &["a:b?q=1&r=2", "a:b"], &["a:c"]);
        check("a:b{/p}.json", &["a:b/c/d.json"], &["a:b/c/d.jsonl"]);
    }

    #[test]
    fn broken_and_endless_templates_are_none() {
        for broken in ["a{", "a}", "a{}", "{a{b}}", "{a}}"] {
            assert_eq!(Template::parse(broken), None, "{broken}");
        }
        assert!(Template::parse(&"{a}".repeat(16)).is_some());
        assert_eq!(Template::parse(&"{a}".repeat(17)), None);
    }
}

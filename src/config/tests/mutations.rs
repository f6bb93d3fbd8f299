//! No text makes the reader panic, and whatever it refuses, it says where.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

use super::{accepted, papers::uncommented_sample, read, read_after};
use crate::config::{Colour, ConfigErrors};

/// One change to a text, at places given as fractions of its length.
#[derive(Clone, Debug)]
enum Mutation {
    Delete(u16, u8),
    Insert(u16, String),
    Copy(u16, u16, u8),
    DropLine(u16),
    SwapWords(u16),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let piece = prop_oneof![
        Just("\""),
        Just("'''"),
        Just("["),
        Just("[["),
        Just("]"),
        Just("{"),
        Just("}"),
        Just("="),
        Just("\n"),
        Just("${"),
        Just("${env:X}"),
        Just("\\u0000"),
        Just("-1"),
        Just("nan"),
        Just("true"),
        Just("ä"),
        Just("\u{1b}"),
        Just("\r"),
        Just("#"),
        Just("."),
        Just("1979-05-27"),
        Just("[servers.x]\n"),
        Just("ghp_0123456789abcdef"),
        Just("url = \"http://x\"\n"),
    ];
    prop_oneof![
        (any::<u16>(), any::<u8>()).prop_map(|(at, n)| Mutation::Delete(at, n)),
        (any::<u16>(), piece).prop_map(|(at, text)| Mutation::Insert(at, text.to_owned())),
        (any::<u16>(), any::<char>()).prop_map(|(at, c)| Mutation::Insert(at, c.to_string())),
        (any::<u16>(), any::<u16>(), any::<u8>())
            .prop_map(|(from, to, n)| Mutation::Copy(from, to, n)),
        any::<u16>().prop_map(Mutation::DropLine),
        any::<u16>().prop_map(Mutation::SwapWords),
    ]
}

fn mutate(text: &str, mutation: &Mutation) -> String {
    let chars: Vec<char> = text.chars().collect();
    let place = |at: u16| usize::from(at) * chars.len() / (usize::from(u16::MAX) + 1);
    let string = |chars: &[char]| chars.iter().collect::<String>();
    match mutation {
        Mutation::Delete(at, n) => {
            let at = place(*at);
            let end = (at + usize::from(*n)).min(chars.len());
            string(&chars[..at]) + &string(&chars[end..])
        }
        Mutation::Insert(at, piece) => {
            let at = place(*at);
            string(&chars[..at]) + piece + &string(&chars[at..])
        }
        Mutation::Copy(from, to, n) => {
            let (from, to) = (place(*from), place(*to));
            let end = (from + usize::from(*n)).min(chars.len());
            string(&chars[..to]) + &string(&chars[from..end]) + &string(&chars[to..])
        }
        Mutation::DropLine(at) => {
            let lines: Vec<_> = text.split('\n').collect();
            let gone = usize::from(*at) % lines.len();
            let kept = lines.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, line)| *line);
            kept.collect::<Vec<_>>().join("\n")
        }
        Mutation::SwapWords(at) => {
            let mut words: Vec<_> = text.split(' ').collect();
            let n = words.len();
            words.swap(usize::from(*at) % n, (usize::from(*at) + 1) % n);
            words.join(" ")
        }
    }
}

fn says_where(text: &str, errors: &ConfigErrors) {
    let n_lines = text.matches('\n').count() + 1;
    assert!(!errors.errors.is_empty());
    for finding in errors.errors.iter().chain(&errors.warnings) {
        let (line, column) = (finding.line, finding.column);
        assert!((1..=n_lines).contains(&line), "line {line} of {n_lines}");
        let width = text.split('\n').nth(line - 1).unwrap().chars().count();
        assert!((1..=width + 1).contains(&column), "column {column} of {width}");
        let shown = finding.render(Colour::Never);
        assert!(shown.contains(&format!("servers.toml:{line}:{column}")), "{shown}");
        assert!(shown.contains(&finding.label), "{shown}");
        assert!(!shown.contains(['\u{1b}', '\r']), "{shown}");
    }
    assert!(errors.errors.is_sorted_by_key(|e| (e.line, e.column)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_mutation_of_the_sample_panics_and_every_error_has_a_line(
        mutations in proptest::collection::vec(mutation(), 1..12),
    ) {
        let sample = uncommented_sample();
        let text = mutations.iter().fold(sample, |text, m| mutate(&text, m));
        if let Err(errors) = read(&text) {
            says_where(&text, &errors);
        }
        // The same as what shall follow the sample: more is refused, never less, and as clearly.
        match (read(&text), read_after(&accepted(&uncommented_sample()), &text)) {
            (Err(_), Ok(_)) => panic!("a reload takes what a start refuses"),
            (_, Err(errors)) => says_where(&text, &errors),
            (Ok(_), Ok(_)) => {}
        }
    }

    #[test]
    fn no_text_at_all_panics(text in any::<String>()) {
        if let Err(errors) = read(&text) {
            says_where(&text, &errors);
        }
    }
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    for opening in ["[", "{a="] {
        let text = format!("x = {}", opening.repeat(100_000));
        says_where(&text, &read(&text).unwrap_err());
    }
}

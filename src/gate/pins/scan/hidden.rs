//! Characters that a person does not see, or sees somewhere else than the model reads them.
//!
//! Emoji and scripts that need joiners have their uses for some of them, and keep these. Pure.

use super::Class;

/// Whether a reviewer would not see the character as it is.
pub(in crate::gate::pins) fn is_unseen(c: char) -> bool {
    class_of(c).is_some() || is_joiner(c) || is_presentation(c) || is_mark(c)
}

/// The first of each class in a text, with what it is.
pub(super) fn hidden(text: &str) -> Vec<(Class, String)> {
    let mut found: Vec<(Class, String)> = Vec::new();
    // What every real definition is.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t')) {
        return found;
    }
    let is_rtl = text.chars().any(is_right_to_left);
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let class = class_of(c).or_else(|| {
            let after = rest.peek().copied();
            let at_home = (is_joiner(c) && joins(before, after))
                || (is_presentation(c) && before.is_some_and(takes_presentation))
                || (is_mark(c) && is_rtl);
            let odd = is_joiner(c) || is_presentation(c) || is_mark(c);
            (odd && !at_home).then_some(if is_mark(c) { Class::Direction } else { Class::Hidden })
        });
        if let Some(class) = class.filter(|class| found.iter().all(|(known, _)| known != class)) {
            found.push((class, format!("U+{:04X}", u32::from(c))));
        }
        before = Some(c);
    }
    found
}

/// The text as a model may read it: nothing hidden in it, and Latin letters for their likes.
pub(super) fn plain(text: &str) -> String {
    let seen = text.chars().filter(|c| !is_unseen(*c));
    let lower = seen.flat_map(char::to_lowercase);
    lower.map(|c| if c.is_ascii() { c } else { latin(c) }).collect()
}

/// The ASCII letter that looks like it.
fn latin(c: char) -> char {
    let mut looks = unicode_security::skeleton(c.encode_utf8(&mut [0; 4])).collect::<Vec<_>>();
    looks.retain(char::is_ascii_alphanumeric);
    match looks.as_slice() {
        [letter] => *letter,
        _ => c,
    }
}

fn class_of(c: char) -> Option<Class> {
    match c {
        // Tags; selectors that no emoji has; blanks without width; fillers; annotations.
        '\u{e0000}'..='\u{e007f}'
        | '\u{e0100}'..='\u{e01ef}'
        | '\u{fe00}'..='\u{fe0d}'
        | '\u{200b}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206a}'..='\u{206f}'
        | '\u{180b}'..='\u{180f}'
        | '\u{feff}'
        | '\u{ad}'
        | '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{3164}'
        | '\u{ffa0}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}' => Some(Class::Hidden),
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some(Class::Direction),
        '\n' | '\r' | '\t' => None,
        c if c.is_control() => Some(Class::Control),
        _ => None,
    }
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

fn is_presentation(c: char) -> bool {
    matches!(c, '\u{fe0e}' | '\u{fe0f}')
}

fn is_mark(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// Between letters of scripts that join, or parts of one emoji.
fn joins(before: Option<char>, after: Option<char>) -> bool {
    let part =
        |c: char| c > '\u{5ff}' && (c.is_alphabetic() || is_pictograph(c) || c == '\u{fe0f}');
    before.is_some_and(part) && after.is_some_and(|c| part(c) || c == '\u{2640}' || c == '\u{2642}')
        || before.is_some_and(is_indic_sign)
}

/// Signs that join what follows them.
fn is_indic_sign(c: char) -> bool {
    ('\u{900}'..='\u{dff}').contains(&c)
}

fn takes_presentation(c: char) -> bool {
    is_pictograph(c) || matches!(c, '0'..='9' | '#' | '*' | '\u{a9}' | '\u{ae}')
}

fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{203c}' | '\u{2049}' | '\u{2122}'..='\u{2bff}' | '\u{3030}' | '\u{303d}'
        | '\u{3297}' | '\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}')
        && c != '\u{61c}'
}

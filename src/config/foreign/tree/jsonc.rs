//! JSON as people write it: comments and a comma too many become spaces.
//!
//! Keeps every line and column where it was, so that mistakes are told at their places. Whether
//! what is left is JSON is for the parser to say.

/// Whether the first thing in the text opens an object.
pub(super) fn looks_like_json(text: &str) -> bool {
    without_comments(text).trim_start().starts_with('{')
}

pub(super) fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    // Where the last comma went, if nothing but space came after it.
    let mut comma = None;
    while let Some(c) = rest.next() {
        match (c, rest.peek()) {
            ('"', _) => {
                comma = None;
                out.push(c);
                copy_string(&mut rest, &mut out);
            }
            ('/', Some('/')) => {
                out.push(' ');
                while let Some(c) = rest.next_if(|c| *c != '\n') {
                    blank(c, &mut out);
                }
            }
            ('/', Some('*')) => {
                out.push(' ');
                blank_block(&mut rest, &mut out);
            }
            (',', _) => {
                comma = Some(out.len());
                out.push(c);
            }
            ('}' | ']', _) => {
                if let Some(at) = comma.take() {
                    out.replace_range(at..=at, " ");
                }
                out.push(c);
            }
            (c, _) => {
                comma = comma.filter(|_| c.is_whitespace());
                out.push(c);
            }
        }
    }
    out
}

type Rest<'t> = std::iter::Peekable<std::str::Chars<'t>>;

fn copy_string(rest: &mut Rest<'_>, out: &mut String) {
    while let Some(c) = rest.next() {
        out.push(c);
        match c {
            '\\' => out.extend(rest.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn blank_block(rest: &mut Rest<'_>, out: &mut String) {
    let mut last = ' ';
    // The `*` that opens it does not close it.
    out.extend(rest.next().map(|_| ' '));
    for c in rest.by_ref() {
        blank(c, out);
        if last == '*' && c == '/' {
            return;
        }
        last = c;
    }
}

/// As many columns as before, and the same lines.
fn blank(c: char, out: &mut String) {
    out.push(if c == '\n' { c } else { ' ' });
}

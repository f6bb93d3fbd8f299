//! One table of the file, read key by key with the place of everything.
//!
//! The tree is walked by hand because serde stops at the first mistake, and all are wanted at
//! once. Promises: a value of the wrong type or a key that does not exist leaves a note and reads
//! as absent; nothing panics on any input. Knows types and places, not what a key means.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::domain::Rate;

use super::{
    Code,
    report::{Note, Notes, sounds_secret},
    secret::has_reference,
};

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A table whose keys are known.
#[derive(Debug)]
pub(super) struct Section<'d> {
    /// As written in messages: `[gateway]`.
    pub(super) title: String,
    /// Where the table was opened.
    pub(super) span: Range<usize>,
    table: Option<&'d DeTable<'d>>,
}

impl<T> At<T> {
    pub(super) fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }
}

impl<'d> Section<'d> {
    pub(super) fn new(
        title: impl Into<String>,
        span: Range<usize>,
        table: &'d DeTable<'d>,
    ) -> Self {
        Self { title: title.into(), span, table: Some(table) }
    }

    /// The sub-table `key`; an absent one is empty, so that defaults need no special case.
    pub(super) fn section(&self, key: &str, title: &str, notes: &mut Notes) -> Self {
        let found = self.entry(key).and_then(|(span, value)| {
            let table = expect(&quoted(key), value, "a table", DeValue::as_table, notes)?;
            Some((span, table))
        });
        match found {
            Some((span, table)) => Self::new(title, span, table),
            None => Self { title: title.to_owned(), span: self.span.clone(), table: None },
        }
    }

    /// Notes every key that is not in `known`, with the nearest one that is, and returns those:
    /// what they were meant to be is not missing as well.
    pub(super) fn refuse_unknown<'k>(&self, known: &[&'k str], notes: &mut Notes) -> Vec<&'k str> {
        let mut meant = Vec::new();
        for (key, value) in self.table.into_iter().flat_map(|table| table.iter()) {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            if sounds_secret(name) && value.get_ref().is_str() {
                notes.hide(value.span());
            }
            let note = Note::new(
                Code::UnknownKey,
                key.span(),
                format!("unknown key `{}` in {}", name.escape_debug(), self.title),
            );
            let near = nearest(name, known);
            meant.extend(near);
            let label = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "not known here".to_owned(),
            };
            let help = hint(name).map_or_else(|| one_of(known), str::to_owned);
            notes.push(note.label(label).help(help));
        }
        meant
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Where `key` is written, if it is.
    pub(super) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.entry(key).map(|(span, _)| span)
    }

    /// Where the value of `key` is written, if it is.
    pub(super) fn value_span(&self, key: &str) -> Option<Range<usize>> {
        self.entry(key).map(|(_, value)| value.span())
    }

    /// All keys with their places and values, in the order of the file.
    pub(super) fn entries(&self) -> Vec<(At<&'d str>, &'d Spanned<DeValue<'d>>)> {
        let pairs = self.table.into_iter().flat_map(|table| table.iter());
        let mut entries: Vec<_> = pairs
            .map(|(key, value)| (At::new(key.get_ref().as_ref(), key.span()), value))
            .collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        entries
    }

    /// A string without secret references, which only `env` and tables of headers resolve.
    pub(super) fn text(&self, key: &str, notes: &mut Notes) -> Option<At<&'d str>> {
        let (_, value) = self.entry(key)?;
        plain_text(&quoted(key), value, notes)
    }

    pub(super) fn boolean(&self, key: &str, notes: &mut Notes) -> Option<bool> {
        let (_, value) = self.entry(key)?;
        expect(&quoted(key), value, "a boolean", DeValue::as_bool, notes)
    }

    /// A whole number within `range`.
    pub(super) fn count(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<usize>,
        notes: &mut Notes,
    ) -> Option<usize> {
        let (_, value) = self.entry(key)?;
        let number = expect(&quoted(key), value, "an integer", DeValue::as_integer, notes)?;
        let count = usize::from_str_radix(number.as_str(), number.radix()).ok();
        let fits = count.filter(|count| range.contains(count));
        if fits.is_none() {
            let (low, high) = (range.start(), range.end());
            notes.push(out_of_range(key, value.span(), format!("from {low} to {high}")));
        }
        fits
    }

    /// A number of seconds, fractions allowed, within `range`.
    pub(super) fn seconds(
        &self,
        key: &str,
        range: std::ops::RangeInclusive<f64>,
        notes: &mut Notes,
    ) -> Option<std::time::Duration> {
        let (_, value) = self.entry(key)?;
        let whole = value.get_ref().as_integer().map(|n| (n.as_str(), n.radix()));
        let number = whole.or_else(|| value.get_ref().as_float().map(|n| (n.as_str(), 10)));
        let Some((digits, radix)) = number else {
            notes.push(wrong_type(&quoted(key), value, "a number of seconds"));
            return None;
        };
        let written = digits.parse::<f64>().ok().filter(|_| radix == 10);
        let seconds = written.filter(|seconds| range.contains(seconds));
        if seconds.is_none() {
            let (low, high) = (range.start(), range.end());
            let rule = format!("from {low} to {high} seconds");
            notes.push(out_of_range(key, value.span(), rule));
        }
        seconds.and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
    }

    /// So many calls in so much time: `"20/s"`.
    pub(super) fn rate(&self, key: &str, notes: &mut Notes) -> Option<Rate> {
        let written = self.text(key, notes)?;
        let rate = Rate::parse(written.value);
        if rate.is_none() {
            let message = format!("`{}` is not a rate", written.value.escape_debug());
            let note = Note::new(Code::BadValue, written.span, message).label("not N/s, m, h or d");
            notes.push(
                note.help("write calls and time: \"20/s\", \"600/m\", \"100/h\", \"1000/d\""),
            );
        }
        rate
    }

    /// A list of strings. Elements of another type are noted one by one.
    pub(super) fn texts(&self, key: &str, notes: &mut Notes) -> Option<Vec<At<&'d str>>> {
        let (_, value) = self.entry(key)?;
        let list = expect(&quoted(key), value, "an array of strings", DeValue::as_array, notes)?;
        let subject = format!("an element of {}", quoted(key));
        Some(list.iter().filter_map(|item| plain_text(&subject, item, notes)).collect())
    }

    /// The value as JSON text.
    pub(super) fn json(&self, key: &str, notes: &mut Notes) -> Option<String> {
        let (_, value) = self.entry(key)?;
        let json = json(value.get_ref());
        if json.is_none() {
            notes.push(wrong_type(&quoted(key), value, "what JSON has"));
        }
        json.map(|json| json.to_string())
    }

    /// One of the given words.
    pub(super) fn word<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
        notes: &mut Notes,
    ) -> Option<T> {
        let written = self.text(key, notes)?;
        let found = words.iter().find(|(word, _)| *word == written.value);
        if found.is_none() {
            let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let note = Note::new(
                Code::UnknownWord,
                written.span,
                format!("`{}` is not a value of `{key}`", written.value.escape_debug()),
            );
            let label = match nearest(written.value, &names) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "unknown word".to_owned(),
            };
            notes.push(note.label(label).help(one_of(&names)));
        }
        found.map(|(_, value)| *value)
    }

    pub(super) fn entry(&self, key: &str) -> Option<(Range<usize>, &'d Spanned<DeValue<'d>>)> {
        let (key, value) = self.table?.iter().find(|(name, _)| name.get_ref() == key)?;
        Some((key.span(), value))
    }
}

/// The tables of an array of tables.
pub(super) fn tables<'d>(
    top: &Section<'d>,
    key: &str,
    title: &str,
    notes: &mut Notes,
) -> Vec<Section<'d>> {
    let Some((_, value)) = top.entry(key) else { return Vec::new() };
    let list = expect(&quoted(key), value, "an array of tables", DeValue::as_array, notes);
    let mut sections = Vec::new();
    for one in list.into_iter().flat_map(|list| list.iter()) {
        let table = expect(&quoted(key), one, "a table", DeValue::as_table, notes);
        sections.extend(table.map(|table| Section::new(title, one.span(), table)));
    }
    sections
}

/// A string of any content. The subject is how messages call it.
pub(super) fn string<'d>(
    subject: &str,
    value: &'d Spanned<DeValue<'d>>,
    notes: &mut Notes,
) -> Option<At<&'d str>> {
    let text = expect(subject, value, "a string", DeValue::as_str, notes)?;
    Some(At::new(text, value.span()))
}

/// Hides every string that is nested so deeply that only variables and headers can be meant,
/// whatever their tables are called: `headers = { Authorization = "…" }` is a common slip.
pub(super) fn hide_values(table: &DeTable<'_>, depth: usize, notes: &mut Notes) {
    const SERVER_DEPTH: usize = 3;
    for value in table.values() {
        if let DeValue::Table(inner) = value.get_ref() {
            hide_values(inner, depth + 1, notes);
        } else if value.get_ref().is_str() && depth > SERVER_DEPTH {
            notes.hide(value.span());
        }
    }
}

fn json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Boolean(truth) => (*truth).into(),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok()?.into()
        }
        DeValue::Float(number) => number.as_str().parse::<f64>().ok()?.into(),
        DeValue::Array(list) => {
            list.iter().map(|one| json(one.get_ref())).collect::<Option<Vec<_>>>()?.into()
        }
        DeValue::Table(table) => {
            let pairs = table
                .iter()
                .map(|(key, one)| Some((key.get_ref().to_string(), json(one.get_ref())?)));
            serde_json::Value::Object(pairs.collect::<Option<_>>()?)
        }
        DeValue::Datetime(_) => return None,
    })
}

/// A key as messages show it.
pub(super) fn quoted(key: &str) -> String {
    format!("`{}`", key.escape_debug())
}

fn plain_text<'d>(
    subject: &str,
    value: &'d Spanned<DeValue<'d>>,
    notes: &mut Notes,
) -> Option<At<&'d str>> {
    let text = string(subject, value, notes)?;
    if has_reference(text.value) {
        let message = format!("{subject} cannot be a secret");
        let note = Note::new(Code::BadReference, text.span, message).label("not resolved here");
        notes.push(
            note.help("secrets are resolved in `env`, `http_headers` and `otlp_headers` only"),
        );
        return None;
    }
    Some(text)
}

pub(super) fn expect<'d, T>(
    subject: &str,
    value: &'d Spanned<DeValue<'d>>,
    wanted: &str,
    read: impl FnOnce(&'d DeValue<'d>) -> Option<T>,
    notes: &mut Notes,
) -> Option<T> {
    let found = read(value.get_ref());
    if found.is_none() {
        notes.push(wrong_type(subject, value, wanted));
    }
    found
}

fn wrong_type(subject: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> Note {
    let found = value.get_ref().type_str();
    Note::new(Code::WrongType, value.span(), format!("{subject} must be {wanted}, found {found}"))
        .label(format!("expected {wanted}"))
}

fn out_of_range(key: &str, span: Range<usize>, rule: String) -> Note {
    Note::new(Code::OutOfRange, span, format!("`{key}` is out of range"))
        .label("not allowed")
        .help(format!("write a number {rule}"))
}

/// The known word that `name` was probably meant to be.
fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    const SIMILAR_MIN: f64 = 0.75;
    let lower = name.to_lowercase();
    known
        .iter()
        .map(|word| (strsim::jaro_winkler(&lower, word), *word))
        .filter(|(likeness, _)| *likeness >= SIMILAR_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

/// What to write instead of keys that other programs have.
fn hint(name: &str) -> Option<&'static str> {
    match name {
        "env_vars" | "env_passthrough" => {
            Some("pass a variable on with env = { X = \"${env:X}\" }")
        }
        "bearer_token" => Some("name a variable with bearer_token_env_var"),
        "mcp_servers" | "mcpServers" => Some("name the tables [servers.NAME]"),
        "type" | "transport" => Some("leave it out: `command` means stdio, `url` means HTTP"),
        _ => None,
    }
}

fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}

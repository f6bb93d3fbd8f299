//! YAML, as far as configuration files need it: one document of tables, lists and plain values.
//!
//! Anchors, aliases and tags are refused: they are how a small file becomes a large one, and no
//! program writes them into its settings. Bounded in depth; grows no larger than the text.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::{
    super::{ForeignError, shown},
    Node, Syntax,
};
use crate::domain::limits::IMPORT_DEPTH_MAX;

type Events<'t> = Parser<'t, StrInput<'t>>;

pub(super) fn parse(text: &str) -> Result<Node, ForeignError> {
    let mut events = Parser::new_from_str(text);
    let mut tree = None;
    while let Some(event) = events.next() {
        let (event, span) = event.map_err(|error| scan(&error))?;
        let is_frame = matches!(
            event,
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd
        );
        if is_frame {
            continue;
        }
        if tree.is_some() {
            return Err(at(&span, "more than one document"));
        }
        tree = Some(node(&mut events, (event, span), 0)?);
    }
    Ok(tree.unwrap_or(Node::Nothing))
}

fn node(
    events: &mut Events<'_>,
    (event, span): (Event<'_>, Span),
    depth: usize,
) -> Result<Node, ForeignError> {
    if depth >= IMPORT_DEPTH_MAX {
        return Err(at(&span, format!("more than {IMPORT_DEPTH_MAX} levels")));
    }
    if let Event::Scalar(text, style, 0, None) = &event {
        return Ok(scalar(text, *style));
    }
    if matches!(event, Event::SequenceStart(0, None)) {
        return list(events, depth + 1);
    }
    if matches!(event, Event::MappingStart(0, None)) {
        return table(events, depth + 1);
    }
    Err(at(&span, "anchors and aliases and tags are not read; write the value itself"))
}

fn list(events: &mut Events<'_>, depth: usize) -> Result<Node, ForeignError> {
    let mut items = Vec::new();
    loop {
        let (event, span) = next(events)?;
        if matches!(event, Event::SequenceEnd) {
            return Ok(Node::List(items));
        }
        items.push(node(events, (event, span), depth)?);
    }
}

fn table(events: &mut Events<'_>, depth: usize) -> Result<Node, ForeignError> {
    let mut entries: Vec<(String, Node)> = Vec::new();
    loop {
        let (event, span) = next(events)?;
        if matches!(event, Event::MappingEnd) {
            return Ok(Node::Table(entries));
        }
        let Event::Scalar(key, _, 0, None) = event else {
            return Err(at(&span, "a key that is no plain word"));
        };
        if entries.iter().any(|(known, _)| *known == *key) {
            return Err(at(&span, format!("`{}` stands twice", shown(&key))));
        }
        let value = next(events)?;
        entries.push((key.into_owned(), node(events, value, depth)?));
    }
}

fn next<'t>(events: &mut Events<'t>) -> Result<(Event<'t>, Span), ForeignError> {
    match events.next() {
        Some(event) => event.map_err(|error| scan(&error)),
        None => Ok((Event::StreamEnd, Span::default())),
    }
}

/// The words of YAML 1.2; those of 1.1 (`yes`, `off`) are texts.
fn scalar(text: &str, style: ScalarStyle) -> Node {
    if style != ScalarStyle::Plain {
        return Node::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Node::Nothing,
        "true" | "True" | "TRUE" => Node::Flag(true),
        "false" | "False" | "FALSE" => Node::Flag(false),
        _ if is_number(text) => Node::Number(text.to_owned()),
        _ => Node::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

fn scan(error: &ScanError) -> ForeignError {
    let marker = error.marker();
    let (line, column) = (marker.line(), marker.col() + 1);
    ForeignError::Syntax { syntax: Syntax::Yaml, line, column, what: error.info().to_owned() }
}

fn at(span: &Span, what: impl Into<String>) -> ForeignError {
    let (line, column) = (span.start.line(), span.start.col() + 1);
    ForeignError::Syntax { syntax: Syntax::Yaml, line, column, what: what.into() }
}

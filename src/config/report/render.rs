//! A finding for people: message, the line it stands on, what is wrong there, what to do.
//!
//! Drawn by miette from the masked text; always one line of source, always the same width.

use std::fmt;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};

use super::{Finding, Severity};

/// Whether a rendering may use terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Always,
    Never,
}

impl Colour {
    /// Colours only for a terminal, and not where `NO_COLOR` asks for none.
    pub fn detect(stream: &impl std::io::IsTerminal) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        if stream.is_terminal() && !refused { Self::Always } else { Self::Never }
    }
}

impl Finding {
    /// For people: message, excerpt, label, help.
    pub fn render(&self, colour: Colour) -> String {
        let theme = match colour {
            Colour::Always => GraphicalTheme::unicode(),
            Colour::Never => GraphicalTheme::unicode_nocolor(),
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(RENDER_COLUMNS)
            .with_context_lines(1)
            .with_links(false);
        let mut out = String::new();
        match handler.render_report(&mut out, &Report(self)) {
            Ok(()) => out,
            Err(fmt::Error) => format!("{self}\n"),
        }
    }
}

/// Excerpts are wrapped here, whatever the terminal, so that logs and tests read the same.
const RENDER_COLUMNS: usize = 100;

/// What miette is given: a finding, and the one line of its source.
#[derive(Debug)]
struct Report<'a>(&'a Finding);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { severity, code, message, .. } = self.0;
        write!(f, "{}[{code}]: {message}", severity.as_str())
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.0.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(Some(self.0.label.clone()), self.0.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// Always the whole line of the finding and no other: neighbours may be nobody's business.
impl SourceCode for Report<'_> {
    fn read_span<'a>(
        &'a self,
        _span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let shown = &self.0.shown;
        let (number, bytes) = shown.line(self.0.span.start);
        // The newline makes an empty line a line.
        let bytes = bytes.start..bytes.end + 1;
        let text = shown.get(bytes.clone()).as_bytes();
        // Without context lines it is the heading that asks, and it wants the column.
        let column = if lines_before == 0 { self.0.column.saturating_sub(1) } else { 0 };
        let (name, span) = (shown.name.clone(), SourceSpan::from(bytes));
        Ok(Box::new(MietteSpanContents::new_named(name, text, span, number, column, 1)))
    }
}

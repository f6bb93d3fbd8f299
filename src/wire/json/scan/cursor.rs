//! A place in a text, and the steps over one token.
//!
//! INVARIANT: `at` only grows and never passes the end. Every step either moves behind the token it
//! names or says what was expected instead.

use super::{Fault, Rule, lex};

pub(super) struct Cursor<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    /// Whether a raw newline was passed between two tokens.
    pub(super) newlines: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, newlines: false }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Steps over the byte that was just peeked at.
    #[inline]
    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    #[inline]
    pub(super) fn blanks(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            self.newlines |= matches!(byte, b'\n' | b'\r');
            self.at += 1;
        }
    }

    /// Steps from behind a string's opening quote to behind its closing one; whether it has
    /// escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<bool, Fault> {
        let mut escaped = false;
        loop {
            self.at += lex::plain(self.rest());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => match lex::escape(self.rest()) {
                    Some(len) => self.at += len,
                    None => return Err(self.syntax("malformed escape")),
                },
                Some(_) => return Err(self.syntax("control character in a string")),
                None => return Err(self.syntax("unterminated string")),
            }
            escaped = true;
        }
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<(), Fault> {
        match lex::number(self.rest()) {
            Some(len) => self.at += len,
            None => return Err(self.syntax("malformed number")),
        }
        Ok(())
    }

    pub(super) fn word(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if !self.rest().starts_with(word) {
            return Err(self.syntax("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    #[cold]
    pub(super) fn syntax(&self, what: &'static str) -> Fault {
        self.fault(Rule::Syntax(what))
    }

    pub(super) fn fault(&self, rule: Rule) -> Fault {
        Fault { at: self.at, rule }
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }
}

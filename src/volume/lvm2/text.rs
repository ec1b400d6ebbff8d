// SPDX-License-Identifier: MIT OR Apache-2.0
//! The text in which LVM2 describes a group: assignments and sections.
//!
//! ```text
//! vg0 {
//!     extent_size = 8192    # 4 MiB
//!     status = ["READ", "WRITE"]
//! }
//! ```
//!
//! Parsing is bounded: so deep, so many values. A key that is there twice is
//! an error, because which of them counts is a guess.

use crate::ondisk::FormatError;

/// Sections inside sections: a policy's settings are the fifth level.
const MAX_DEPTH: u32 = 8;
/// Values of all kinds: about 100 MiB of a text of 16 MiB.
const MAX_VALUES: usize = 1 << 20;

/// A value of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    /// Between double quotes, escapes and all.
    Text(&'a [u8]),
    List(Vec<Value<'a>>),
    Section(Section<'a>),
    /// A number with a sign or a point.
    Other,
}

/// Keys with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section<'a> {
    pub(super) entries: Vec<(&'a [u8], Value<'a>)>,
}

impl<'a> Section<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.entries.iter().find(|(found, _)| *found == key.as_bytes()).map(|(_, value)| value)
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a [u8]> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn section(&self, key: &str) -> Option<&Section<'a>> {
        match self.get(key)? {
            Value::Section(section) => Some(section),
            _ => None,
        }
    }

    /// The sections in it, with their keys.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'a [u8], &Section<'a>)> {
        self.entries.iter().filter_map(|(key, value)| match value {
            Value::Section(section) => Some((*key, section)),
            _ => None,
        })
    }
}

/// Parses all of a text; the zero bytes at its end are no part of it.
pub(super) fn parse(text: &[u8]) -> Result<Section<'_>, FormatError> {
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    let text = text.get(..end).unwrap_or_default();
    let mut parser = Parser { text, at: 0, values: 0 };
    parser.section(0)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    values: usize,
}

impl<'a> Parser<'a> {
    fn wrong(&self, expected: &str) -> FormatError {
        let found = self.text.get(self.at).map_or_else(
            || "the end".to_owned(),
            |byte| format!("'{}'", char::from(*byte).escape_default()),
        );
        let position = u64::try_from(self.at).unwrap_or(u64::MAX);
        FormatError::corrupt("LVM2 metadata text", position, expected, found)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    /// Past white space and comments.
    fn blank(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.skip(),
                b'#' => {
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.skip();
                    }
                }
                _ => return,
            }
        }
    }

    fn run(&mut self, of: impl Fn(u8) -> bool) -> &'a [u8] {
        let start = self.at;
        while self.peek().is_some_and(&of) {
            self.skip();
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn count(&mut self) -> Result<(), FormatError> {
        self.values = self.values.saturating_add(1);
        if self.values > MAX_VALUES {
            let text = format!("LVM2 metadata of more than {MAX_VALUES} values");
            return Err(FormatError::unsupported(text));
        }
        Ok(())
    }

    /// The inside of a section, up to its brace or, of the outermost, the end.
    fn section(&mut self, depth: u32) -> Result<Section<'a>, FormatError> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("no deeper section"));
        }
        let mut section = Section::default();
        loop {
            self.blank();
            match self.peek() {
                None if depth == 0 => break,
                Some(b'}') if depth > 0 => break,
                _ => {}
            }
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
            let key = self.run(is_name);
            if key.is_empty() {
                return Err(self.wrong("a name"));
            }
            self.count()?;
            self.blank();
            let value = match self.peek() {
                Some(b'{') => {
                    self.skip();
                    let inner = self.section(depth.saturating_add(1))?;
                    self.skip();
                    Value::Section(inner)
                }
                Some(b'=') => {
                    self.skip();
                    self.blank();
                    self.value()?
                }
                _ => return Err(self.wrong("'=' or '{'")),
            };
            section.entries.push((key, value));
        }
        section.entries.shrink_to_fit();
        let mut keys: Vec<&[u8]> = section.entries.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(self.wrong("a section without double names"));
        }
        Ok(section)
    }

    fn value(&mut self) -> Result<Value<'a>, FormatError> {
        if self.peek() != Some(b'[') {
            return self.scalar();
        }
        self.skip();
        let mut list = Vec::new();
        loop {
            self.blank();
            if self.peek() == Some(b']') {
                self.skip();
                list.shrink_to_fit();
                return Ok(Value::List(list));
            }
            if !list.is_empty() {
                if self.peek() != Some(b',') {
                    return Err(self.wrong("',' or ']'"));
                }
                self.skip();
                self.blank();
            }
            self.count()?;
            list.push(self.scalar()?);
        }
    }

    fn scalar(&mut self) -> Result<Value<'a>, FormatError> {
        if self.peek() == Some(b'"') {
            self.skip();
            return self.quoted();
        }
        let digits = self.run(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
        if digits.is_empty() {
            return Err(self.wrong("a value"));
        }
        if !digits.iter().all(u8::is_ascii_digit) {
            return Ok(Value::Other);
        }
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        digits.parse().map(Value::Number).map_err(|_| self.wrong("a number of 64 bits"))
    }

    fn quoted(&mut self) -> Result<Value<'a>, FormatError> {
        let start = self.at;
        loop {
            match self.peek() {
                None | Some(0) => return Err(self.wrong("the end of a text")),
                Some(b'"') => break,
                Some(b'\\') => {
                    self.skip();
                    self.skip();
                }
                Some(_) => self.skip(),
            }
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        self.skip();
        Ok(Value::Text(text))
    }
}

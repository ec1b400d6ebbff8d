// SPDX-License-Identifier: MIT OR Apache-2.0
//! A line to type into.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;

use crate::tui::keys::Key;

/// More than any path or label needs.
const LONGEST: usize = 1000;

/// A line that is being typed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Input {
    text: Vec<char>,
    cursor: usize,
    secret: bool,
}

impl Input {
    /// A line that holds this text to begin with.
    #[cfg(test)]
    pub(crate) fn with(text: &str) -> Self {
        let text: Vec<char> = text.chars().take(LONGEST).collect();
        Self { cursor: text.len(), text, secret: false }
    }

    /// A line whose text is not shown.
    pub(crate) fn secret() -> Self {
        Self { secret: true, ..Self::default() }
    }

    /// What was typed.
    pub(crate) fn text(&self) -> String {
        self.text.iter().collect()
    }

    /// Forgets what was typed.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.cursor = 0;
    }

    /// Takes a key; false if it is none for a line.
    pub(crate) fn key(&mut self, key: Key) -> bool {
        match key {
            Key::Letter(c) => {
                if self.text.len() < LONGEST && !c.is_control() {
                    self.text.insert(self.cursor, c);
                    self.cursor += 1;
                }
            }
            Key::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.text.remove(self.cursor);
            }
            Key::Delete if self.cursor < self.text.len() => {
                self.text.remove(self.cursor);
            }
            Key::Backspace | Key::Delete => {}
            Key::Left => self.cursor = self.cursor.saturating_sub(1),
            Key::Right => self.cursor = (self.cursor + 1).min(self.text.len()),
            Key::Home => self.cursor = 0,
            Key::End => self.cursor = self.text.len(),
            Key::Clear => self.clear(),
            _ => return false,
        }
        true
    }

    /// Draws it as one line, and returns where its cursor is.
    pub(crate) fn draw(&self, area: Rect, buffer: &mut Buffer) -> Option<Position> {
        if area.is_empty() || area.width < 4 {
            return None;
        }
        let room = usize::from(area.width) - 3;
        // The end of a long line is what is being typed.
        let first = self.cursor.saturating_sub(room);
        let shown = self.text.iter().skip(first).take(room);
        let shown: String = shown.map(|c| if self.secret { '*' } else { *c }).collect();
        buffer.set_line(area.x, area.y, &Line::raw(format!("> {shown}")), area.width);
        let column = u16::try_from(self.cursor - first + 2).unwrap_or(u16::MAX);
        Some(Position { x: area.x + column.min(area.width - 1), y: area.y })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[Key]) -> String {
        let mut input = Input::with("sdb");
        for key in keys {
            assert!(input.key(*key));
        }
        input.text()
    }

    #[test]
    fn a_line_is_edited_as_everywhere() {
        assert_eq!(typed(&[Key::Letter('1')]), "sdb1");
        assert_eq!(typed(&[Key::Backspace, Key::Letter('c')]), "sdc");
        assert_eq!(typed(&[Key::Home, Key::Delete, Key::Letter('h')]), "hdb");
        assert_eq!(typed(&[Key::Left, Key::Left, Key::Right, Key::Backspace]), "sb");
        assert_eq!(typed(&[Key::Clear, Key::Backspace, Key::Delete, Key::Right]), "");
        assert!(!Input::default().key(Key::Enter));
    }

    #[test]
    fn the_end_of_a_long_line_is_seen_and_a_secret_is_not() {
        let area = Rect::new(0, 0, 10, 1);
        let mut buffer = Buffer::empty(area);
        let input = Input::with("0123456789");
        let cursor = input.draw(area, &mut buffer).unwrap();
        assert_eq!((cursor.x, cursor.y), (9, 0));
        assert!(buffer.content().iter().any(|cell| cell.symbol() == "9"));
        let mut secret = Input::secret();
        secret.key(Key::Letter('x'));
        let mut buffer = Buffer::empty(area);
        secret.draw(area, &mut buffer);
        assert!(buffer.content().iter().all(|cell| cell.symbol() != "x"));
    }
}

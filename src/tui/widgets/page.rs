// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text of several paragraphs, wrapped to the width there is, and scrolled.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::{draw_lines, picture, short, table};
use crate::cmd::output::plain;
use crate::layout::Layout;
use crate::tui::keys::Key;
use crate::tui::look::{Look, Tone};

/// A part of a page.
#[derive(Debug, Clone)]
enum Block {
    /// A paragraph, moved to the right.
    Text { tone: Tone, indent: usize, text: String },
    /// A line that is cut, not wrapped: one of a table.
    Row { tone: Tone, text: String },
    /// A disk with its partitions, in a picture and a table.
    Disk { layout: Layout, len: u64 },
}

/// Text that is shown in whatever width there is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Page {
    blocks: Vec<Block>,
}

impl Page {
    /// A paragraph in a tone.
    pub(crate) fn add(&mut self, tone: Tone, text: impl Into<String>) -> &mut Self {
        self.indented(tone, 0, text)
    }

    /// A paragraph in a tone, moved to the right.
    pub(crate) fn indented(
        &mut self,
        tone: Tone,
        indent: usize,
        text: impl Into<String>,
    ) -> &mut Self {
        self.blocks.push(Block::Text { tone, indent, text: text.into() });
        self
    }

    /// An ordinary paragraph.
    pub(crate) fn text(&mut self, text: impl Into<String>) -> &mut Self {
        self.add(Tone::Plain, text)
    }

    /// An empty line.
    pub(crate) fn blank(&mut self) -> &mut Self {
        self.row(Tone::Plain, "")
    }

    /// A line that is not wrapped.
    pub(crate) fn row(&mut self, tone: Tone, text: impl Into<String>) -> &mut Self {
        self.blocks.push(Block::Row { tone, text: text.into() });
        self
    }

    /// A disk of `len` bytes, in a picture and a table of its partitions.
    pub(crate) fn disk(&mut self, layout: &Layout, len: u64) -> &mut Self {
        self.blocks.push(Block::Disk { layout: layout.clone(), len });
        self
    }

    /// All of it in lines of at most `width` columns.
    pub(crate) fn lines(&self, width: usize, look: &Look) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        for block in &self.blocks {
            match block {
                Block::Text { tone, indent, text } => {
                    for line in wrap(&plain(text), width, *indent) {
                        lines.push(Line::styled(line, look.style(*tone)));
                    }
                }
                Block::Row { tone, text } => {
                    let margin = text.chars().take_while(|c| *c == ' ').count().min(width);
                    let text = format!("{}{}", " ".repeat(margin), short(text, width - margin));
                    lines.push(Line::styled(text, look.style(*tone)));
                }
                Block::Disk { layout, len } => {
                    lines.extend(picture(layout, *len, width, look));
                    lines.extend(table(layout, *len, width, look));
                }
            }
        }
        lines
    }
}

/// Text in lines of at most `width` columns, each behind a margin. A word that
/// is longer than a line is cut into pieces.
pub(super) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let margin = " ".repeat(indent.min(width / 2));
    let room = (width - margin.len()).max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let mut line = String::new();
        let mut columns = 0;
        for word in paragraph.split_whitespace() {
            let mut word: Vec<char> = word.chars().collect();
            if columns > 0 && columns + 1 + word.len() > room {
                lines.push(format!("{margin}{line}"));
                line.clear();
                columns = 0;
            }
            while word.len() > room {
                let rest = word.split_off(room);
                lines.push(format!("{margin}{}", word.iter().collect::<String>()));
                word = rest;
            }
            if columns > 0 {
                line.push(' ');
                columns += 1;
            }
            columns += word.len();
            line.extend(word);
        }
        lines.push(if line.is_empty() { String::new() } else { format!("{margin}{line}") });
    }
    lines
}

/// How far down a text is scrolled.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scroll {
    top: usize,
    /// How many lines were seen, and were there, when it was drawn.
    seen: usize,
    count: usize,
}

impl Scroll {
    /// Takes a key that scrolls; false if it is another.
    pub(crate) fn key(&mut self, key: Key) -> bool {
        let most = self.count.saturating_sub(self.seen);
        let page = self.seen.saturating_sub(1).max(1);
        self.top = match key {
            Key::Up => self.top.saturating_sub(1),
            Key::Down => self.top + 1,
            Key::PageUp => self.top.saturating_sub(page),
            Key::PageDown | Key::Letter(' ') => self.top + page,
            Key::Home => 0,
            Key::End => most,
            _ => return false,
        }
        .min(most);
        true
    }

    /// True if there is more than was seen.
    pub(crate) const fn is_needed(&self) -> bool {
        self.count > self.seen
    }

    /// Goes to the end of the text, as of a log that grows.
    pub(crate) const fn go_to_end(&mut self) {
        self.top = usize::MAX;
    }

    /// Draws as much of the lines as fits.
    pub(crate) fn draw(
        &mut self,
        lines: &[Line<'_>],
        area: Rect,
        buffer: &mut Buffer,
        look: &Look,
    ) {
        self.seen = usize::from(area.height);
        self.count = lines.len();
        self.top = self.top.min(self.count.saturating_sub(self.seen));
        draw_lines(&lines[self.top..], area, buffer);
        if area.width > 2 && area.height > 1 {
            let is_more = self.top + self.seen < self.count;
            let marks = [(self.top > 0, area.y, "^"), (is_more, area.bottom() - 1, "v")];
            for (_, y, mark) in marks.into_iter().filter(|(is, _, _)| *is) {
                buffer.set_string(area.right() - 1, y, mark, look.style(Tone::Strong));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look { unicode: false, colour: false };

    #[test]
    fn text_is_wrapped_whatever_the_width() {
        assert_eq!(wrap("one two three four", 9, 0), ["one two", "three", "four"]);
        assert_eq!(wrap("one two", 10, 2), ["  one two"]);
        assert_eq!(wrap("abcdefghij k", 4, 0), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("a\n\nb", 10, 1), [" a", "", " b"]);
        for width in 0..5 {
            assert!(!wrap("some text", width, 3).is_empty());
        }
    }

    #[test]
    fn nothing_from_a_disk_steers_the_terminal() {
        let mut page = Page::default();
        page.text("a\u{1b}[2Jb").row(Tone::Plain, "c\u{7}\nd");
        let text = format!("{:?}", page.lines(40, &LOOK));
        assert!(!text.contains("\\u{1b}") && !text.contains("\\u{7}"), "{text}");
    }

    #[test]
    fn a_long_text_is_scrolled_to_its_end_and_no_further() {
        let lines: Vec<Line<'_>> = (0..10).map(|n| Line::raw(format!("line {n}"))).collect();
        let area = Rect::new(0, 0, 12, 4);
        let mut buffer = Buffer::empty(area);
        let mut scroll = Scroll::default();
        scroll.draw(&lines, area, &mut buffer, &LOOK);
        assert!(scroll.is_needed());
        for _ in 0..20 {
            assert!(scroll.key(Key::Down));
        }
        assert_eq!(scroll.top, 6);
        scroll.key(Key::PageUp);
        assert_eq!(scroll.top, 3);
        scroll.go_to_end();
        scroll.draw(&lines, area, &mut buffer, &LOOK);
        assert_eq!(scroll.top, 6);
        assert!(!scroll.key(Key::Enter));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A list of things to choose from, each of one or more lines.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::page::wrap;
use super::short;
use crate::cmd::output::plain;
use crate::tui::keys::Key;
use crate::tui::look::{Look, Tone};

/// The mark of what is chosen, and the blanks instead of it.
const MARK: usize = 2;
/// What stands below the first line is moved to the right.
const MARGIN: usize = 2;

/// One thing to choose.
#[derive(Debug, Clone, Default)]
pub(crate) struct Item {
    /// The first line.
    pub(crate) title: String,
    /// The lines beneath it.
    pub(crate) below: Vec<String>,
    /// True if it cannot be chosen; the lines say why.
    pub(crate) refused: bool,
}

impl Item {
    /// Something of one line.
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// With a further line.
    pub(crate) fn below(mut self, line: impl Into<String>) -> Self {
        let line = line.into();
        if !line.is_empty() {
            self.below.push(line);
        }
        self
    }

    /// Its lines in so many columns: the first is cut, the others are wrapped
    /// behind a margin.
    fn lines(&self, width: usize) -> Vec<String> {
        let mut lines = vec![short_keeping_margin(&self.title, width)];
        lines.extend(self.below.iter().flat_map(|text| wrap(&plain(text), width, MARGIN)));
        lines
    }

    /// How many lines it takes.
    pub(crate) fn height(&self, width: usize) -> usize {
        self.lines(width.saturating_sub(MARK)).len()
    }
}

/// Which of several things is chosen, and which are seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct List {
    chosen: usize,
    /// True if what was chosen is gone, and nothing has been chosen since.
    is_lost: bool,
    /// The first item that is seen.
    first: usize,
    /// How many were seen when it was drawn.
    page: usize,
}

impl List {
    /// The number of what is chosen, if there is anything.
    pub(crate) fn chosen(&self, count: usize) -> Option<usize> {
        (count > 0 && !self.is_lost).then(|| self.chosen.min(count - 1))
    }

    /// Finds what was chosen in a list that was made anew: it may stand
    /// elsewhere. If it is gone nothing is chosen, rather than its neighbour.
    pub(crate) fn follow(&mut self, chosen: &str, names: impl IntoIterator<Item = String>) {
        match names.into_iter().position(|name| name == chosen) {
            Some(number) => self.choose(number),
            None => *self = Self { is_lost: true, ..Self::default() },
        }
    }

    /// Chooses one.
    pub(crate) const fn choose(&mut self, number: usize) {
        self.chosen = number;
        self.is_lost = false;
    }

    /// Takes a key that moves the choice; false if it is another.
    pub(crate) fn key(&mut self, key: Key, count: usize) -> bool {
        let last = count.saturating_sub(1);
        let chosen = self.chosen.min(last);
        self.chosen = match key {
            Key::Down | Key::Tab if self.is_lost => 0,
            Key::Up if self.is_lost || chosen == 0 => last,
            Key::Up => chosen - 1,
            Key::Down | Key::Tab if chosen >= last => 0,
            Key::Down | Key::Tab => chosen + 1,
            Key::PageUp => chosen.saturating_sub(self.page.max(1)),
            Key::PageDown => (chosen + self.page.max(1)).min(last),
            Key::Home => 0,
            Key::End => last,
            _ => return false,
        };
        self.is_lost = false;
        true
    }

    /// Draws as many items as fit, so that the chosen one is among them.
    pub(crate) fn draw(&mut self, items: &[Item], area: Rect, buffer: &mut Buffer, look: &Look) {
        if items.is_empty() {
            return;
        }
        let marked = self.chosen(items.len());
        let chosen = marked.unwrap_or(0);
        let room = usize::from(area.height);
        self.first = self.first.min(chosen);
        let width = usize::from(area.width).saturating_sub(MARK);
        let lines: Vec<Vec<String>> = items.iter().map(|item| item.lines(width)).collect();
        let rows = |from: usize, to: usize| lines[from..=to].iter().map(Vec::len).sum::<usize>();
        while self.first < chosen && rows(self.first, chosen) > room {
            self.first += 1;
        }
        let mut y = area.y;
        self.page = 0;
        for (number, lines) in lines.iter().enumerate().skip(self.first) {
            let is_chosen = marked == Some(number);
            for (n, text) in lines.iter().enumerate() {
                if y >= area.bottom() {
                    break;
                }
                let mark = if is_chosen && n == 0 { "> " } else { "  " };
                let style = match (is_chosen && n == 0, items[number].refused || n > 0) {
                    (true, _) => Look::chosen(),
                    (false, true) => look.style(Tone::Faint),
                    (false, false) => look.style(Tone::Plain),
                };
                let line = Line::from(vec![Span::raw(mark), Span::styled(text.as_str(), style)]);
                buffer.set_line(area.x, y, &line, area.width);
                y += 1;
            }
            self.page += 1;
            if y >= area.bottom() {
                break;
            }
        }
        let is_more_below = self.first + self.page < items.len();
        if area.width > 2 && area.height > 1 {
            let marks = [(self.first > 0, area.y, "^"), (is_more_below, area.bottom() - 1, "v")];
            for (_, y, mark) in marks.into_iter().filter(|(is, _, _)| *is) {
                buffer.set_string(area.right() - 1, y, mark, look.style(Tone::Strong));
            }
        }
    }
}

/// A line that is short enough, with the blanks in front of it kept.
fn short_keeping_margin(text: &str, width: usize) -> String {
    let margin = text.chars().take_while(|c| *c == ' ').count().min(width);
    format!("{}{}", " ".repeat(margin), short(text, width - margin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_goes_round_and_stays_in_view() {
        let items: Vec<Item> =
            (0..10).map(|n| Item::new(format!("item {n}")).below(format!("more {n}"))).collect();
        let mut list = List::default();
        let area = Rect::new(0, 0, 20, 5);
        let look = Look { unicode: false, colour: false };
        let draw = |list: &mut List| {
            let mut buffer = Buffer::empty(area);
            list.draw(&items, area, &mut buffer, &look);
            let text: String = buffer.content().iter().map(|cell| cell.symbol()).collect();
            text
        };
        assert!(draw(&mut list).starts_with("> item 0"));
        assert!(draw(&mut list).contains('v'));
        list.key(Key::Up, 10);
        assert_eq!(list.chosen(10), Some(9));
        let text = draw(&mut list);
        assert!(text.contains("> item 9") && text.contains("more 9") && text.contains('^'));
        list.key(Key::Down, 10);
        assert_eq!(list.chosen(10), Some(0));
        list.key(Key::PageDown, 10);
        assert!(list.chosen(10) > Some(0));
        assert!(!list.key(Key::Enter, 10));
        assert_eq!(List::default().chosen(0), None);
        // Another list: what was chosen is followed, and nothing else is.
        let names = |text: &str| -> Vec<String> { text.chars().map(String::from).collect() };
        list.follow("b", names("abc"));
        assert_eq!(list.chosen(3), Some(1));
        list.follow("b", names("xabc"));
        assert_eq!(list.chosen(4), Some(2));
        list.follow("b", names("xac"));
        assert_eq!(list.chosen(3), None);
        assert!(!draw(&mut list).contains('>'));
        assert!(list.key(Key::Down, 3) && list.chosen(3) == Some(0));
        list.follow("b", names("xac"));
        assert!(list.key(Key::Up, 3) && list.chosen(3) == Some(2));
        // The list has become shorter.
        list.choose(7);
        assert_eq!(list.chosen(3), Some(2));
    }
}

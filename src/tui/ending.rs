// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of a job: how it went, in plain words, and what can be done next.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::keys::Key;
use super::look::{Look, Tone};
use super::screen::{Hint, Next, Screen};
use super::trouble::{add_error, sentence};
use super::widgets::{Item, List, Page, Scroll, split};
use crate::browse::lost::{self, LostVolume};
use crate::cmd::save::SHOWN_FILES;
use crate::error::Error;

/// Something to do next.
pub(crate) struct Choice {
    item: Item,
    go: Box<dyn FnMut() -> Next>,
}

/// How a job ended.
pub(crate) struct Ending {
    page: Page,
    headline: String,
    choices: Vec<Choice>,
}

impl Ending {
    /// An end with its headline.
    pub(crate) fn new(tone: Tone, headline: impl Into<String>) -> Self {
        let headline = headline.into();
        let mut page = Page::default();
        page.add(tone, headline.clone());
        Self { page, headline, choices: Vec::new() }
    }

    /// An end by an error.
    pub(crate) fn of_error(error: &Error) -> Self {
        let mut page = Page::default();
        add_error(&mut page, error);
        Self { page, headline: sentence(&error.to_string()), choices: Vec::new() }
    }

    /// A further paragraph.
    pub(crate) fn text(&mut self, text: impl Into<String>) -> &mut Self {
        self.page.blank().text(text);
        self
    }

    /// The files that are lost.
    pub(crate) fn lost(&mut self, lost: &[LostVolume]) -> &mut Self {
        let lines = if lost.is_empty() { Vec::new() } else { lost::lines(lost, SHOWN_FILES) };
        self.listed("What could not be read:", lines)
    }

    /// A list with a heading; nothing if it is empty.
    pub(crate) fn listed(
        &mut self,
        heading: &str,
        lines: impl IntoIterator<Item = String>,
    ) -> &mut Self {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_some() {
            self.page.blank().text(heading);
        }
        for line in lines {
            self.page.indented(Tone::Warning, 2, line);
        }
        self
    }

    /// Something to do next.
    pub(crate) fn choice(&mut self, item: Item, go: impl FnMut() -> Next + 'static) -> &mut Self {
        self.choices.push(Choice { item, go: Box::new(go) });
        self
    }

    /// The headline, for the log.
    pub(crate) fn in_short(&self) -> String {
        self.headline.clone()
    }

    /// All that is said, for tests.
    #[cfg(test)]
    pub(crate) fn contents(&self) -> String {
        let look = Look { unicode: true, colour: false };
        let lines = self.page.lines(500, &look);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// As a screen.
    pub(crate) fn screen(mut self) -> impl Screen + 'static {
        self.choice(Item::new("Back to the menu"), || Next::Home);
        Ended { ending: self, scroll: Scroll::default(), list: List::default() }
    }
}

/// The screen of an end.
struct Ended {
    ending: Ending,
    scroll: Scroll,
    list: List,
}

impl Screen for Ended {
    fn title(&self) -> String {
        "The result".into()
    }

    fn hints(&self) -> Vec<Hint> {
        let mut hints = vec![("Enter", "choose"), ("Esc", "to the menu")];
        if self.scroll.is_needed() {
            hints.push(("PgUp/PgDn", "scroll"));
        }
        hints
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let items: Vec<Item> = self.ending.choices.iter().map(|it| it.item.clone()).collect();
        let rows: usize = items.iter().map(|item| item.height(area.width.into())).sum();
        let lines = self.ending.page.lines(area.width.into(), look);
        let room = usize::from(area.height).saturating_sub(rows + 1).max(1);
        let (text, rest) = split(area, lines.len().min(room));
        self.scroll.draw(&lines, text, buffer, look);
        let (_, list) = split(rest, 1);
        self.list.draw(&items, list, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        if matches!(key, Key::PageUp | Key::PageDown) && self.scroll.key(key) {
            return Next::Draw;
        }
        let count = self.ending.choices.len();
        if self.list.key(key, count) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Home,
            Key::Enter => match self.list.chosen(count) {
                Some(number) => (self.ending.choices[number].go)(),
                None => Next::Home,
            },
            _ => Next::Stay,
        }
    }
}

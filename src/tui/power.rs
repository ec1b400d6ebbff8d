// SPDX-License-Identifier: MIT OR Apache-2.0
//! Switching the computer off, or starting it again. The first program of the
//! rescue system does it, when the screens end with these codes.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::keys::Key;
use super::look::Look;
use super::screen::{Hint, Next, Screen};
use super::widgets::{Item, List, Page, draw_lines, split};
use crate::error::Request;

/// What is done about the power.
#[derive(Debug, Default)]
pub(crate) struct Power {
    list: List,
}

impl Screen for Power {
    fn title(&self) -> String {
        "Power off".into()
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "do it"), ("Esc", "back")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let (list, rest) = split(area, 4);
        let items = [
            Item::new("Power off").below("switch this computer off"),
            Item::new("Restart")
                .below("start it again: take the stick out when the screen is dark"),
        ];
        self.list.draw(&items, list, buffer, look);
        let mut page = Page::default();
        page.blank().text("All that was written is on the disks before that.");
        draw_lines(&page.lines(rest.width.into(), look), rest, buffer);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        if self.list.key(key, 2) {
            return Next::Draw;
        }
        match key {
            Key::Enter if self.list.chosen(2) == Some(0) => Next::ask_for(Request::PowerOff),
            Key::Enter => Next::ask_for(Request::Restart),
            _ if key.is('p') => Next::ask_for(Request::PowerOff),
            _ if key.is('r') => Next::ask_for(Request::Restart),
            Key::Esc | Key::Interrupt => Next::Back,
            _ => Next::Stay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_the_first_program_knows() {
        let mut power = Power::default();
        assert!(matches!(power.key(Key::Enter), Next::Quit(10)));
        power.key(Key::Down);
        assert!(matches!(power.key(Key::Enter), Next::Quit(11)));
        assert!(matches!(power.key(Key::Esc), Next::Back));
    }
}

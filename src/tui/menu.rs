// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first screen: what can be done.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::choose::{Choose, Goal};
use super::disc::Discs;
use super::disks::Disks;
use super::images::{Images, Purpose};
use super::keys::Key;
use super::logbook::Logbook;
use super::look::{Look, Tone};
use super::network::Network;
use super::power::Power;
use super::screen::{Hint, Next, Screen, Shared};
use super::widgets::{Item, List, Page, draw_lines, split};
use crate::error::Request;

/// One thing that can be done.
struct Entry {
    /// The key that begins it at once.
    letter: char,
    name: &'static str,
    /// What it does, in a sentence.
    does: &'static str,
    only: Only,
    begin: fn(&Shared) -> Next,
}

/// Where an entry is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Only {
    Everywhere,
    InRescue,
    Installed,
}

/// The entries, in their order.
const ENTRIES: &[Entry] = &[
    Entry {
        letter: 'R',
        name: "Restore",
        does: "Bring a disk back from an image: the computer starts as it did on the day it was \
               saved. Everything that is on that disk now is lost.",
        only: Only::Everywhere,
        begin: |session| Next::push(Images::new(session, Purpose::Restore)),
    },
    Entry {
        letter: 'S',
        name: "Save",
        does: "Save a whole disk to an image, on another drive. The disk is only read.",
        only: Only::Everywhere,
        begin: |session| Next::push(Choose::new(session, Goal::Save)),
    },
    Entry {
        letter: 'V',
        name: "Verify",
        does: "Read an image from end to end and see whether it is good. Nothing is written.",
        only: Only::Everywhere,
        begin: |session| Next::push(Images::new(session, Purpose::Verify)),
    },
    Entry {
        letter: 'C',
        name: "Compare",
        does: "See whether a disk still is what an image says. Nothing is written.",
        only: Only::Everywhere,
        begin: |session| Next::push(Images::new(session, Purpose::Compare)),
    },
    Entry {
        letter: 'D',
        name: "Disks",
        does: "See the disks of this computer, with their partitions. Nothing is changed.",
        only: Only::Everywhere,
        begin: |session| Next::push(Disks::new(session)),
    },
    Entry {
        letter: 'I',
        name: "Disc",
        does: "Keep a CD, DVD or Blu-ray disc as a file (ISO), or check those that were kept. The \
               disc is only read.",
        only: Only::Everywhere,
        begin: |session| Next::push(Discs::new(session)),
    },
    Entry {
        letter: 'N',
        name: "Network",
        does: "Connect this computer, or a folder of another one that holds images.",
        only: Only::Everywhere,
        begin: |session| Next::push(Network::new(session)),
    },
    Entry {
        letter: 'L',
        name: "Log",
        does: "See what was done since the start, and save it to a drive.",
        only: Only::Everywhere,
        begin: |session| Next::push(Logbook::new(session)),
    },
    Entry {
        letter: 'H',
        name: "Shell",
        does: "A command line, for those who know one. Type 'exit' to come back.",
        only: Only::InRescue,
        begin: |_| Next::ask_for(Request::Shell),
    },
    Entry {
        letter: 'P',
        name: "Power off",
        does: "Switch this computer off, or start it again without the stick.",
        only: Only::InRescue,
        begin: |_| Next::push(Power::default()),
    },
    Entry {
        letter: 'Q',
        name: "Quit",
        does: "Leave dacapo.",
        only: Only::Installed,
        begin: |_| Next::Quit(0),
    },
];

/// The menu.
pub(crate) struct Menu {
    session: Shared,
    list: List,
}

impl Menu {
    pub(crate) fn new(session: &Shared) -> Self {
        Self { session: session.clone(), list: List::default() }
    }

    fn entries(&self) -> Vec<&'static Entry> {
        let is_shown = |entry: &&Entry| match entry.only {
            Only::Everywhere => true,
            Only::InRescue => self.session.rescue,
            Only::Installed => !self.session.rescue,
        };
        ENTRIES.iter().filter(is_shown).collect()
    }
}

impl Screen for Menu {
    fn title(&self) -> String {
        String::new()
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "choose"), ("Up/Down", "move"), ("or press the letter", "")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let entries = self.entries();
        let (head, rest) = split(area, 2);
        let title = "What do you want to do?";
        buffer.set_stringn(head.x, head.y, title, head.width.into(), look.style(Tone::Strong));
        let (list, rest) = split(rest, entries.len());
        let items: Vec<Item> = entries
            .iter()
            .map(|entry| Item::new(format!("{}  {}", entry.letter, entry.name)))
            .collect();
        self.list.draw(&items, list, buffer, look);
        let chosen = self.list.chosen(entries.len()).unwrap_or_default();
        let mut page = Page::default();
        page.blank().text(entries[chosen].does);
        draw_lines(&page.lines(rest.width.into(), look), rest, buffer);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let entries = self.entries();
        if self.list.key(key, entries.len()) {
            return Next::Draw;
        }
        let begin = |number: usize| (entries[number].begin)(&self.session);
        match key {
            Key::Enter => self.list.chosen(entries.len()).map_or(Next::Stay, begin),
            Key::Interrupt if !self.session.rescue => Next::Quit(0),
            Key::Letter(c) => {
                let is_it = |entry: &&Entry| entry.letter.eq_ignore_ascii_case(&c);
                let Some(number) = entries.iter().position(is_it) else { return Next::Stay };
                self.list.choose(number);
                begin(number)
            }
            _ => Next::Stay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::samples;

    #[test]
    fn every_entry_has_a_letter_of_its_own() {
        for rescue in [false, true] {
            let menu = Menu::new(&samples::session(rescue));
            let mut letters: Vec<char> = menu.entries().iter().map(|entry| entry.letter).collect();
            let count = letters.len();
            letters.sort_unstable();
            letters.dedup();
            assert_eq!(letters.len(), count);
        }
    }

    #[test]
    fn only_the_rescue_system_has_a_shell_and_is_switched_off() {
        let names = |rescue| -> Vec<&str> {
            Menu::new(&samples::session(rescue)).entries().iter().map(|it| it.name).collect()
        };
        assert!(names(true).contains(&"Shell") && names(true).contains(&"Power off"));
        assert!(!names(true).contains(&"Quit"));
        assert!(!names(false).contains(&"Shell") && names(false).contains(&"Quit"));
        let mut menu = Menu::new(&samples::session(true));
        assert!(matches!(menu.key(Key::Interrupt), Next::Stay));
        let mut menu = Menu::new(&samples::session(false));
        assert!(matches!(menu.key(Key::Letter('q')), Next::Quit(0)));
    }
}

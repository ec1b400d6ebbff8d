// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a person knows about a disc that is going to be read.

use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::read::{Plan, Wish};
use crate::disc::read::About;
use crate::tui::keys::Key;
use crate::tui::look::{Look, Tone};
use crate::tui::save::Place;
use crate::tui::screen::{Hint, Next, Screen, Shared};
use crate::tui::widgets::{Input, Page, draw_lines, split};

/// The lines, each with what belongs there.
const FIELDS: [(&str, &str); 3] = [
    ("Title", "What you call it, as 'Synth 2, disc 1'."),
    ("Serial number", "The serial number or licence of what is on it."),
    ("Note", "Whatever else you want to know in ten years."),
];
/// Where the lines begin.
const MARGIN: u16 = 15;

/// The form.
pub(crate) struct AboutForm {
    session: Shared,
    wish: Arc<Wish>,
    place: Arc<Place>,
    inputs: [Input; FIELDS.len()],
    at: usize,
}

impl AboutForm {
    pub(crate) fn new(session: &Shared, wish: &Arc<Wish>, place: Place) -> Self {
        let inputs = FIELDS.map(|_| Input::default());
        let (wish, place) = (Arc::clone(wish), Arc::new(place));
        Self { session: session.clone(), wish, place, inputs, at: 0 }
    }

    fn about(&self) -> About {
        let [title, serial, note] = &self.inputs;
        let said = |input: &Input| {
            let text = input.text().trim().to_owned();
            (!text.is_empty()).then_some(text)
        };
        About { title: said(title), serial: said(serial), note: said(note) }
    }
}

impl Screen for AboutForm {
    fn title(&self) -> String {
        "Disc > what do you know about it?".into()
    }

    fn hints(&self) -> Vec<Hint> {
        let next = if self.at + 1 == FIELDS.len() { "go on" } else { "next line" };
        vec![("Enter", next), ("Esc", "back"), ("Up/Down", "move"), ("Ctrl-U", "clear the line")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let mut page = Page::default();
        page.text(
            "It is kept in a small file beside the disc, by which you find it again. All of it \
             may stay empty: then press Enter three times.",
        );
        page.blank();
        let lines = page.lines(area.width.into(), look);
        let (head, mut rest) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        let mut cursor = None;
        for (number, (input, (name, _))) in self.inputs.iter().zip(FIELDS).enumerate() {
            let (line, below) = split(rest, 2);
            rest = below;
            if line.is_empty() {
                break;
            }
            let is_here = number == self.at;
            let tone = if is_here { Tone::Strong } else { Tone::Plain };
            buffer.set_stringn(line.x, line.y, name, line.width.into(), look.style(tone));
            let margin = MARGIN.min(line.width);
            let field = Rect { x: line.x + margin, width: line.width - margin, ..line };
            let place = input.draw(field, buffer);
            if is_here {
                cursor = place;
            }
        }
        let mut page = Page::default();
        page.text(FIELDS[self.at].1);
        draw_lines(&page.lines(rest.width.into(), look), rest, buffer);
        cursor
    }

    fn key(&mut self, key: Key) -> Next {
        if self.inputs[self.at].key(key) {
            return Next::Draw;
        }
        let last = FIELDS.len() - 1;
        match key {
            Key::Esc | Key::Interrupt => return Next::Back,
            Key::Enter if self.at == last => {
                let (wish, place) = (&self.wish, &self.place);
                return Next::push(Plan::new(&self.session, wish, place, self.about()));
            }
            Key::Enter => self.at += 1,
            Key::Up => self.at = self.at.checked_sub(1).unwrap_or(last),
            Key::Down | Key::Tab => self.at = if self.at == last { 0 } else { self.at + 1 },
            _ => return Next::Stay,
        }
        Next::Draw
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::samples;

    #[test]
    fn each_line_is_kept_as_what_it_is() {
        let wish = Arc::new(Wish::new("/dev/sr0".as_ref(), &samples::disc(), false));
        let place = Place::Folder("/nonexistent".into());
        let mut form = AboutForm::new(&samples::session(true), &wish, place);
        let mut type_all = |keys: &str| {
            for c in keys.chars() {
                form.key(if c == '\n' { Key::Enter } else { Key::Letter(c) });
            }
            form.about()
        };
        assert_eq!(type_all("").title, None);
        let about = type_all(" Synth 2\n12-34\nold \n");
        assert_eq!(about.title.as_deref(), Some("Synth 2"));
        assert_eq!(about.serial.as_deref(), Some("12-34"));
        assert_eq!(about.note.as_deref(), Some("old"));
        form.key(Key::Down);
        assert_eq!(form.at, 0);
        form.key(Key::Up);
        assert_eq!(form.at, 2);
        form.key(Key::Clear);
        assert_eq!(form.about().note, None);
        assert!(matches!(form.key(Key::Enter), Next::Push(_)));
    }
}

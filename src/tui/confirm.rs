// SPDX-License-Identifier: MIT OR Apache-2.0
//! The last question before a disk is changed: by the same rules as on the
//! command line, its serial number has to be typed.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::keys::Key;
use super::look::{Look, Tone};
use super::screen::{Hint, Next, Screen};
use super::widgets::{Input, Page, draw_lines, short, split};
use crate::job::{Confirmed, Kind, Target};
use crate::units::human;

/// The question.
pub(crate) struct Confirm {
    title: &'static str,
    /// What will become of the disk.
    warning: &'static str,
    target: Target,
    input: Input,
    wrong: Option<String>,
    go: Box<dyn FnMut(Confirmed) -> Next>,
}

impl Confirm {
    pub(crate) fn new(
        title: &'static str,
        warning: &'static str,
        target: Target,
        go: impl FnMut(Confirmed) -> Next + 'static,
    ) -> Self {
        Self { title, warning, target, input: Input::default(), wrong: None, go: Box::new(go) }
    }

    fn answer(&self) -> Option<Confirmed> {
        let answer = self.input.text();
        match self.target.kind {
            Kind::Device { .. } => self.target.confirm_by_name(&answer),
            _ if answer.trim().eq_ignore_ascii_case("yes") => self.target.confirm_by_yes(),
            _ => None,
        }
    }
}

/// "Samsung SSD 870 EVO, serial S5Y1, 466 GiB (/dev/sdb)"
pub(crate) fn named(target: &Target) -> String {
    if target.kind == Kind::NewFile {
        return format!("a new file ({})", target.path);
    }
    let model = match &target.kind {
        Kind::Device { model, .. } => model.as_deref().unwrap_or("a disk without a name").trim(),
        _ => "a file",
    };
    let serial = target.serial().map(|it| format!(", serial {it}")).unwrap_or_default();
    format!("{}{serial}, {} ({})", short(model, 40), human(target.size()), target.path)
}

impl Screen for Confirm {
    fn title(&self) -> String {
        format!("{} > the last question", self.title)
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "start"), ("Esc", "back"), ("Ctrl-U", "clear")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let target = &self.target;
        let mut page = Page::default();
        page.add(Tone::Bad, self.warning);
        page.indented(Tone::Strong, 2, named(target)).blank();
        let (asks, name) = match (&target.kind, target.serial()) {
            (Kind::Device { .. }, Some(serial)) => {
                ("If this is the disk you mean, type its serial number:", serial.to_owned())
            }
            (Kind::Device { .. }, None) => (
                "If this is the disk you mean, type its size, for it has no serial number:",
                human(target.size()),
            ),
            _ => ("If this is the file you mean, type:", "yes".to_owned()),
        };
        page.text(asks).indented(Tone::Strong, 2, name).blank();
        let lines = page.lines(area.width.into(), look);
        let (head, rest) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        let (line, rest) = split(rest, 1);
        let cursor = self.input.draw(line, buffer);
        if let Some(wrong) = &self.wrong {
            let mut page = Page::default();
            page.blank().add(Tone::Bad, format!("'{wrong}' is not it. Nothing is written."));
            draw_lines(&page.lines(rest.width.into(), look), rest, buffer);
        }
        cursor
    }

    fn key(&mut self, key: Key) -> Next {
        if self.input.key(key) {
            self.wrong = None;
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => match self.answer() {
                Some(confirmed) => (self.go)(confirmed),
                None => {
                    let text = self.input.text();
                    self.wrong = (!text.trim().is_empty()).then(|| short(&text, 40));
                    self.input.clear();
                    Next::Draw
                }
            },
            _ => Next::Stay,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::tui::samples;

    /// How often something was confirmed by typing lines into the screen.
    fn confirmed(target: Target, typed: &str) -> usize {
        let count = Rc::new(Cell::new(0));
        let counted = Rc::clone(&count);
        let mut confirm = Confirm::new("Restore", "lost", target, move |_| {
            counted.set(counted.get() + 1);
            Next::Home
        });
        for c in typed.chars() {
            confirm.key(if c == '\n' { Key::Enter } else { Key::Letter(c) });
        }
        count.get()
    }

    #[test]
    fn a_disk_is_confirmed_by_its_serial_number_only() {
        let target = samples::target(Some("S5Y1NX0"));
        for wrong in ["\n", "y\n", "yes\n", "S5Y1\n", "500107862016\n", "/dev/sdb\n", "S5Y1NX0"] {
            assert_eq!(confirmed(target.clone(), wrong), 0, "{wrong:?}");
        }
        assert_eq!(confirmed(target.clone(), "S5Y1NX0\n"), 1);
        // A wrong answer is forgotten, not added to.
        assert_eq!(confirmed(target, "S5\ns5y1nx0\n"), 1);
        let nameless = samples::target(None);
        assert_eq!(confirmed(nameless.clone(), "yes\n"), 0);
        assert_eq!(confirmed(nameless.clone(), "466 GiB\n"), 1);
        assert_eq!(confirmed(nameless, "500107862016\n"), 1);
    }

    #[test]
    fn a_file_is_confirmed_by_yes() {
        let file = Target { kind: Kind::File { size: 7 }, ..samples::target(None) };
        assert_eq!(confirmed(file.clone(), "y\n\n7\n"), 0);
        assert_eq!(confirmed(file, "yes\n"), 1);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a restored disk may need to start: named steps, each off until it is
//! chosen, each shown with what it will do and reported as it was read back.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::keys::Key;
use super::load::Load;
use super::look::{Look, Tone};
use super::screen::{Hint, Next, Screen, Shared, Stopping};
use super::trouble::{add_error, sentence};
use super::widgets::{Item, List, Page, Scroll, draw_lines, split};
use crate::device::Seen;
use crate::error::Result;
use crate::repair::{self, Step};

/// The steps of a disk.
pub(crate) struct Repair {
    session: Shared,
    seen: Seen,
    steps: Load<Vec<Step>>,
    list: List,
}

impl Repair {
    /// The steps of the disk that was confirmed, whatever is at its path by
    /// now.
    pub(crate) fn new(session: &Shared, seen: &Seen) -> Self {
        let (steps, list) = (search(seen), List::default());
        Self { session: session.clone(), seen: seen.clone(), steps, list }
    }
}

fn search(seen: &Seen) -> Load<Vec<Step>> {
    let seen = seen.clone();
    Load::start(move |_, _| repair::steps(&seen))
}

fn item(step: &Step) -> Item {
    let mut item = Item::new(sentence(step.title).trim_end_matches('.'));
    item = item.below(match step.reason() {
        None => sentence(step.why),
        Some(reason) => sentence(reason),
    });
    item.refused = !step.is_possible();
    item
}

impl Screen for Repair {
    fn title(&self) -> String {
        format!("Make {} start", self.seen.path().display())
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "show what it will do"), ("Esc", "back"), ("R", "look again")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.steps.draw("Looking at the disk", area, buffer, look) {
            return None;
        }
        let steps = self.steps.ready()?;
        let mut page = Page::default();
        page.text(
            "A restored disk is exact, and mostly needs nothing more. If the computer does not \
             start from it, one of these may help. Each is done only when you choose it.",
        );
        page.blank();
        let lines = page.lines(area.width.into(), look);
        let (head, rest) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        let items: Vec<Item> = steps.iter().map(item).collect();
        self.list.draw(&items, rest, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let steps = self.steps.ready().map_or(&[][..], Vec::as_slice);
        if self.list.key(key, steps.len()) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => match self.list.chosen(steps.len()) {
                Some(number) => Next::push(OneStep::new(&self.session, &steps[number])),
                None => Next::Stay,
            },
            _ if key.is('r') => {
                self.steps = search(&self.seen);
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        if self.steps.tick() { Next::Draw } else { Next::Stay }
    }

    fn shown_again(&mut self) {
        // A step may have changed what the others find.
        self.steps = search(&self.seen);
    }
}

/// How far one step is.
enum State {
    /// It is shown.
    Shown,
    Running(Load<Vec<String>>),
    Done(Result<Vec<String>>),
}

/// One step.
struct OneStep {
    session: Shared,
    step: Step,
    state: State,
    scroll: Scroll,
}

impl OneStep {
    fn new(session: &Shared, step: &Step) -> Self {
        let (session, step) = (session.clone(), step.clone());
        Self { session, step, state: State::Shown, scroll: Scroll::default() }
    }

    fn page(&self) -> Page {
        let mut page = Page::default();
        page.add(Tone::Strong, sentence(self.step.title)).blank();
        match &self.state {
            State::Shown | State::Running(_) => {
                page.text(sentence(self.step.why)).blank();
                if let Some(reason) = self.step.reason() {
                    page.add(Tone::Warning, sentence(reason));
                    return page;
                }
                page.text("What it will do:");
                for line in &self.step.will {
                    page.indented(Tone::Plain, 2, format!("- {line}"));
                }
            }
            State::Done(Ok(lines)) => {
                page.add(Tone::Good, "Done. What is there now, as it was read back:");
                for line in lines {
                    page.indented(Tone::Plain, 2, format!("- {line}"));
                }
            }
            State::Done(Err(error)) => add_error(&mut page, error),
        }
        page
    }
}

impl Screen for OneStep {
    fn title(&self) -> String {
        format!("Make it start > {}", self.step.name)
    }

    fn hints(&self) -> Vec<Hint> {
        match &self.state {
            State::Shown if self.step.is_possible() => vec![("Y", "do it"), ("Esc", "back")],
            State::Running(_) => Vec::new(),
            _ => vec![("Esc", "back")],
        }
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if let State::Running(load) = &self.state
            && load.draw("It is being done", area, buffer, look)
        {
            return None;
        }
        self.scroll.draw(&self.page().lines(area.width.into(), look), area, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        if self.scroll.key(key) {
            return Next::Draw;
        }
        match (&self.state, key) {
            // Short, and not to be torn.
            (State::Running(_), _) => Next::Stay,
            (_, Key::Esc | Key::Interrupt) => Next::Back,
            (State::Done(_), Key::Enter) => Next::Back,
            (State::Shown, _) if key.is('y') && self.step.is_possible() => {
                let step = self.step.clone();
                self.session.log.add(&format!("repair: {}: began", step.name));
                self.state = State::Running(Load::start(move |_, _| step.run()));
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        let State::Running(load) = &mut self.state else { return Next::Stay };
        load.tick();
        let result = match std::mem::replace(load, Load::Empty) {
            Load::Ready(lines) => Ok(lines),
            Load::Failed(error) => Err(error),
            other => {
                *load = other;
                return Next::Draw;
            }
        };
        let name = self.step.name;
        self.session.log.add(&match &result {
            Ok(lines) => format!("repair: {name}: done: {}", lines.join("; ")),
            Err(error) => format!("repair: {name}: {error}"),
        });
        self.state = State::Done(result);
        Next::Draw
    }

    fn stop(&mut self) -> Stopping {
        // Where a step has ended meanwhile, its state says so.
        let _ = self.tick();
        if matches!(self.state, State::Running(_)) {
            Stopping::Finishing
        } else {
            Stopping::Stopped
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::samples::session;

    #[test]
    fn only_the_disk_that_was_confirmed_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("disk.raw"), folder.path().join("other.raw"));
        for path in [&path, &other] {
            std::fs::write(path, [0; 8192]).unwrap();
        }
        let seen = Seen::new(&path).unwrap();
        for is_same in [true, false] {
            let mut screen = Repair::new(&session(true), &seen);
            while screen.steps.is_running() {
                std::thread::sleep(std::time::Duration::from_millis(5));
                screen.tick();
            }
            assert_eq!(screen.steps.ready().is_some(), is_same);
            let _ = std::fs::rename(&other, &path);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Restoring: the plan, the confirmation, and what is said at the end.

use std::path::PathBuf;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::ending::Ending;
use super::keys::Key;
use super::load::Load;
use super::look::{Look, Tone};
use super::running::{Running, Stop};
use super::screen::{Hint, Next, Screen, Shared};
use super::shelf::Picked;
use super::trouble::sentence;
use super::widgets::{Input, Page, Scroll, draw_lines, short, split};
use crate::error::{ErrorKind, Result};
use crate::job::overwrite::Prepared;
use crate::job::{Confirmed, Kind, Target};
use crate::restore::{self, Options, Restored};
use crate::units::human;

/// What would be overwritten, and with what.
pub(crate) struct Plan {
    session: Shared,
    picked: Arc<Picked>,
    path: PathBuf,
    fit: bool,
    prepared: Load<Arc<Prepared>>,
    scroll: Scroll,
}

impl Plan {
    pub(crate) fn new(session: &Shared, picked: &Arc<Picked>, path: PathBuf, fit: bool) -> Self {
        let prepared = prepare(picked, &path, fit);
        let (session, picked) = (session.clone(), Arc::clone(picked));
        Self { session, picked, path, fit, prepared, scroll: Scroll::default() }
    }

    fn page(&self, prepared: &Prepared) -> Page {
        let target = prepared.target();
        let head = self.picked.head();
        let mut page = Page::default();
        match target.kind {
            Kind::NewFile => {
                page.add(Tone::Strong, format!("The file {} will be made.", target.path));
            }
            _ => {
                page.add(Tone::Bad, "ALL DATA on this disk will be lost:");
                page.indented(Tone::Strong, 2, named(target));
                page.blank().text("Now on it:");
                page.disk(&target.layout, target.size());
            }
        }
        page.blank().text(format!("Afterwards, as in {}:", self.picked.name()));
        page.disk(&head.about.layout, prepared.target_len());
        page.blank();
        page.text(format!(
            "{} will be written, and read back to make sure that it is right.",
            human(prepared.plan().body.bytes())
        ));
        for notice in &prepared.plan().notices {
            page.text(sentence(notice));
        }
        if let Some(note) = self.picked.note() {
            page.add(Tone::Warning, sentence(&note));
        }
        page
    }
}

/// "Samsung SSD 870 EVO, serial S5Y1, 466 GiB (/dev/sdb)"
fn named(target: &Target) -> String {
    let model = match &target.kind {
        Kind::Device { model, .. } => model.as_deref().unwrap_or("a disk without a name").trim(),
        _ => "a file",
    };
    let serial = target.serial().map(|it| format!(", serial {it}")).unwrap_or_default();
    format!("{}{serial}, {} ({})", short(model, 40), human(target.size()), target.path)
}

fn prepare(picked: &Arc<Picked>, path: &std::path::Path, fit: bool) -> Load<Arc<Prepared>> {
    let (picked, path) = (Arc::clone(picked), path.to_owned());
    Load::start(move |_, _| {
        let options = Options { fit, ..Options::default() };
        picked.with_feed(|feed, disk| {
            Prepared::new(&path, picked.file(), &options, feed, disk).map(Arc::new)
        })
    })
}

impl Screen for Plan {
    fn title(&self) -> String {
        "Restore > what will be done".into()
    }

    fn hints(&self) -> Vec<Hint> {
        let mut hints = match &self.prepared {
            Load::Ready(_) => vec![("Enter", "go on"), ("Esc", "back")],
            Load::Failed(_) => vec![("Esc", "back"), ("R", "try again")],
            _ => vec![("Esc", "back")],
        };
        if self.scroll.is_needed() {
            hints.push(("Up/Down", "scroll"));
        }
        hints
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.prepared.draw("Looking at what is on the disk", area, buffer, look) {
            return None;
        }
        let page = self.page(self.prepared.ready()?);
        let last = "Nothing is written yet. Enter goes on to the last question.";
        let (body, foot) = split(area, usize::from(area.height).saturating_sub(2));
        self.scroll.draw(&page.lines(body.width.into(), look), body, buffer, look);
        let mut page = Page::default();
        page.blank().row(Tone::Strong, last);
        draw_lines(&page.lines(foot.width.into(), look), foot, buffer);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        if self.scroll.key(key) {
            return Next::Draw;
        }
        match (key, &self.prepared) {
            (Key::Esc | Key::Interrupt, _) => Next::Back,
            (Key::Enter, Load::Ready(prepared)) => {
                Confirm::begin(&self.session, &self.picked, prepared)
            }
            (_, Load::Failed(_)) if key.is('r') => {
                self.prepared = prepare(&self.picked, &self.path, self.fit);
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        if self.prepared.tick() { Next::Draw } else { Next::Stay }
    }
}

/// The last question.
pub(crate) struct Confirm {
    session: Shared,
    picked: Arc<Picked>,
    prepared: Arc<Prepared>,
    input: Input,
    wrong: Option<String>,
}

impl Confirm {
    /// Asks, unless there is nothing to lose.
    fn begin(session: &Shared, picked: &Arc<Picked>, prepared: &Arc<Prepared>) -> Next {
        let confirm = Self {
            session: session.clone(),
            picked: Arc::clone(picked),
            prepared: Arc::clone(prepared),
            input: Input::default(),
            wrong: None,
        };
        match prepared.target().kind {
            Kind::NewFile => match prepared.target().confirm_new() {
                Ok(confirmed) => confirm.start(confirmed),
                Err(error) => Next::push(Ending::of_error(&error).screen()),
            },
            _ => Next::push(confirm),
        }
    }

    fn answer(&self) -> Option<Confirmed> {
        let (target, answer) = (self.prepared.target(), self.input.text());
        match target.kind {
            Kind::Device { .. } => target.confirm_by_name(&answer),
            _ if answer.trim().eq_ignore_ascii_case("yes") => target.confirm_by_yes(),
            _ => None,
        }
    }

    fn start(&self, confirmed: Confirmed) -> Next {
        let target = self.prepared.target();
        let what = format!("{} to {}", self.picked.name(), named(target));
        self.session.log.add(&format!("restore: {what}: began"));
        let (picked, prepared) = (Arc::clone(&self.picked), Arc::clone(&self.prepared));
        let log = self.session.clone();
        let path = target.path.clone();
        let stop = Stop {
            question: "Stop the restore? The disk will be blank and cannot be started until it \
                       is restored again.",
            is_harmless: false,
        };
        Next::Push(Box::new(Running::new(
            "Restore",
            &[format!("Image: {}", self.picked.name()), format!("Disk:  {}", named(target))],
            stop,
            move |cancel, progress| {
                picked.with_feed(|feed, _| {
                    let opened = prepared.open(&confirmed)?;
                    opened.run(feed, cancel, progress)
                })
            },
            move |result, notices| {
                let ending = ending(&result, &path, notices);
                log.log.add(&format!("restore: {}: {}", what, ending.in_short()));
                ending
            },
        )))
    }
}

/// What is said of a restore that has ended.
fn ending(result: &Result<Restored>, path: &str, notices: &[String]) -> Ending {
    let restored = match result {
        Ok(restored) => restored,
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            let mut ending = Ending::new(Tone::Warning, "Stopped. The disk is not complete.");
            ending.text(format!(
                "{path} is blank at both ends, so that nothing starts from it by mistake. Restore \
                 it again from the beginning; the image is as it was."
            ));
            return ending;
        }
        Err(error) => return Ending::of_error(error),
    };
    let mut ending = match restore::check_losses(&restored.losses) {
        Ok(()) => Ending::new(Tone::Good, "Done. The disk is as it was on the day it was saved."),
        Err(error) => Ending::of_error(&error),
    };
    let read_back = if restored.verified { ", read back and compared" } else { "" };
    ending.text(format!("{} were written to {path}{read_back}.", human(restored.written)));
    for notice in notices {
        ending.text(sentence(notice));
    }
    ending.text(
        "What now: take the stick out and start the computer from the restored disk. If it is a \
         new disk, the firmware may have to be told to start from it.",
    );
    ending
}

impl Screen for Confirm {
    fn title(&self) -> String {
        "Restore > the last question".into()
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "start"), ("Esc", "back, nothing is written"), ("Ctrl-U", "clear")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let target = self.prepared.target();
        let mut page = Page::default();
        page.add(Tone::Bad, "ALL DATA on this disk will be lost:");
        page.indented(Tone::Strong, 2, named(target)).blank();
        page.text(match (&target.kind, target.serial()) {
            (Kind::Device { .. }, Some(serial)) => {
                format!("To overwrite it, type its serial number: {serial}")
            }
            (Kind::Device { .. }, None) => format!(
                "To overwrite it, type its size, for it has no serial number: {}",
                human(target.size())
            ),
            _ => "To overwrite this file, type yes".to_owned(),
        });
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
                Some(confirmed) => self.start(confirmed),
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

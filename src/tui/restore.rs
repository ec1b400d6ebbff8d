// SPDX-License-Identifier: MIT OR Apache-2.0
//! Restoring: the plan, and what is said at the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::confirm::{Confirm, named};
use super::ending::Ending;
use super::keys::Key;
use super::load::Load;
use super::look::{Look, Tone};
use super::power::Power;
use super::repair::Repair;
use super::running::{Running, Stop};
use super::screen::{Hint, Next, Screen, Shared};
use super::shelf::Picked;
use super::trouble::sentence;
use super::widgets::{Item, Page, Scroll, draw_lines, split};
use crate::browse::OpenDisk;
use crate::browse::lost::{self, LostVolume, lost_files};
use crate::cmd::save::SHOWN_FILES;
use crate::device::Seen;
use crate::error::{ErrorKind, Result};
use crate::extent::Extent;
use crate::job::overwrite::Prepared;
use crate::job::{Confirmed, Kind};
use crate::restore::{self, Fill, Options, Restored};
use crate::units::human;

const WARNING: &str = "ALL DATA on this disk will be lost:";

/// What would be overwritten, and with what.
pub(crate) struct Plan {
    session: Shared,
    picked: Arc<Picked>,
    path: PathBuf,
    fit: bool,
    prepared: Load<Arc<Prepared>>,
    /// The files that could not be read when the disk was saved.
    lost: Load<Vec<LostVolume>>,
    scroll: Scroll,
}

impl Plan {
    pub(crate) fn new(session: &Shared, picked: &Arc<Picked>, path: PathBuf, fit: bool) -> Self {
        let prepared = prepare(picked, &path, fit);
        let lost = match picked.losses().is_empty() {
            true => Load::Empty,
            false => find_lost(picked),
        };
        let (session, picked) = (session.clone(), Arc::clone(picked));
        Self { session, picked, path, fit, prepared, lost, scroll: Scroll::default() }
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
                page.add(Tone::Bad, WARNING);
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
            page.add(Tone::Faint, sentence(notice));
        }
        let losses = self.picked.losses();
        if !losses.is_empty() {
            let bytes: u64 = losses.iter().map(Extent::len).sum();
            page.blank().add(
                Tone::Warning,
                format!(
                    "{} in {} places could not be read when it was saved, and will be zero:",
                    human(bytes),
                    losses.len()
                ),
            );
            for line in lost::lines(self.lost.ready().map_or(&[][..], |it| it), SHOWN_FILES) {
                page.row(Tone::Warning, line);
            }
            page.blank();
        }
        if let Some(note) = self.picked.note() {
            page.add(Tone::Warning, sentence(&note));
        }
        page
    }
}

fn find_lost(picked: &Arc<Picked>) -> Load<Vec<LostVolume>> {
    let picked = Arc::clone(picked);
    Load::start(move |cancel, _| lost_files(&OpenDisk::open(picked.path())?, cancel))
}

fn prepare(picked: &Arc<Picked>, path: &Path, fit: bool) -> Load<Arc<Prepared>> {
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
        let mut hints = self.prepared.hints(|_| Some("go on"));
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
            (Key::Enter, Load::Ready(prepared)) => confirm(&self.session, &self.picked, prepared),
            (_, Load::Failed(_)) if key.is('r') => {
                self.prepared = prepare(&self.picked, &self.path, self.fit);
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        let is_new = [self.prepared.tick(), self.lost.tick()];
        if is_new.contains(&true) { Next::Draw } else { Next::Stay }
    }
}

/// Asks, unless there is nothing to lose.
fn confirm(session: &Shared, picked: &Arc<Picked>, prepared: &Arc<Prepared>) -> Next {
    let target = prepared.target().clone();
    if target.kind == Kind::NewFile {
        return match target.confirm_new() {
            Ok(confirmed) => start(session, picked, prepared, confirmed),
            Err(error) => Next::push(Ending::of_error(&error).screen()),
        };
    }
    let (session, picked, prepared) = (session.clone(), Arc::clone(picked), Arc::clone(prepared));
    Next::push(Confirm::new("Restore", WARNING, target, move |confirmed| {
        start(&session, &picked, &prepared, confirmed)
    }))
}

fn start(
    session: &Shared,
    picked: &Arc<Picked>,
    prepared: &Arc<Prepared>,
    confirmed: Confirmed,
) -> Next {
    let target = prepared.target();
    let what = format!("{} to {}", picked.name(), named(target));
    session.log.add(&format!("restore: {what}: began"));
    let about = [format!("Image: {}", picked.name()), format!("Disk:  {}", named(target))];
    let stop = Stop {
        question: "Stop the restore? The disk will be blank and cannot be started until it is \
                   restored again.",
        is_harmless: false,
    };
    let path = PathBuf::from(&target.path);
    let (session, picked, prepared) = (session.clone(), Arc::clone(picked), Arc::clone(prepared));
    Next::push(Running::new(
        "Restore",
        &about,
        stop,
        move |cancel, progress| {
            picked.with_feed(|feed, _| {
                let opened = prepared.open(&confirmed)?;
                let seen = opened.seen()?;
                Ok((opened.run(feed, cancel, progress)?, seen))
            })
        },
        move |result, notices| {
            let ending = ending(&session, &result, &path, notices);
            session.log.add(&format!("restore: {what}: {}", ending.in_short()));
            ending
        },
    ))
}

/// What is said of a restore that has ended.
fn ending(
    session: &Shared,
    result: &Result<(Restored, Seen)>,
    path: &Path,
    notices: &[String],
) -> Ending {
    let shown = path.display();
    let (restored, seen) = match result {
        Ok(done) => done,
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            // What has become of the target is its hint, once it is written to.
            let Some(hint) = error.hint_text() else {
                let mut ending = Ending::new(Tone::Warning, "Stopped. Nothing was written.");
                ending.text(format!("{shown} is as it was, and so is the image."));
                return ending;
            };
            let mut ending = Ending::new(Tone::Warning, "Stopped. The disk is not complete.");
            // A file that was made for this was taken away again.
            let hint = if path.exists() { sentence(hint) } else { format!("{shown} was removed.") };
            ending.text(format!("{hint} The image is as it was."));
            return ending;
        }
        Err(error) => return Ending::of_error(error),
    };
    let mut ending = match restore::check_losses(&restored.losses, Fill::Zeros) {
        Ok(()) => Ending::new(Tone::Good, "Done. The disk is as it was on the day it was saved."),
        Err(error) => Ending::of_error(&error),
    };
    let read_back = if restored.verified { ", read back and compared" } else { "" };
    ending.text(format!("{} were written to {shown}{read_back}.", human(restored.written)));
    for notice in notices {
        ending.text(sentence(notice));
    }
    ending.text(if session.rescue {
        "What now: switch the computer off, take the stick out, and start it from the restored \
         disk. If it does not start, come back here with the stick."
    } else {
        "What now: start the computer from the restored disk."
    });
    if session.rescue {
        ending.choice(Item::new("Power off or restart"), || Next::push(Power::default()));
    }
    let (session, seen) = (session.clone(), seen.clone());
    ending.choice(Item::new("If it does not start: see what else can be done"), move || {
        Next::push(Repair::new(&session, &seen))
    });
    ending
}

#[cfg(test)]
mod tests {
    use super::super::log::Log;
    use super::super::screen::Session;
    use super::*;
    use crate::error::Error;

    #[test]
    fn a_restore_that_was_stopped_says_what_became_of_the_disk() {
        let session = Session { rescue: false, folders: Vec::new(), log: Log::new(None) };
        let session = Arc::new(session);
        let said = |error: Error| {
            let ending = ending(&session, &Err(error), Path::new("/dev/null"), &[]);
            (ending.in_short(), ending.contents())
        };
        let (headline, text) = said(Error::interrupted());
        assert_eq!(headline, "Stopped. Nothing was written.");
        assert!(text.contains("/dev/null is as it was") && !text.contains("blank"), "{text}");
        let (headline, text) = said(Error::interrupted().hint("the target is blank"));
        assert_eq!(headline, "Stopped. The disk is not complete.");
        assert!(text.contains("The target is blank. The image is as it was."), "{text}");
    }
}

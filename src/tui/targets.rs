// SPDX-License-Identifier: MIT OR Apache-2.0
//! Choosing the disk that an image goes to. What may not be overwritten is
//! shown, too, with the reason: a disk that is missing from a list is looked
//! for.

use std::path::Path;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::disks::{self, NO_DISK};
use super::images::Purpose;
use super::keys::Key;
use super::load::Load;
use super::look::{Look, Tone};
use super::path::{PathScreen, Wanted};
use super::restore::Plan;
use super::screen::{Hint, Next, Screen, Shared};
use super::shelf::Picked;
use super::trouble::{in_short, sentence};
use super::widgets::{Item, List, Page, draw_lines, split};
use crate::cmd::disks::look;
use crate::error::Result;
use crate::job::overwrite;
use crate::pipeline::Cancel;
use crate::progress::Progress;
use crate::restore::Options;

/// A disk, and whether it can be chosen.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) item: Item,
    pub(crate) path: String,
    /// Why not, and what to do.
    pub(crate) refusal: Option<String>,
    /// True if it is smaller than the disk that was saved, but takes all of it.
    pub(crate) fit: bool,
}

/// The disks an image could go to.
pub(crate) struct Targets {
    session: Shared,
    purpose: Purpose,
    picked: Arc<Picked>,
    disks: Load<Vec<Candidate>>,
    list: List,
    /// Why the chosen one was refused, once Enter was pressed on it.
    told: Option<String>,
}

impl Targets {
    pub(crate) fn new(session: &Shared, purpose: Purpose, picked: Arc<Picked>) -> Self {
        let disks = search(session, &picked);
        let list = List::default();
        Self { session: session.clone(), purpose, picked, disks, list, told: None }
    }
}

fn search(session: &Shared, picked: &Arc<Picked>) -> Load<Vec<Candidate>> {
    let (picked, rescue) = (Arc::clone(picked), session.rescue);
    Load::start(move |cancel, progress| candidates(&picked, rescue, cancel, progress))
}

fn candidates(
    picked: &Picked,
    rescue: bool,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for shown in look(cancel, progress)? {
        cancel.check()?;
        // In the rescue system no file stands for a disk.
        if rescue && shown.disk.identity.bus.as_deref() == Some("loop") {
            continue;
        }
        let path = shown.disk.identity.path.clone();
        let check = |fit| {
            let options = Options { fit, ..Options::default() };
            picked.with_feed(|feed, disk| {
                overwrite::check(Path::new(&path), picked.file(), &options, feed, disk)
            })
        };
        let refused = check(false).err();
        // Only asked for where nothing else is wrong: it waives the size.
        let fit = refused.is_some() && check(true).is_ok();
        let refusal = refused.filter(|_| !fit).map(|error| in_short(&error));
        let mut item = disks::item(&shown);
        if let Some(refusal) = &refusal {
            item = item.below(format!("  not possible: {refusal}"));
            item.refused = true;
        } else if fit {
            item = item.below("  smaller than the disk that was saved, but all data fits");
        }
        candidates.push(Candidate { item, path, refusal, fit });
    }
    candidates.sort_by_key(|candidate| candidate.refusal.is_some());
    Ok(candidates)
}

impl Screen for Targets {
    fn title(&self) -> String {
        format!("{} > choose the disk", self.purpose.name())
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "choose"), ("Esc", "back"), ("P", "type a path"), ("R", "look again")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.disks.draw("Looking at the disks", area, buffer, look) {
            return None;
        }
        let disks = self.disks.ready()?;
        let mut page = Page::default();
        page.row(Tone::Strong, format!("Which disk is overwritten with {}?", self.picked.name()));
        if let Some(note) = self.picked.note() {
            page.add(Tone::Warning, sentence(&note));
        }
        if disks.is_empty() {
            page.blank().add(Tone::Warning, NO_DISK);
        }
        page.blank();
        if let Some(told) = &self.told {
            page.add(Tone::Bad, sentence(told)).blank();
        }
        let lines = page.lines(area.width.into(), look);
        let (head, rest) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        let items: Vec<Item> = disks.iter().map(|disk| disk.item.clone()).collect();
        self.list.draw(&items, rest, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let disks = self.disks.ready().map_or(&[][..], Vec::as_slice);
        if self.list.key(key, disks.len()) {
            self.told = None;
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => {
                let Some(disk) = self.list.chosen(disks.len()).map(|n| &disks[n]) else {
                    return Next::Stay;
                };
                if let Some(refusal) = &disk.refusal {
                    self.told = Some(refusal.clone());
                    return Next::Draw;
                }
                let path = disk.path.clone().into();
                Next::push(Plan::new(&self.session, &self.picked, path, disk.fit))
            }
            _ if key.is('p') => {
                let wanted = Wanted::Target(Arc::clone(&self.picked));
                Next::push(PathScreen::new(&self.session, wanted))
            }
            _ if key.is('r') => {
                self.disks = search(&self.session, &self.picked);
                self.told = None;
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        if self.disks.tick() { Next::Draw } else { Next::Stay }
    }
}

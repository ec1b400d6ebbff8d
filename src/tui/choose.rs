// SPDX-License-Identifier: MIT OR Apache-2.0
//! Choosing a disk. What cannot be chosen is shown, too, with the reason: a
//! disk that is missing from a list is looked for.

use std::path::Path;
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::compare;
use super::destinations::{Destinations, Keep};
use super::disks::{self, add_no_disk};
use super::drives::Drives;
use super::images::Purpose;
use super::keys::Key;
use super::load::Load;
use super::look::{Look, Tone};
use super::restore::Plan;
use super::screen::{Hint, Next, Screen, Shared};
use super::shelf::Picked;
use super::trouble::{in_short, sentence};
use super::typed::{Typed, Wanted};
use super::widgets::{Item, List, Page, draw_lines, split};
use crate::cmd::disks::{Shown, look};
use crate::device::check_source;
use crate::error::Result;
use crate::job::overwrite;
use crate::pipeline::Cancel;
use crate::progress::Progress;
use crate::restore::Options;
use crate::units::human;

/// What a disk is chosen for.
#[derive(Debug, Clone)]
pub(crate) enum Goal {
    /// To be overwritten with an image.
    Restore(Arc<Picked>),
    /// To be compared with an image.
    Compare(Arc<Picked>),
    /// To be saved.
    Save,
}

impl Goal {
    /// The name of what is being done.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Restore(_) => Purpose::Restore.name(),
            Self::Compare(_) => Purpose::Compare.name(),
            Self::Save => "Save",
        }
    }

    const fn picked(&self) -> Option<&Arc<Picked>> {
        match self {
            Self::Restore(picked) | Self::Compare(picked) => Some(picked),
            Self::Save => None,
        }
    }

    const fn question(&self) -> &'static str {
        match self {
            Self::Restore(_) => "Which disk is to be overwritten? The image is",
            Self::Compare(_) => "Which disk is to be compared with the image? It is",
            Self::Save => "Which disk is to be saved? It is only read.",
        }
    }

    /// Why a disk cannot be chosen, or else what to say about it.
    fn check(&self, shown: &Shown) -> Checked {
        let path = Path::new(&shown.disk.identity.path);
        match self {
            Self::Restore(picked) => check_target(picked, path, shown.disk.identity.size),
            Self::Compare(_) => Checked::default(),
            Self::Save => {
                Checked { refusal: check_source(path).err().map(|it| in_short(&it)), fit: false }
            }
        }
    }

    /// The screen that comes after a disk was chosen.
    pub(crate) fn go_on(&self, session: &Shared, path: &Path, fit: bool) -> Next {
        match self {
            Self::Restore(picked) => Next::push(Plan::new(session, picked, path.to_owned(), fit)),
            Self::Compare(picked) => compare::start(session, picked, path),
            Self::Save => Next::push(Destinations::new(session, Keep::Image(path.to_owned()))),
        }
    }
}

/// Whether a disk can be chosen.
#[derive(Debug, Clone, Default)]
struct Checked {
    /// Why not, and what to do.
    refusal: Option<String>,
    /// True if it is smaller than the disk that was saved, but takes all of it.
    fit: bool,
}

fn check_target(picked: &Picked, path: &Path, len: u64) -> Checked {
    let check = |fit| {
        let options = Options { fit, ..Options::default() };
        picked.with_feed(|feed, disk| overwrite::check(path, picked.file(), &options, feed, disk))
    };
    let Err(error) = check(false) else { return Checked::default() };
    let needed = picked.head().disk_len;
    // To fit it waives the size only: what else is wrong refuses it all the same.
    match check(true) {
        Ok(()) => Checked { refusal: None, fit: true },
        Err(other) if len < needed && error.to_string() != other.to_string() => {
            let refusal = format!(
                "it is too small: {}, and {} are needed; choose a larger one",
                human(len),
                human(needed)
            );
            Checked { refusal: Some(refusal), fit: false }
        }
        Err(_) => Checked { refusal: Some(in_short(&error)), fit: false },
    }
}

/// A disk that is offered.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    item: Item,
    path: String,
    checked: Checked,
}

/// The disks.
pub(crate) struct Choose {
    session: Shared,
    goal: Goal,
    disks: Load<Vec<Candidate>>,
    list: List,
    /// Why the chosen one was refused, once Enter was pressed on it.
    told: Option<String>,
    drives: Drives,
}

impl Candidate {
    /// What it is known by in another list: its first line has model, size and
    /// serial number.
    fn name(&self) -> String {
        format!("{} {}", self.path, self.item.title)
    }
}

impl Choose {
    fn look_again(&mut self) -> Next {
        let disks = self.disks.ready().map_or(&[][..], Vec::as_slice);
        self.drives.remember(self.list.chosen(disks.len()).map(|n| disks[n].name()));
        self.disks = search(&self.session, &self.goal);
        self.told = None;
        Next::Draw
    }

    pub(crate) fn new(session: &Shared, goal: Goal) -> Self {
        // Before the search: a disk that comes meanwhile is not missed.
        let (drives, list) = (Drives::default(), List::default());
        let disks = search(session, &goal);
        Self { session: session.clone(), goal, disks, list, told: None, drives }
    }

    #[cfg(test)]
    pub(crate) fn with(session: &Shared, disks: &[Shown]) -> Self {
        let candidate = |(n, shown): (usize, &Shown)| {
            let refusal =
                (n > 0).then(|| "it is too small: 1 GiB, and 2 GiB are needed".to_owned());
            candidate(shown, Checked { refusal, fit: n == 0 })
        };
        let disks = Load::Ready(disks.iter().enumerate().map(candidate).collect());
        let (list, told, drives) = (List::default(), None, Drives::default());
        Self { session: session.clone(), goal: Goal::Save, disks, list, told, drives }
    }
}

fn search(session: &Shared, goal: &Goal) -> Load<Vec<Candidate>> {
    let (goal, rescue) = (goal.clone(), session.rescue);
    Load::start(move |cancel, progress| candidates(&goal, rescue, cancel, progress))
}

fn candidates(
    goal: &Goal,
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
        candidates.push(candidate(&shown, goal.check(&shown)));
    }
    candidates.sort_by_key(|candidate| candidate.checked.refusal.is_some());
    Ok(candidates)
}

fn candidate(shown: &Shown, checked: Checked) -> Candidate {
    let mut item = disks::item(shown);
    if let Some(refusal) = &checked.refusal {
        item = item.below(format!("Not possible: {refusal}"));
        item.refused = true;
    } else if checked.fit {
        item = item.below("Smaller than the disk that was saved, but all data fits.");
    }
    Candidate { item, path: shown.disk.identity.path.clone(), checked }
}

impl Screen for Choose {
    fn title(&self) -> String {
        format!("{} > choose the disk", self.goal.name())
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
        page.row(Tone::Strong, self.goal.question());
        if let Some(picked) = self.goal.picked() {
            page.row(Tone::Strong, picked.name());
            if let Some(note) = picked.note() {
                page.add(Tone::Warning, sentence(&note));
            }
        }
        if disks.is_empty() {
            page.blank();
            add_no_disk(&mut page);
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
                if let Some(refusal) = &disk.checked.refusal {
                    self.told = Some(format!("{} cannot be chosen: {refusal}", disk.path));
                    return Next::Draw;
                }
                self.goal.go_on(&self.session, Path::new(&disk.path), disk.checked.fit)
            }
            _ if key.is('p') => {
                Next::push(Typed::new(&self.session, Wanted::Disk(self.goal.clone())))
            }
            _ if key.is('r') => self.look_again(),
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        let names = |disks: &Vec<Candidate>| disks.iter().map(Candidate::name).collect();
        let next = self.drives.tick(&mut self.disks, &mut self.list, names);
        next.unwrap_or_else(|| self.look_again())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Saving: the plan, going on with an interrupted image, and what is said at
//! the end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::ending::Ending;
use super::keys::Key;
use super::load::Load;
use super::look::{Look, Tone};
use super::running::{Running, Stop};
use super::screen::{Hint, Next, Screen, Shared};
use super::shelf::{Offer, Picked};
use super::trouble::sentence;
use super::verify;
use super::widgets::{Item, List, Page, Scroll, draw_lines, split};
use crate::cmd::bars;
use crate::cmd::save::kept_rescue;
use crate::cmd::terminal::Terminal;
use crate::error::{ErrorKind, Result};
use crate::job::open::open_source;
use crate::job::save::{Done, Prepared, Reading};
use crate::media::{self, Destination, FoundImage, Writable};
use crate::save::{Options, check_losses};
use crate::store::room_at;
use crate::units::human;

/// Where an image is put.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A drive, which is mounted for that if it is not.
    Drive(Box<Destination>),
    /// A folder that was typed.
    Folder(PathBuf),
}

/// A place that can be written to.
#[derive(Debug)]
pub(crate) enum OpenPlace {
    Drive(Writable),
    Folder(PathBuf),
}

impl Place {
    /// Makes it writable.
    ///
    /// # Errors
    /// If the drive is gone or cannot be written.
    pub(crate) fn open(&self) -> Result<OpenPlace> {
        Ok(match self {
            Self::Drive(destination) => OpenPlace::Drive(media::mount_writable(destination)?),
            Self::Folder(folder) => {
                // Says what is wrong with it, if something is.
                room_at(&folder.join("image"))?;
                OpenPlace::Folder(folder.clone())
            }
        })
    }

    /// What it is called.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Drive(destination) => destination.medium.to_string(),
            Self::Folder(folder) => folder.display().to_string(),
        }
    }
}

impl OpenPlace {
    /// The folder to write to.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Drive(writable) => writable.path(),
            Self::Folder(folder) => folder,
        }
    }

    /// Makes it so that the drive may be pulled, if it is one that was mounted
    /// for this; true if it may.
    ///
    /// # Errors
    /// If what was written is not on it.
    pub(crate) fn finish(self) -> Result<bool> {
        match self {
            Self::Drive(writable) => writable.finish(),
            Self::Folder(_) => Ok(false),
        }
    }
}

/// All that has to be known before a save.
#[derive(Debug)]
pub(crate) struct Ready {
    prepared: Prepared,
    place: OpenPlace,
    estimate: u64,
    room: u64,
    /// The image of this disk that was interrupted here.
    interrupted: Option<PathBuf>,
}

/// What would be saved, and why.
pub(crate) struct Plan {
    session: Shared,
    source: PathBuf,
    place: Arc<Place>,
    label: Option<String>,
    ready: Load<Ready>,
    scroll: Scroll,
    list: List,
}

impl Plan {
    pub(crate) fn new(
        session: &Shared,
        source: &Path,
        place: &Arc<Place>,
        label: Option<String>,
    ) -> Self {
        let ready = prepare(source, place, label.clone());
        Self {
            session: session.clone(),
            source: source.to_owned(),
            place: Arc::clone(place),
            label,
            ready,
            scroll: Scroll::default(),
            list: List::default(),
        }
    }

    fn choices(ready: &Ready) -> Vec<Item> {
        if ready.prepared.rescue().is_some() {
            return vec![Item::new("Go on with the rescue of this drive")];
        }
        let begin = Item::new("Save it");
        match &ready.interrupted {
            None => vec![begin],
            Some(_) => vec![
                Item::new("Go on with the image of this disk that was interrupted here"),
                Item::new("Begin anew"),
            ],
        }
    }

    fn page(&self, ready: &Ready, width: usize, unicode: bool) -> Page {
        let plan = ready.prepared.plan();
        let disk = &plan.head.about.disk;
        let mut page = Page::default();
        let model = disk.model.as_deref().unwrap_or("a disk without a name");
        let serial = disk.serial.as_deref().map(|it| format!(", serial {}", it.trim()));
        let serial = serial.unwrap_or_default();
        page.row(Tone::Strong, format!("{model}{serial}, {} ({})", human(disk.size), disk.path));
        for line in bars::lines(plan.layout(), &Terminal { width, unicode }) {
            page.row(Tone::Plain, anstream::adapter::strip_str(&line).to_string());
        }
        page.blank();
        page.text(format!("To {}", self.place.shown()));
        page.text(format!(
            "{} are to be read. The image will take about {}; {} are free there.",
            human(plan.head.used.bytes()),
            human(ready.estimate),
            human(ready.room)
        ));
        if ready.room < ready.estimate.saturating_add(ready.estimate / 5) {
            page.add(
                Tone::Warning,
                "There may not be enough room. What was saved until then is kept, and a drive \
                 with more room is the better choice.",
            );
        }
        for note in plan.layout().table.iter().flat_map(|table| &table.notes) {
            page.text(sentence(note));
        }
        page
    }

    fn start(&mut self, resume: bool) -> Next {
        let Load::Ready(ready) = std::mem::replace(&mut self.ready, Load::Empty) else {
            return Next::Stay;
        };
        let Ready { prepared, place, interrupted, .. } = ready;
        let path = match interrupted.filter(|_| resume) {
            Some(path) => path,
            None => prepared.image_path(place.path(), false),
        };
        let what = format!("{} to {}", self.source.display(), path.display());
        self.session.log.add(&format!("save: {what}: began"));
        let about = [
            format!("Disk:  {}", self.source.display()),
            format!("Image: {}", path.file_name().unwrap_or_default().to_string_lossy()),
            format!("To:    {}", self.place.shown()),
        ];
        let stop = Stop {
            question: "Stop the save? What was saved is kept, and can be gone on with.",
            is_harmless: false,
        };
        let (session, to) = (self.session.clone(), Arc::clone(&self.place));
        Next::replace(Running::new(
            "Save",
            &about,
            stop,
            move |cancel, progress| {
                let done = prepared.begin(&path, resume, cancel, progress)?;
                let done = done.run(cancel, progress)?;
                // Part of the job: what cannot be unmounted may not be on the drive.
                let is_free = place.finish()?;
                Ok((done, is_free))
            },
            move |result, notices| {
                let ending = ending(&session, result, notices, &to);
                session.log.add(&format!("save: {what}: {}", ending.in_short()));
                ending
            },
        ))
    }
}

fn prepare(source: &Path, place: &Arc<Place>, label: Option<String>) -> Load<Ready> {
    let (source, place) = (source.to_owned(), Arc::clone(place));
    Load::start(move |cancel, progress| {
        progress.stage(&source.display().to_string(), 0);
        let options = Options {
            label,
            command: std::env::args_os().map(|it| it.to_string_lossy().into_owned()).collect(),
            ..Options::default()
        };
        let opened = open_source(&source, None)?;
        let place = place.open()?;
        cancel.check()?;
        let (others, reading) = (Vec::new(), Reading::default());
        let prepared =
            Prepared::for_image(opened, others, &options, reading, place.path(), cancel, progress)?;
        cancel.check()?;
        progress.stage("estimating the size of the image", 0);
        let estimate = prepared.estimate()?;
        cancel.check()?;
        let room = room_at(&place.path().join("image"))?;
        let interrupted = prepared.interrupted_in(place.path());
        Ok(Ready { prepared, place, estimate, room, interrupted })
    })
}

/// What is said of a save that has ended.
fn ending(
    session: &Shared,
    result: Result<(Done, bool)>,
    notices: &[String],
    place: &Place,
) -> Ending {
    let again = "To go on, choose Save again, with the same disk and the same place.";
    let (done, is_free) = match result {
        Ok(done) => done,
        Err(error) => {
            let mut ending = if error.kind() == ErrorKind::Interrupted {
                Ending::new(Tone::Warning, "Stopped. What was saved is kept.")
            } else {
                Ending::of_error(&error)
            };
            return match error.kind() {
                ErrorKind::Refused => ending,
                ErrorKind::NoSpace => {
                    ending.text(format!("Make room there, or choose another drive. {again}"));
                    ending
                }
                _ => {
                    ending.text(again);
                    ending
                }
            };
        }
    };
    let mut ending = match check_losses(&done.saved.losses) {
        Ok(()) => Ending::new(Tone::Good, "Done. The disk is saved."),
        Err(error) => Ending::of_error(&error),
    };
    let name = done.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    ending.text(format!(
        "{} are in {name}, which takes {}.",
        human(done.saved.used),
        human(done.saved.written.len)
    ));
    ending.lost(&done.lost);
    for notice in notices {
        ending.text(sentence(notice));
    }
    if let Some(raw) = &done.rescue {
        ending.text(sentence(&kept_rescue(raw)));
    }
    ending.text(
        "What now: verify it once, now or later, to know that the drive gives back what was \
         written.",
    );
    if is_free {
        ending.text("The drive can be pulled now.");
    }
    let offer = match place {
        Place::Drive(destination) => Offer::Found(Box::new(FoundImage {
            medium: destination.medium.clone(),
            path_on_medium: name.into(),
            size: done.saved.written.len,
            facts: None,
            error: None,
        })),
        Place::Folder(_) => Offer::Typed(done.path),
    };
    let session = session.clone();
    ending.choice(Item::new("Verify the image now"), move || match Picked::open(&offer) {
        Ok(picked) => verify::start(&session, &Arc::new(picked)),
        Err(error) => Next::push(Ending::of_error(&error).screen()),
    });
    ending
}

impl Screen for Plan {
    fn title(&self) -> String {
        "Save > what will be done".into()
    }

    fn hints(&self) -> Vec<Hint> {
        let mut hints = self.ready.hints(|_| Some("choose"));
        if self.scroll.is_needed() {
            hints.push(("PgUp/PgDn", "scroll"));
        }
        hints
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.ready.draw("Looking at what is on the disk", area, buffer, look) {
            return None;
        }
        let ready = self.ready.ready()?;
        let choices = Self::choices(ready);
        let foot = choices.len() + 2;
        let (body, foot) = split(area, usize::from(area.height).saturating_sub(foot));
        let page = self.page(ready, body.width.into(), look.unicode);
        self.scroll.draw(&page.lines(body.width.into(), look), body, buffer, look);
        let mut page = Page::default();
        page.blank().row(Tone::Strong, "The disk is only read. Nothing is written to it.");
        let lines = page.lines(foot.width.into(), look);
        let (head, list) = split(foot, lines.len());
        draw_lines(&lines, head, buffer);
        self.list.draw(&choices, list, buffer, look);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let count = self.ready.ready().map_or(0, |ready| Self::choices(ready).len());
        let is_page = matches!(key, Key::PageUp | Key::PageDown);
        if is_page && self.scroll.key(key) || self.list.key(key, count) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter if count > 0 => self.start(count > 1 && self.list.chosen(count) == Some(0)),
            _ if key.is('r') && self.ready.is_failed() => {
                self.ready = prepare(&self.source, &self.place, self.label.clone());
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        if self.ready.tick() { Next::Draw } else { Next::Stay }
    }
}

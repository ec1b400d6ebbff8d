// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typing what cannot be chosen from a list: where something is, or what it is
//! called.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::choose::Goal;
use super::destinations::Keep;
use super::disc::{Archive, At, OnDisc};
use super::images::{Opening, Purpose};
use super::keys::Key;
use super::look::{Look, Tone};
use super::network;
use super::save::{Place, Plan};
use super::screen::{Hint, Next, Screen, Shared};
use super::shelf::Offer;
use super::widgets::{Input, Page, draw_lines, split};
use crate::network::Smb;

/// What is being typed.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// Where an image is.
    Image(Purpose),
    /// A disk, a partition or a file, for this.
    Disk(Goal),
    /// A folder.
    Folder(Keep),
    /// The name of a new image of a disk.
    Label(PathBuf, Arc<Place>),
    /// A drive, or the file of a disc.
    Disc,
    /// A folder with archived discs.
    Archive,
    /// An address for this computer.
    Address,
    /// A folder of another machine.
    Share,
    /// Who wants it.
    User(Smb),
    /// The password of who wants it.
    Password(Smb),
}

impl Wanted {
    fn title(&self) -> String {
        match self {
            Self::Image(purpose) => format!("{} > type where the image is", purpose.name()),
            Self::Disk(goal) => format!("{} > type a path", goal.name()),
            Self::Folder(keep) => format!("{} > type the folder", keep.name()),
            Self::Label(..) => "Save > give it a name".into(),
            Self::Disc => "Disc > type a path".into(),
            Self::Archive => "Disc > type the folder".into(),
            Self::Address => "Network > set an address".into(),
            Self::Share => "Network > connect a folder".into(),
            Self::User(_) => "Network > who are you there?".into(),
            Self::Password(_) => "Network > the password".into(),
        }
    }

    const fn asks(&self) -> &'static str {
        match self {
            Self::Image(_) => {
                "Type the path of the image, as in /mnt/backup/studio.img.zst, or its address, as \
                 in http://server/studio.img.zst."
            }
            Self::Disk(Goal::Restore(_)) => {
                "Type the path of a disk, a partition or a file, as in /dev/sdb. A file that does \
                 not exist yet is made."
            }
            Self::Disk(_) => "Type the path of a disk, a partition or a file, as in /dev/sdb.",
            Self::Folder(_) => "Type the path of a folder, as in /mnt/backup.",
            Self::Label(..) => {
                "What do you want to call this image? In a year you should still know what it is: \
                 'studio before the update'. Enter alone takes the model of the disk."
            }
            Self::Disc => {
                "Type the path of a drive, or of the file of a disc, as in /dev/sr1 or \
                 /mnt/old/SYNTH_2.iso."
            }
            Self::Archive => "Type the path of a folder with archived discs, as in /mnt/discs.",
            Self::Address => {
                "Type the address of this computer, then after colons the router and the name \
                 server, as in eth0:192.168.1.50/24:192.168.1.1:192.168.1.1 - the two last may be \
                 left out."
            }
            Self::Share => {
                "Type the name of the other machine and of what it shares, as in //nas/backup or \
                 //192.168.1.20/backup/images for SMB (Windows, NAS), or nas:/srv/backup for NFS."
            }
            Self::User(_) => "Type the name of the user there. Enter alone goes as a guest.",
            Self::Password(_) => "Type the password. It is not shown, and not kept.",
        }
    }

    const fn may_be_empty(&self) -> bool {
        matches!(self, Self::Label(..) | Self::User(_) | Self::Password(_))
    }

    /// True if blanks at the ends belong to it, and nobody may see it.
    const fn is_secret(&self) -> bool {
        matches!(self, Self::Password(_))
    }

    fn go_on(&self, session: &Shared, text: &str) -> Next {
        let path = Path::new(text);
        match self {
            Self::Image(purpose) => {
                Next::push(Opening::new(session, *purpose, Offer::Typed(path.to_owned())))
            }
            Self::Disk(goal) => goal.go_on(session, path, false),
            Self::Folder(keep) => keep.go_on(session, Place::Folder(path.to_owned())),
            Self::Label(source, place) => {
                let label = (!text.is_empty()).then(|| text.to_owned());
                Next::push(Plan::new(session, source, place, label))
            }
            Self::Disc => Next::push(OnDisc::open(session, path.to_owned())),
            Self::Archive => Next::push(Archive::new(session, At::Folder(path.to_owned()))),
            Self::Address => network::set_address(session, text),
            Self::Share => network::connect_to(session, text),
            Self::User(smb) => network::connect_as(session, smb, text),
            Self::Password(smb) => network::connect_with(session, smb, text),
        }
    }
}

/// The screen where it is typed.
pub(crate) struct Typed {
    session: Shared,
    wanted: Wanted,
    input: Input,
}

impl Typed {
    pub(crate) fn new(session: &Shared, wanted: Wanted) -> Self {
        let input = if wanted.is_secret() { Input::secret() } else { Input::default() };
        Self { session: session.clone(), wanted, input }
    }
}

impl Screen for Typed {
    fn title(&self) -> String {
        self.wanted.title()
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "go on"), ("Esc", "back"), ("Ctrl-U", "clear the line")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let mut page = Page::default();
        page.add(Tone::Plain, self.wanted.asks()).blank();
        let lines = page.lines(area.width.into(), look);
        let (head, rest) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        self.input.draw(rest, buffer)
    }

    fn key(&mut self, key: Key) -> Next {
        if self.input.key(key) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => {
                let text = self.input.text();
                let text = if self.wanted.is_secret() { &text } else { text.trim() };
                if text.is_empty() && !self.wanted.may_be_empty() {
                    return Next::Stay;
                }
                let next = self.wanted.go_on(&self.session, text);
                match next {
                    // Not kept: nobody may come back to a line that has it.
                    Next::Push(screen) if self.wanted.is_secret() => Next::Replace(screen),
                    next => next,
                }
            }
            _ => Next::Stay,
        }
    }
}

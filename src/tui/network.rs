// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network: which cards there are, an address for one, and folders of
//! other machines. What was connected stays so, and is searched for images
//! like any drive.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::ending::Ending;
use super::keys::Key;
use super::load::Load;
use super::look::{Look, Tone};
use super::running::{Running, Stop};
use super::screen::{Hint, Next, Screen, Shared};
use super::typed::{Typed, Wanted};
use super::widgets::{Item, List, Page, draw_lines, split};
use crate::error::{Error, Result};
use crate::network::{self, Interface, Setting, Share, Smb};

/// Something that can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Dhcp,
    ByHand,
    Connect,
    Disconnect,
}

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Dhcp => "Get an address by itself (DHCP)",
            Self::ByHand => "Set an address by hand",
            Self::Connect => "Connect a folder of another machine (SMB or NFS)",
            Self::Disconnect => "Disconnect all folders of other machines",
        }
    }

    const fn does(self) -> &'static str {
        match self {
            Self::Dhcp => {
                "For nearly every home and studio: the router tells this computer its address. A \
                 cable has to be plugged in."
            }
            Self::ByHand => "For networks in which addresses are given out by a person.",
            Self::Connect => {
                "A folder that a Windows PC, a NAS or a server shares. Its images are found by \
                 Restore, and Save can put one there."
            }
            Self::Disconnect => "What is in use stays connected.",
        }
    }
}

/// The network.
pub(crate) struct Network {
    session: Shared,
    interfaces: Load<Vec<Interface>>,
    list: List,
}

impl Network {
    pub(crate) fn new(session: &Shared) -> Self {
        let interfaces = Load::start(|_, _| network::interfaces());
        Self { session: session.clone(), interfaces, list: List::default() }
    }

    #[cfg(test)]
    pub(crate) fn with(session: &Shared, interfaces: Vec<Interface>) -> Self {
        let interfaces = Load::Ready(interfaces);
        Self { session: session.clone(), interfaces, list: List::default() }
    }

    /// An installed system has set up its network itself.
    fn actions(&self) -> &'static [Action] {
        if self.session.rescue {
            &[Action::Dhcp, Action::ByHand, Action::Connect, Action::Disconnect]
        } else {
            &[Action::Connect, Action::Disconnect]
        }
    }

    fn begin(&self, action: Action) -> Next {
        let session = &self.session;
        match action {
            Action::Dhcp => apply(session, Setting::Dhcp { interface: None }),
            Action::ByHand => Next::push(Typed::new(session, Wanted::Address)),
            Action::Connect => Next::push(Typed::new(session, Wanted::Share)),
            Action::Disconnect => {
                let mut ending = match network::disconnect() {
                    Ok(done) if done.is_empty() => Ending::new(Tone::Plain, "None was connected."),
                    Ok(_) => Ending::new(Tone::Good, "They are disconnected."),
                    Err(error) => Ending::of_error(&error),
                };
                add_choice(session, &mut ending);
                Next::push(ending.screen())
            }
        }
    }
}

impl Screen for Network {
    fn title(&self) -> String {
        "Network".into()
    }

    fn hints(&self) -> Vec<Hint> {
        vec![("Enter", "choose"), ("Esc", "back"), ("Up/Down", "move"), ("R", "look again")]
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        if self.interfaces.draw("Looking at the network cards", area, buffer, look) {
            return None;
        }
        let interfaces = self.interfaces.ready()?;
        let mut page = Page::default();
        if interfaces.is_empty() {
            page.add(Tone::Warning, "No network card was found, or none that is known here.");
        }
        for it in interfaces {
            page.row(Tone::Plain, format!("{:<10} {}  {}", it.name, it.mac, it.state()));
        }
        page.blank();
        let lines = page.lines(area.width.into(), look);
        let (head, rest) = split(area, lines.len());
        draw_lines(&lines, head, buffer);
        let actions = self.actions();
        let (list, rest) = split(rest, actions.len());
        let items: Vec<Item> = actions.iter().map(|action| Item::new(action.name())).collect();
        self.list.draw(&items, list, buffer, look);
        let chosen = self.list.chosen(actions.len()).unwrap_or_default();
        let mut page = Page::default();
        page.blank().text(actions[chosen].does()).blank().text(
            "An image on a web server needs nothing here but an address: in Restore press P and \
             type where it is.",
        );
        draw_lines(&page.lines(rest.width.into(), look), rest, buffer);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        let actions = self.actions();
        if self.list.key(key, actions.len()) {
            return Next::Draw;
        }
        match key {
            Key::Esc | Key::Interrupt => Next::Back,
            Key::Enter => {
                self.list.chosen(actions.len()).map_or(Next::Stay, |n| self.begin(actions[n]))
            }
            _ if key.is('r') => {
                self.interfaces = Load::start(|_, _| network::interfaces());
                Next::Draw
            }
            _ => Next::Stay,
        }
    }

    fn tick(&mut self) -> Next {
        if self.interfaces.tick() { Next::Draw } else { Next::Stay }
    }
}

const HARMLESS: Stop = Stop { question: "", is_harmless: true };

fn add_choice(session: &Shared, ending: &mut Ending) {
    let session = session.clone();
    ending.choice(Item::new("Back to the network"), move || Next::replace(Network::new(&session)));
}

/// Sets an address that was typed.
pub(crate) fn set_address(session: &Shared, text: &str) -> Next {
    match Setting::parse(text) {
        Ok(setting) => apply(session, setting),
        Err(error) => Next::push(Ending::of_error(&error).screen()),
    }
}

fn apply(session: &Shared, setting: Setting) -> Next {
    let session = session.clone();
    Next::push(Running::new(
        "Network",
        &["This computer is getting an address; that takes up to a minute.".to_owned()],
        HARMLESS,
        move |_, _| setting.apply(),
        move |result: Result<Interface>, _| {
            let mut ending = match &result {
                Ok(it) => {
                    Ending::new(Tone::Good, format!("Connected: {} has {}.", it.name, it.state()))
                }
                Err(error) => Ending::of_error(error),
            };
            session.log.add(&format!("network: {}", ending.in_short()));
            add_choice(&session, &mut ending);
            ending
        },
    ))
}

/// Goes on with a folder that was typed: one shared by SMB may want a user.
pub(crate) fn connect_to(session: &Shared, text: &str) -> Next {
    match Share::parse(text) {
        Ok(Share::Smb(smb)) if smb.user.is_none() => {
            Next::push(Typed::new(session, Wanted::User(smb)))
        }
        Ok(share) => connect(session, share),
        Err(error) => Next::push(Ending::of_error(&error).screen()),
    }
}

/// Goes on with a user that was typed; none is a guest.
pub(crate) fn connect_as(session: &Shared, smb: &Smb, user: &str) -> Next {
    if user.is_empty() {
        return connect(session, Share::Smb(smb.clone()));
    }
    let smb = Smb { user: Some(user.to_owned()), ..smb.clone() };
    Next::push(Typed::new(session, Wanted::Password(smb)))
}

/// Goes on with a password that was typed.
pub(crate) fn connect_with(session: &Shared, smb: &Smb, password: &str) -> Next {
    connect(session, Share::Smb(Smb { password: Some(password.to_owned()), ..smb.clone() }))
}

fn connect(session: &Shared, share: Share) -> Next {
    let (session, shown) = (session.clone(), share.to_string());
    Next::push(Running::new(
        "Network",
        &[format!("Connecting {shown}")],
        HARMLESS,
        move |_, _| {
            // One that may only be read is better than none.
            let folder =
                share.mount(true).or_else(|error: Error| share.mount(false).map_err(|_| error))?;
            Ok(folder.keep())
        },
        move |result: Result<std::path::PathBuf>, _| {
            let mut ending = match &result {
                Ok(folder) => {
                    let mut ending = Ending::new(Tone::Good, format!("{shown} is connected."));
                    ending.text(format!(
                        "Restore, Verify and Compare find its images. Save offers it, too; its \
                         folder is {} here.",
                        folder.display()
                    ));
                    ending
                }
                Err(error) => Ending::of_error(error),
            };
            session.log.add(&format!("network: {}", ending.in_short()));
            add_choice(&session, &mut ending);
            ending
        },
    ))
}

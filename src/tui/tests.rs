// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every screen, drawn in every size there is.

use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::keys::{Key, Keyboard, Keys};
use super::look::Look;
use super::screen::Screen;
use super::{Stack, draw_screen, hint_line};
use super::{
    choose, confirm, destinations, disc, disks, ending, images, logbook, menu, network, power,
    samples, save, shelf, typed,
};

use crate::pipeline::Cancel;

const LOOK: Look = Look { unicode: true, colour: true };

/// Every screen with made-up data, by name.
fn screens() -> Vec<(&'static str, Box<dyn Screen>)> {
    let session = samples::session(true);
    session.log.add("restore: began");
    let disks = vec![samples::shown(), samples::shown()];
    let typed = |wanted| -> Box<dyn Screen> { Box::new(typed::Typed::new(&session, wanted)) };
    let confirm = |serial| -> Box<dyn Screen> {
        let target = samples::target(serial);
        Box::new(confirm::Confirm::new("Restore", "ALL DATA will be lost:", target, |_| {
            super::Next::Home
        }))
    };
    let on_disc = |contents| disc::OnDisc::new(&session, "/dev/sr0".into(), contents);
    let discs = vec![
        (samples::drive("/dev/sr0"), Some(samples::disc())),
        (samples::drive("/dev/sr1"), Some(samples::disc_with_sound(1))),
        (samples::drive("/dev/sr2"), None),
    ];
    let wish = Arc::new(disc::Wish::new("/dev/sr0".as_ref(), &samples::disc(), false));
    let place = save::Place::Folder("/mnt".into());
    let medium = samples::shelf().images[0].medium.clone();
    let archives = vec![disc::At::Drive(Box::new(medium)), disc::At::Folder("/mnt".into())];
    let error = crate::error::Error::failed("reading \u{1b}[2J").hint("try another cable");
    let mut ending = ending::Ending::of_error(&error);
    ending.text("a long text ".repeat(60));
    vec![
        ("menu", Box::new(menu::Menu::new(&session))),
        ("menu, installed", Box::new(menu::Menu::new(&samples::session(false)))),
        ("power", Box::new(power::Power::default())),
        ("disks", Box::new(disks::Disks::with(&session, disks.clone()))),
        ("no disks", Box::new(disks::Disks::with(&session, Vec::new()))),
        ("disk", Box::new(disks::Detail::new(&session, &disks[0]))),
        ("images", Box::new(images::Images::with(&session, samples::shelf()))),
        ("no images", Box::new(images::Images::with(&session, shelf::Shelf::default()))),
        ("path", typed(typed::Wanted::Image(images::Purpose::Restore))),
        ("folder", typed(typed::Wanted::Folder(destinations::Keep::Log))),
        ("choose", Box::new(choose::Choose::with(&session, &disks))),
        ("no choice", Box::new(choose::Choose::with(&session, &[]))),
        ("confirm", confirm(Some("S5Y1"))),
        ("confirm by size", confirm(None)),
        (
            "destinations",
            Box::new(destinations::Destinations::with(&session, samples::destinations())),
        ),
        ("no destinations", Box::new(destinations::Destinations::with(&session, Vec::new()))),
        ("discs", Box::new(disc::Discs::with(&session, discs))),
        ("no discs", Box::new(disc::Discs::with(&session, Vec::new()))),
        ("disc", Box::new(on_disc(samples::disc()))),
        ("audio disc", Box::new(on_disc(samples::disc_with_sound(2)))),
        ("about a disc", Box::new(disc::AboutForm::new(&session, &wish, place))),
        ("where a disc is put", {
            let keep = destinations::Keep::Disc(Arc::clone(&wish));
            typed(typed::Wanted::Folder(keep))
        }),
        ("path of a disc", typed(typed::Wanted::Disc)),
        ("folder of discs", typed(typed::Wanted::Archive)),
        ("archives", Box::new(disc::Archives::with(&session, archives))),
        ("no archives", Box::new(disc::Archives::with(&session, Vec::new()))),
        ("archive", Box::new(disc::Archive::with(&session, samples::archived()))),
        ("empty archive", Box::new(disc::Archive::with(&session, Vec::new()))),
        ("network", Box::new(network::Network::with(&session, vec![samples::interface()]))),
        ("no network", Box::new(network::Network::with(&session, Vec::new()))),
        ("share", typed(typed::Wanted::Share)),
        ("address", typed(typed::Wanted::Address)),
        ("log", Box::new(logbook::Logbook::new(&session))),
        ("end", Box::new(ending.screen())),
    ]
}

fn drawn(screen: &mut dyn Screen, width: u16, height: u16, look: Look) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            let area = frame.area();
            draw_screen(screen, area, frame.buffer_mut(), &look);
        })
        .unwrap();
    terminal.backend().to_string()
}

#[test]
fn every_screen_can_be_drawn_in_any_size() {
    for (name, mut screen) in screens() {
        let sizes = (1..=200).step_by(7).chain([39, 40, 41, 79, 80, 81]);
        for width in sizes {
            for height in (1..=60).step_by(5).chain([11, 12, 24, 25]) {
                let text = drawn(&mut *screen, width, height, LOOK);
                assert!(!text.is_empty(), "{name}");
            }
        }
    }
}

#[test]
fn every_screen_says_its_keys_in_80_columns_and_the_way_back_in_40() {
    for (name, screen) in screens() {
        let hints = screen.hints();
        let all: Vec<String> = hints.iter().map(|(key, does)| format!("{key} {does}")).collect();
        assert_eq!(hint_line(&hints, 78), all.join("   "), "{name}");
        let short = hint_line(&hints, 38);
        let is_menu = name.starts_with("menu");
        assert!(is_menu || short.contains("Esc"), "{name}: {short}");
    }
}

#[test]
fn without_a_font_for_it_all_is_ascii_and_without_colours_it_has_none() {
    let plain = Look { unicode: false, colour: false };
    for (name, mut screen) in screens() {
        let text = drawn(&mut *screen, 80, 25, plain);
        assert!(text.is_ascii(), "{name}: {text}");
        let mut terminal = Terminal::new(TestBackend::new(80, 25)).unwrap();
        terminal
            .draw(|frame| {
                let area = frame.area();
                draw_screen(&mut *screen, area, frame.buffer_mut(), &plain);
            })
            .unwrap();
        for cell in terminal.backend().buffer().content() {
            assert_eq!(cell.fg, ratatui::style::Color::Reset, "{name}");
        }
    }
}

#[test]
fn what_is_chosen_is_marked_without_colours() {
    for (name, mut screen) in screens() {
        if [
            "menu",
            "disks",
            "images",
            "power",
            "choose",
            "destinations",
            "end",
            "discs",
            "archives",
        ]
        .contains(&name)
        {
            let text = drawn(&mut *screen, 80, 25, Look { unicode: false, colour: false });
            assert!(text.contains(" > ") || text.contains("\"> "), "{name}: {text}");
        }
    }
}

/// Events that come at once, and nothing after them.
struct Typed(std::collections::VecDeque<KeyCode>);

impl Keyboard for Typed {
    fn next(&mut self, _: Duration) -> std::io::Result<Option<Event>> {
        let code = self.0.pop_front();
        Ok(code.map(|code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE))))
    }
}

#[test]
fn keys_lead_through_the_screens_and_out() {
    let run = |codes: &[KeyCode], cancel: &Cancel| {
        let session = samples::session(true);
        let mut stack = Stack::new(Box::new(menu::Menu::new(&session)));
        let mut terminal = Terminal::new(TestBackend::new(80, 25)).unwrap();
        let mut keys = Keys::new(Typed(codes.iter().copied().collect()));
        let code = stack.run(&mut terminal, &mut keys, &LOOK, cancel);
        (code, terminal.backend().to_string())
    };
    let letter = KeyCode::Char;
    let (code, shown) = run(&[letter('p'), KeyCode::Down, KeyCode::Enter], &Cancel::default());
    assert_eq!(code.unwrap(), 11);
    assert!(shown.contains("> Restart"), "{shown}");
    let (code, shown) = run(&[letter('l'), KeyCode::Esc, letter('h')], &Cancel::default());
    assert_eq!(code.unwrap(), 12);
    assert!(shown.contains("What do you want to do?"), "{shown}");
    // Told to end from outside.
    let cancel = Cancel::default();
    cancel.cancel();
    let (code, _) = run(&[], &cancel);
    assert_eq!(code.unwrap_err().kind(), crate::error::ErrorKind::Interrupted);
}

#[test]
fn a_small_terminal_is_told_so() {
    let mut menu = menu::Menu::new(&samples::session(true));
    assert!(drawn(&mut menu, 39, 12, LOOK).contains("too small"));
    assert!(drawn(&mut menu, 40, 11, LOOK).contains("too small"));
    assert!(drawn(&mut menu, 40, 12, LOOK).contains("Restore"));
}

#[test]
fn escape_leads_back_from_everywhere_but_not_out_of_the_menu() {
    let session = samples::session(true);
    for (name, screen) in screens() {
        let mut stack = Stack::new(Box::new(menu::Menu::new(&session)));
        if name.starts_with("menu") {
            let next = stack.top().key(Key::Esc);
            assert!(stack.follow(next).1.is_none(), "{name}");
            continue;
        }
        stack.screens.push(screen);
        let next = stack.top().key(Key::Esc);
        stack.follow(next);
        assert_eq!(stack.screens.len(), 1, "{name}");
        let _ = stack.follow(super::Next::Back);
        assert_eq!(stack.screens.len(), 1);
    }
}

#[test]
fn nothing_from_a_disk_reaches_the_terminal_unchecked() {
    for (name, mut screen) in screens() {
        let text = drawn(&mut *screen, 120, 40, LOOK);
        assert!(!text.contains('\u{1b}'), "{name}: {text:?}");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys, as the screens know them.
//!
//! Over a serial line the bytes of an arrow key come one by one, and a program
//! that looks after the first of them sees Esc. So what follows Esc within a
//! moment is taken for the rest of its sequence; Esc alone is one after that.

use std::io;
use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// How long the next byte of a sequence may take. 9600 bits a second are one in
/// a millisecond; a computer that is busy takes its time, too. Nobody types Esc
/// and a bracket that fast.
const WITHIN: Duration = Duration::from_millis(250);
/// No sequence that means anything is longer.
const LONGEST: usize = 8;

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Enter,
    Esc,
    Tab,
    Backspace,
    Delete,
    /// Ctrl-U, which clears a line.
    Clear,
    /// Ctrl-C.
    Interrupt,
    /// Any character.
    Letter(char),
}

impl Key {
    /// True for a letter, whether small or capital.
    pub(crate) fn is(self, letter: char) -> bool {
        matches!(self, Self::Letter(c) if c.eq_ignore_ascii_case(&letter))
    }
}

/// Where keys come from: the terminal, or a test.
pub(crate) trait Keyboard {
    /// The next event, if one comes in time.
    fn next(&mut self, within: Duration) -> io::Result<Option<Event>>;
}

/// What a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Presses a key.
    Key(Key),
    /// Changes the size of the terminal.
    Resized,
}

/// Puts the keys together.
#[derive(Debug)]
pub(crate) struct Keys<K> {
    keyboard: K,
    /// What was read behind an Esc and does not belong to it.
    waiting: Option<Input>,
}

impl<K: Keyboard> Keys<K> {
    pub(crate) const fn new(keyboard: K) -> Self {
        Self { keyboard, waiting: None }
    }

    /// The next input, if there is one in time.
    pub(crate) fn next(&mut self, within: Duration) -> io::Result<Option<Input>> {
        let next = match self.waiting.take() {
            Some(waiting) => Some(waiting),
            None => self.keyboard.next(within)?.as_ref().and_then(input),
        };
        match next {
            Some(Input::Key(Key::Esc)) => self.after_escape(),
            other => Ok(other),
        }
    }

    fn after_escape(&mut self) -> io::Result<Option<Input>> {
        let escape = Ok(Some(Input::Key(Key::Esc)));
        let Some(event) = self.keyboard.next(WITHIN)? else { return escape };
        match input(&event) {
            Some(Input::Key(Key::Letter('[' | 'O'))) => {}
            other => {
                self.waiting = other;
                return escape;
            }
        }
        let mut sequence = String::new();
        while sequence.len() < LONGEST {
            let Some(event) = self.keyboard.next(WITHIN)? else { break };
            let Some(Input::Key(Key::Letter(c))) = input(&event) else { break };
            sequence.push(c);
            if c.is_ascii_alphabetic() || c == '~' {
                break;
            }
        }
        // An unknown sequence is no key, and certainly not Esc.
        Ok(key_of(&sequence).map(Input::Key))
    }
}

fn key_of(sequence: &str) -> Option<Key> {
    Some(match sequence {
        "A" => Key::Up,
        "B" => Key::Down,
        "C" => Key::Right,
        "D" => Key::Left,
        "H" | "1~" | "7~" => Key::Home,
        "F" | "4~" | "8~" => Key::End,
        "3~" => Key::Delete,
        "5~" => Key::PageUp,
        "6~" => Key::PageDown,
        _ => return None,
    })
}

fn input(event: &Event) -> Option<Input> {
    match event {
        Event::Resize(..) => Some(Input::Resized),
        Event::Key(event) if event.kind != KeyEventKind::Release => key(event).map(Input::Key),
        _ => None,
    }
}

fn key(event: &KeyEvent) -> Option<Key> {
    let control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c') if control => Key::Interrupt,
        KeyCode::Char('u') if control => Key::Clear,
        // A serial line may send either for Backspace and Enter.
        KeyCode::Char('h') if control => Key::Backspace,
        KeyCode::Char('j' | 'm') if control => Key::Enter,
        KeyCode::Char(_) if control => return None,
        KeyCode::Char(c) => Key::Letter(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::Up,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Events, and pauses that are longer than any sequence.
    struct Typed(VecDeque<Option<KeyCode>>);

    impl Keyboard for Typed {
        fn next(&mut self, _: Duration) -> io::Result<Option<Event>> {
            let code = self.0.pop_front().flatten();
            Ok(code.map(|code| Event::Key(KeyEvent::new(code, KeyModifiers::NONE))))
        }
    }

    fn keys(codes: &[Option<KeyCode>]) -> Vec<Key> {
        let count = codes.len();
        let mut keys = Keys::new(Typed(codes.iter().copied().collect()));
        (0..=count)
            .filter_map(|_| keys.next(Duration::ZERO).unwrap())
            .filter_map(|input| match input {
                Input::Key(key) => Some(key),
                Input::Resized => None,
            })
            .collect()
    }

    #[test]
    fn an_arrow_that_comes_in_pieces_is_an_arrow() {
        let (escape, letter) = (Some(KeyCode::Esc), |c| Some(KeyCode::Char(c)));
        assert_eq!(keys(&[escape, letter('['), letter('A')]), [Key::Up]);
        assert_eq!(
            keys(&[escape, letter('O'), letter('B'), letter('x')]),
            [Key::Down, Key::Letter('x')]
        );
        assert_eq!(keys(&[escape, letter('['), letter('5'), letter('~')]), [Key::PageUp]);
        assert_eq!(keys(&[escape, letter('['), letter('9'), letter('9'), letter('~')]), []);
    }

    #[test]
    fn escape_alone_is_escape() {
        let (escape, letter) = (Some(KeyCode::Esc), |c| Some(KeyCode::Char(c)));
        assert_eq!(keys(&[escape]), [Key::Esc]);
        assert_eq!(
            keys(&[escape, None, letter('['), letter('A')]),
            [Key::Esc, Key::Letter('['), Key::Letter('A')]
        );
        assert_eq!(keys(&[escape, letter('q')]), [Key::Esc, Key::Letter('q')]);
        assert_eq!(keys(&[escape, Some(KeyCode::Enter)]), [Key::Esc, Key::Enter]);
        // Esc, and then an arrow in pieces.
        assert_eq!(keys(&[escape, escape, letter('['), letter('A')]), [Key::Esc, Key::Up]);
    }

    #[test]
    fn control_keys_are_no_letters() {
        let event = |c| {
            let event = KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
            input(&Event::Key(event))
        };
        assert_eq!(event('c'), Some(Input::Key(Key::Interrupt)));
        assert_eq!(event('j'), Some(Input::Key(Key::Enter)));
        assert_eq!(event('x'), None);
        assert!(Key::Letter('Q').is('q') && !Key::Enter.is('q'));
    }
}

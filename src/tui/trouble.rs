// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors as sentences, with what to do now.

use super::look::Tone;
use super::widgets::Page;
use crate::error::{Error, ErrorKind};

/// A text that begins like a sentence and ends like one.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return String::new() };
    // A path or a command keeps its first letter.
    let is_word = first.is_lowercase()
        && text
            .split_whitespace()
            .next()
            .is_some_and(|word| word.trim_end_matches([',', ':']).chars().all(char::is_alphabetic));
    let first = if is_word { first.to_uppercase().to_string() } else { first.to_string() };
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

/// What went wrong, and what to do.
pub(crate) fn add_error(page: &mut Page, error: &Error) {
    let tone = if error.kind() == ErrorKind::Losses { Tone::Warning } else { Tone::Bad };
    page.add(tone, sentence(&error.to_string()));
    if let Some(hint) = error.hint_text() {
        page.blank().text(format!("What to do: {}", sentence(hint)));
    }
}

/// What went wrong and what to do, in one line for a list.
pub(crate) fn in_short(error: &Error) -> String {
    match error.hint_text() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_a_sentence() {
        assert_eq!(sentence("reading sector 0"), "Reading sector 0.");
        assert_eq!(sentence("/dev/sda is in use"), "/dev/sda is in use.");
        assert_eq!(sentence("sda1 is mounted"), "sda1 is mounted.");
        assert_eq!(sentence("interrupted"), "Interrupted.");
        assert_eq!(sentence("Is it?"), "Is it?");
        assert_eq!(sentence(" "), "");
    }
}

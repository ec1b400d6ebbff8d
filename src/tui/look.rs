// SPDX-License-Identifier: MIT OR Apache-2.0
//! How things look: few colours, which say nothing that is not also said in
//! words, and only characters that the font of a text console has.

use ratatui::style::{Color, Modifier, Style};

use crate::cmd::terminal::Terminal;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// True if lines and blocks outside of ASCII will be seen as such.
    pub(crate) unicode: bool,
    /// True if colours are wanted.
    pub(crate) colour: bool,
}

/// What a text is for, which decides its style.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Tone {
    /// Ordinary text.
    #[default]
    Plain,
    /// The names of things.
    Strong,
    /// Less important, or not to be chosen.
    Faint,
    /// Good news.
    Good,
    /// To be heeded.
    Warning,
    /// Bad news.
    Bad,
}

impl Look {
    /// As the environment says.
    pub(crate) fn of_environment() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { unicode: Terminal::locale_is_utf8(), colour: !no_colour }
    }

    /// The style of a text.
    pub(crate) fn style(&self, tone: Tone) -> Style {
        let coloured = |colour| if self.colour { Style::new().fg(colour) } else { Style::new() };
        match tone {
            Tone::Plain => Style::new(),
            Tone::Strong => Style::new().add_modifier(Modifier::BOLD),
            // Dim is dark grey or another colour on some consoles: legible on
            // all of them, unlike black on black.
            Tone::Faint => Style::new().add_modifier(Modifier::DIM),
            Tone::Good => coloured(Color::Green),
            Tone::Warning => coloured(Color::Yellow),
            Tone::Bad => coloured(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    /// The style of the line that is chosen; a mark in front of it says so,
    /// too.
    pub(crate) const fn chosen() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// A horizontal line.
    pub(crate) const fn rule(&self) -> char {
        if self.unicode { '\u{2500}' } else { '-' }
    }

    /// The edge between two parts of a picture.
    pub(crate) const fn edge(&self) -> char {
        if self.unicode { '\u{2502}' } else { '|' }
    }

    /// The part of a bar that is done or used, and the rest of it.
    pub(crate) const fn blocks(&self) -> (char, char) {
        if self.unicode { ('\u{2588}', '\u{2591}') } else { ('#', '-') }
    }
}

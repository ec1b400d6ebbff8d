// SPDX-License-Identifier: MIT OR Apache-2.0
//! What standard output can show: how wide it is, and whether more than ASCII.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

/// The width where there is no terminal that has one.
const DEFAULT_WIDTH: usize = 80;
/// Lines longer than this are hard to follow with the eye.
const MAX_WIDTH: usize = 120;

/// The style of what a bar shows as used.
pub(crate) const USED: Style = AnsiColor::Green.on_default();
/// The style of what a bar shows as stored without a map.
pub(crate) const WHOLE: Style = AnsiColor::Yellow.on_default();
/// The style of what is less important.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// The style of titles.
pub(crate) const TITLE: Style = Style::new().bold();

/// True if the terminal says that it knows no escape sequences: it can neither
/// move its cursor nor show colours.
pub(crate) fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// What can be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// Columns.
    pub(crate) width: usize,
    /// True if characters outside of ASCII will be seen as they are meant.
    pub(crate) unicode: bool,
}

impl Terminal {
    /// Asks standard output.
    pub(crate) fn of_stdout() -> Self {
        let stdout = std::io::stdout();
        if !stdout.is_terminal() {
            return Self { width: DEFAULT_WIDTH, unicode: false };
        }
        let width = terminal_size::terminal_size_of(&stdout)
            .map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
            .clamp(20, MAX_WIDTH);
        Self { width, unicode: Self::locale_is_utf8() }
    }

    /// True if the locale is one of UTF-8.
    pub(crate) fn locale_is_utf8() -> bool {
        // As setlocale does: the first of these that is set decides.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .filter_map(|name| std::env::var(name).ok())
            .find(|value| !value.is_empty())
            .unwrap_or_default()
            .to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    }

    /// A bar of `columns`, of which `part` of `whole` is filled. What is used
    /// at all is seen, and so is what is free at all.
    pub(crate) fn bar(&self, part: u64, whole: u64, columns: usize, style: Style) -> String {
        let (fill, rest) = if self.unicode { ('\u{2588}', '\u{2591}') } else { ('#', '-') };
        let filled = match whole {
            0 => 0,
            _ => (part as f64 / whole as f64 * columns as f64).round() as usize,
        };
        let least = usize::from(part > 0);
        let most = columns.saturating_sub(usize::from(part < whole));
        let filled = filled.min(most).max(least.min(columns));
        let text = |c: char, count: usize| c.to_string().repeat(count);
        format!(
            "{style}{}{style:#}{FAINT}{}{FAINT:#}",
            text(fill, filled),
            text(rest, columns - filled)
        )
    }
}

/// `text` in lines of at most `width` columns, all but the first of them moved
/// right by `indent`; the first line has that much less room, too. A word that
/// is longer than a line stays whole.
pub(crate) fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let room = width.saturating_sub(indent).max(20);
    let mut lines: Vec<String> = Vec::new();
    let mut columns = 0;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        match lines.last_mut() {
            Some(line) if columns + 1 + len <= room => {
                line.push(' ');
                line.push_str(word);
                columns += 1 + len;
            }
            first => {
                let margin = if first.is_some() { " ".repeat(indent) } else { String::new() };
                lines.push(margin + word);
                columns = len;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Terminal = Terminal { width: 80, unicode: false };

    fn bar(part: u64, whole: u64) -> String {
        let bar = PLAIN.bar(part, whole, 10, USED);
        anstream::adapter::strip_str(&bar).to_string()
    }

    #[test]
    fn a_bar_shows_the_part_and_never_hides_a_rest() {
        assert_eq!(bar(0, 100), "----------");
        assert_eq!(bar(1, 1_000_000), "#---------");
        assert_eq!(bar(44, 100), "####------");
        assert_eq!(bar(999_999, 1_000_000), "#########-");
        assert_eq!(bar(100, 100), "##########");
        assert_eq!(bar(0, 0), "----------");
        assert_eq!(bar(u64::MAX, u64::MAX), "##########");
    }

    #[test]
    fn only_a_terminal_that_can_show_them_gets_blocks() {
        let terminal = Terminal { unicode: true, ..PLAIN };
        assert!(terminal.bar(1, 2, 4, USED).contains('\u{2588}'));
        assert!(PLAIN.bar(1, 2, 4, USED).is_ascii());
    }

    #[test]
    fn text_is_wrapped_at_words() {
        let lines = wrap("one two three four five six", 24, 4);
        assert_eq!(lines, ["one two three four", "    five six"]);
        assert_eq!(wrap("", 80, 4), Vec::<String>::new());
        let long = "x".repeat(200);
        assert_eq!(wrap(&format!("a {long} b"), 80, 2).len(), 3);
    }
}

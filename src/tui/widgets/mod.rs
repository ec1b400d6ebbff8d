// SPDX-License-Identifier: MIT OR Apache-2.0
//! What screens are made of. Everything is drawn into an area of any size, and
//! text that comes from disks is made harmless here.

mod gauge;
mod input;
mod list;
mod page;
mod picture;

pub(crate) use gauge::gauge;
pub(crate) use input::Input;
pub(crate) use list::{Item, List};
pub(crate) use page::{Page, Scroll};
pub(crate) use picture::{picture, table};

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Draws lines from the top of an area; what does not fit is cut off.
pub(crate) fn draw_lines(lines: &[Line<'_>], area: Rect, buffer: &mut Buffer) {
    for (line, y) in lines.iter().zip(area.top()..area.bottom()) {
        buffer.set_line(area.x, y, line, area.width);
    }
}

/// The first rows of an area, and the rest of it.
pub(crate) fn split(area: Rect, rows: usize) -> (Rect, Rect) {
    let rows = u16::try_from(rows).unwrap_or(u16::MAX).min(area.height);
    let top = Rect { height: rows, ..area };
    let rest = Rect { y: area.y + rows, height: area.height - rows, ..area };
    (top, rest)
}

/// Text as one harmless line of at most `longest` characters.
pub(crate) fn short(text: &str, longest: usize) -> String {
    let text = crate::cmd::output::plain(text).replace('\n', "?");
    let text = text.trim();
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    if longest <= 3 {
        return text.chars().take(longest).collect();
    }
    text.chars().take(longest - 3).chain("...".chars()).collect()
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Something a screen needs and that takes a while: it is seen to be looked
//! for, can be left meanwhile, and may fail.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::look::{Look, Tone};
use super::screen::Hint;
use super::task::Task;
use super::trouble::add_error;
use super::widgets::{Page, draw_lines};
use crate::error::{Error, Result};
use crate::pipeline::Cancel;
use crate::progress::Progress;

/// Something that is being looked for, or was found.
#[derive(Debug)]
pub(crate) enum Load<T> {
    /// It is being looked for; since so many ticks.
    Running(Task<T>, usize),
    /// It was found.
    Ready(T),
    /// It was not.
    Failed(Error),
    /// It was taken away.
    Empty,
}

impl<T: Send + 'static> Load<T> {
    /// Looks for it.
    pub(crate) fn start(
        work: impl FnOnce(&Cancel, &dyn Progress) -> Result<T> + Send + 'static,
    ) -> Self {
        Self::Running(Task::start(work), 0)
    }

    /// Looks whether it was found; true if there is something new to be seen.
    pub(crate) fn tick(&mut self) -> bool {
        let Self::Running(task, ticks) = self else { return false };
        *ticks += 1;
        match task.poll() {
            Some(Ok(found)) => *self = Self::Ready(found),
            Some(Err(error)) => *self = Self::Failed(error),
            None => {}
        }
        true
    }

    /// True while it is being looked for.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Running(..))
    }

    /// What was found.
    pub(crate) fn ready(&self) -> Option<&T> {
        match self {
            Self::Ready(found) => Some(found),
            _ => None,
        }
    }

    /// True if it could not be found.
    pub(crate) fn is_failed(&self) -> bool {
        matches!(self, Self::Failed(_))
    }

    /// The keys of a screen that shows it; `enter` is what Enter does with what
    /// was found.
    pub(crate) fn hints(&self, enter: impl FnOnce(&T) -> Option<&'static str>) -> Vec<Hint> {
        match self {
            Self::Ready(found) => {
                let enter = enter(found).map(|does| ("Enter", does));
                enter.into_iter().chain([("Esc", "back")]).collect()
            }
            Self::Failed(_) => vec![("Esc", "back"), ("R", "try again")],
            _ => vec![("Esc", "back")],
        }
    }

    /// Draws what there is to say until it was found; false if it was.
    pub(crate) fn draw(&self, what: &str, area: Rect, buffer: &mut Buffer, look: &Look) -> bool {
        let mut page = Page::default();
        match self {
            Self::Ready(_) | Self::Empty => return false,
            Self::Running(task, ticks) => {
                let sign = ['|', '/', '-', '\\'][ticks % 4];
                page.blank().text(format!("{sign} {what} ..."));
                let stage = task.snapshot().stage;
                if !stage.is_empty() {
                    page.indented(Tone::Faint, 2, stage);
                }
            }
            Self::Failed(error) => {
                page.blank();
                add_error(&mut page, error);
                page.blank().text("Press R to try again, Esc to go back.");
            }
        }
        draw_lines(&page.lines(area.width.into(), look), area, buffer);
        true
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A job that runs: how far it is, how fast it goes, and how long it will
//! take. It can be stopped, after a question.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::ending::Ending;
use super::keys::Key;
use super::look::{Look, Tone};
use super::screen::{Hint, Next, Screen, Stopping};
use super::task::Task;
use super::trouble::sentence;
use super::widgets::{Page, draw_lines, gauge, short};
use crate::error::Result;
use crate::pipeline::Cancel;
use crate::progress::{Progress, Snapshot, clock};
use crate::units::human;

/// As many of the last notices of a job are shown while it runs.
const SHOWN_NOTICES: usize = 4;

/// What is asked before a job is stopped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop {
    /// The question, with what stopping means.
    pub(crate) question: &'static str,
    /// True if it may be stopped without one.
    pub(crate) is_harmless: bool,
}

type Finish<T> = Box<dyn FnOnce(Result<T>, &[String]) -> Ending>;

/// A job that runs.
pub(crate) struct Running<T> {
    name: &'static str,
    about: Vec<String>,
    stop: Stop,
    asking: bool,
    task: Task<T>,
    finish: Option<Finish<T>>,
}

impl<T: Send + 'static> Running<T> {
    /// Starts a job; `finish` says at the end how it went, with what it has
    /// told on the way.
    pub(crate) fn new(
        name: &'static str,
        about: &[String],
        stop: Stop,
        work: impl FnOnce(&Cancel, &dyn Progress) -> Result<T> + Send + 'static,
        finish: impl FnOnce(Result<T>, &[String]) -> Ending + 'static,
    ) -> Self {
        let task = Task::start(work);
        let finish: Finish<T> = Box::new(finish);
        Self { name, about: about.to_vec(), stop, asking: false, task, finish: Some(finish) }
    }

    /// How the job ended; none the second time.
    fn end(&mut self, result: Result<T>) -> Option<Ending> {
        let notices = self.task.notices();
        self.finish.take().map(|finish| finish(result, &notices))
    }
}

/// "12.3 GiB of 120 GiB   210 MiB/s   8:32 left"
fn numbers(now: &Snapshot) -> String {
    let mut text = format!("{} of {}", human(now.done), human(now.total));
    if let Some(speed) = now.speed {
        text.push_str(&format!("   {}/s", human(speed as u64)));
    }
    text.push_str(&match now.left {
        Some(left) => format!("   about {} left", in_words(left)),
        None => format!("   {} so far", clock(now.elapsed)),
    });
    text
}

/// "2 h 10 min", "8 min", "40 s": not more exact than it can be known.
fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds @ 100..6000 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

impl<T: Send + 'static> Screen for Running<T> {
    fn title(&self) -> String {
        format!("{} > running", self.name)
    }

    fn hints(&self) -> Vec<Hint> {
        if self.asking { vec![("Y", "stop it"), ("N", "go on")] } else { vec![("Esc", "stop")] }
    }

    fn draw(&mut self, area: Rect, buffer: &mut Buffer, look: &Look) -> Option<Position> {
        let width = usize::from(area.width);
        let now = self.task.snapshot();
        let mut page = Page::default();
        for line in &self.about {
            page.row(Tone::Plain, line);
        }
        let stage = if now.stage.is_empty() { "at work" } else { &now.stage };
        let stage = sentence(stage);
        let stage = stage.trim_end_matches('.');
        page.blank();
        if now.total > 0 {
            page.row(Tone::Strong, format!("{stage} {:.0} %", now.part() * 100.0));
            page.row(Tone::Plain, gauge(now.part(), width.min(78), look));
            page.row(Tone::Plain, numbers(&now));
            page.row(Tone::Plain, short(&now.current, width));
        } else {
            let time = clock(now.elapsed);
            page.row(Tone::Strong, format!("{stage} ... {time}"));
        }
        if now.unreadable.ranges > 0 {
            page.add(
                Tone::Warning,
                format!(
                    "{} in {} places cannot be read",
                    human(now.unreadable.bytes),
                    now.unreadable.ranges
                ),
            );
        }
        if now.different.ranges > 0 {
            page.add(
                Tone::Warning,
                format!(
                    "{} in {} places differ so far",
                    human(now.different.bytes),
                    now.different.ranges
                ),
            );
        }
        if self.task.is_finishing() {
            page.blank().text("The last steps are made; they cannot be stopped.");
        } else if self.task.is_cancelled() {
            page.blank().text("It is being stopped ...");
        } else if self.asking {
            page.blank().add(Tone::Bad, self.stop.question);
            page.add(Tone::Strong, "Y stops it, N goes on.");
        }
        let notices = self.task.notices();
        if !notices.is_empty() {
            page.blank();
        }
        for notice in notices.iter().rev().take(SHOWN_NOTICES).rev() {
            page.add(Tone::Faint, sentence(notice));
        }
        draw_lines(&page.lines(width, look), area, buffer);
        None
    }

    fn key(&mut self, key: Key) -> Next {
        if self.task.is_finishing() || self.task.is_cancelled() {
            return Next::Stay;
        }
        match key {
            Key::Esc | Key::Interrupt if self.asking => self.asking = false,
            Key::Esc | Key::Interrupt if self.stop.is_harmless => self.task.cancel(),
            Key::Esc | Key::Interrupt => self.asking = true,
            _ if self.asking && key.is('y') => {
                self.asking = false;
                self.task.cancel();
            }
            _ if self.asking && key.is('n') => self.asking = false,
            _ => return Next::Stay,
        }
        Next::Draw
    }

    fn tick(&mut self) -> Next {
        let Some(result) = self.task.poll() else { return Next::Draw };
        self.end(result).map_or(Next::Home, |ending| Next::replace(ending.screen()))
    }

    fn stop(&mut self) -> Stopping {
        self.task.cancel();
        match self.task.poll() {
            Some(result) => {
                // Nobody sees it any more, but it is in the log.
                drop(self.end(result));
                Stopping::Stopped
            }
            None if self.task.is_finishing() => Stopping::Finishing,
            None => Stopping::Soon,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::GIB;

    #[test]
    fn numbers_are_said_as_exactly_as_they_are_known() {
        let mut now = Snapshot { done: GIB, total: 4 * GIB, ..Snapshot::default() };
        now.elapsed = Duration::from_secs(7);
        assert_eq!(numbers(&now), "1.00 GiB of 4.00 GiB   0:07 so far");
        now.speed = Some(100.0 * 1024.0 * 1024.0);
        now.left = Some(Duration::from_secs(200));
        assert_eq!(numbers(&now), "1.00 GiB of 4.00 GiB   100 MiB/s   about 4 min left");
        assert_eq!(in_words(Duration::from_secs(7300)), "2 h 1 min");
    }

    #[test]
    fn it_is_stopped_after_a_question_only() {
        let stop = Stop { question: "Stop?", is_harmless: false };
        let mut running = Running::new(
            "Test",
            &[],
            stop,
            |cancel, _| -> Result<()> {
                loop {
                    cancel.check()?;
                    std::thread::sleep(Duration::from_millis(1));
                }
            },
            |result, _| Ending::of_error(&result.unwrap_err()),
        );
        running.key(Key::Esc);
        assert!(running.asking && !running.task.is_cancelled());
        running.key(Key::Letter('n'));
        assert!(!running.asking && !running.task.is_cancelled());
        running.key(Key::Letter('y'));
        assert!(!running.task.is_cancelled());
        running.key(Key::Interrupt);
        running.key(Key::Letter('y'));
        assert!(running.task.is_cancelled());
        let ended = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(2));
            matches!(running.tick(), Next::Replace(_))
        });
        assert!(ended);
    }

    #[test]
    fn what_ends_while_the_program_ends_is_logged() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let stop = Stop { question: "Stop?", is_harmless: false };
        let mut running = Running::new(
            "Test",
            &[],
            stop,
            |_, _| Ok(7),
            move |result, _| {
                let _ = sender.send(result.unwrap());
                Ending::new(Tone::Good, "Done.")
            },
        );
        let stopped = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(2));
            running.stop() == Stopping::Stopped
        });
        assert!(stopped);
        assert_eq!(receiver.try_recv(), Ok(7));
    }
}

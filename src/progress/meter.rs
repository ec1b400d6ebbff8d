// SPDX-License-Identifier: MIT OR Apache-2.0
//! How far a job is, how fast it goes, and how long it will take.
//!
//! The speed is that of the last ten seconds: an average over the whole run
//! would hide a disk that has become slow, and one over a moment jumps. No
//! clock in here: every call is told the time, so that tests can tell it, too.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::extent::Extent;

/// The time over which the speed is taken.
const WINDOW: Duration = Duration::from_secs(10);
/// The distance of two samples.
const STEP: Duration = Duration::from_millis(250);
/// No speed is told before that much is known.
const ENOUGH: Duration = Duration::from_secs(1);

/// A number of ranges and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many ranges.
    pub ranges: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Tally {
    const fn add(&mut self, extent: Extent) {
        self.ranges = self.ranges.saturating_add(1);
        self.bytes = self.bytes.saturating_add(extent.len());
    }
}

/// What a listener shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// What is being done: "saving".
    pub stage: String,
    /// Where the job is: "partition 2, ext4".
    pub current: String,
    /// Bytes of this stage that are done.
    pub done: u64,
    /// Bytes of this stage.
    pub total: u64,
    /// Since the job began.
    pub elapsed: Duration,
    /// Bytes a second.
    pub speed: Option<f64>,
    /// Until this stage ends.
    pub left: Option<Duration>,
    /// What could not be read.
    pub unreadable: Tally,
    /// What differs.
    pub different: Tally,
}

impl Snapshot {
    /// The part that is done, from 0 to 1.
    #[must_use]
    pub fn part(&self) -> f64 {
        if self.total == 0 {
            return 0.0;
        }
        (self.done as f64 / self.total as f64).min(1.0)
    }
}

/// Keeps the counts of a running job.
#[derive(Debug)]
pub struct Meter {
    began: Instant,
    now: Snapshot,
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { began: now, now: Snapshot::default(), samples: VecDeque::from([(now, 0)]) }
    }

    /// A new stage; what was lost so far stays counted.
    pub fn stage(&mut self, name: &str, total: u64, now: Instant) {
        name.clone_into(&mut self.now.stage);
        self.now.current.clear();
        self.now.done = 0;
        self.now.total = total;
        self.samples = VecDeque::from([(now, 0)]);
    }

    /// So many bytes more are done.
    pub fn advance(&mut self, bytes: u64, now: Instant) {
        self.now.done = self.now.done.saturating_add(bytes);
        self.sample(now);
    }

    /// Where the job is.
    pub fn position(&mut self, text: &str) {
        text.clone_into(&mut self.now.current);
    }

    /// A range that could not be read.
    pub const fn unreadable(&mut self, extent: Extent) {
        self.now.unreadable.add(extent);
    }

    /// A range that differs.
    pub const fn different(&mut self, extent: Extent) {
        self.now.different.add(extent);
    }

    fn sample(&mut self, now: Instant) {
        let due = self.samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= STEP);
        if due {
            self.samples.push_back((now, self.now.done));
        }
        // The oldest sample is the last one that is not younger than the
        // window, so that the window is always covered.
        while self.samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// What is to be shown now.
    pub fn snapshot(&mut self, now: Instant) -> Snapshot {
        self.sample(now);
        let mut snapshot = self.now.clone();
        snapshot.elapsed = now.duration_since(self.began);
        if let Some((at, done)) = self.samples.front() {
            let time = now.duration_since(*at);
            if time >= ENOUGH {
                let speed = (self.now.done - done) as f64 / time.as_secs_f64();
                let rest = self.now.total.saturating_sub(self.now.done) as f64;
                snapshot.speed = Some(speed);
                // A stalled disk has no time left that could be named, and a
                // time beyond a year says nothing.
                snapshot.left = Some(rest / speed)
                    .filter(|left| left.is_finite() && *left < 31_536_000.0)
                    .map(Duration::from_secs_f64);
            }
        }
        snapshot
    }
}

/// "0:07", "12:34", "1:02:03".
#[must_use]
pub fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::MIB;

    #[test]
    fn speed_and_time_left_are_those_of_the_last_ten_seconds() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.stage("saving", 1000 * MIB, start);
        let mut now = start;
        // 20 seconds at 20 MiB/s, then 20 seconds at 5 MiB/s.
        for tenth in 0..400 {
            now += Duration::from_millis(100);
            let per_second = if tenth < 200 { 20 } else { 5 };
            meter.advance(per_second * MIB / 10, now);
            if tenth == 199 {
                let speed = meter.snapshot(now).speed.unwrap() / MIB as f64;
                assert!((19.5..20.5).contains(&speed), "{speed}");
            }
        }
        let snapshot = meter.snapshot(now);
        let speed = snapshot.speed.unwrap() / MIB as f64;
        assert!((4.9..5.2).contains(&speed), "{speed}");
        // 500 MiB are left.
        let left = snapshot.left.unwrap().as_secs();
        assert!((96..=102).contains(&left), "{left}");
        assert!((snapshot.part() - 0.5).abs() < 0.001);
        assert_eq!(snapshot.elapsed, Duration::from_secs(40));
    }

    #[test]
    fn a_stalled_disk_has_no_speed_and_no_time_left() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.stage("saving", 100, start);
        meter.advance(50, start + Duration::from_secs(1));
        let snapshot = meter.snapshot(start + Duration::from_secs(60));
        assert_eq!(snapshot.speed, Some(0.0));
        assert_eq!(snapshot.left, None);
    }

    #[test]
    fn nothing_is_guessed_in_the_first_second() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.stage("saving", 100, start);
        meter.advance(10, start + Duration::from_millis(10));
        assert_eq!(meter.snapshot(start + Duration::from_millis(900)).speed, None);
    }

    #[test]
    fn a_stage_starts_at_zero_but_losses_are_kept() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.stage("saving", 100, start);
        meter.advance(100, start + Duration::from_secs(5));
        meter.unreadable(Extent::at(0, 512));
        meter.unreadable(Extent::at(4096, 1024));
        meter.stage("verifying", 300, start + Duration::from_secs(5));
        let snapshot = meter.snapshot(start + Duration::from_secs(7));
        assert_eq!((snapshot.done, snapshot.total), (0, 300));
        assert_eq!(snapshot.unreadable, Tally { ranges: 2, bytes: 1536 });
        assert_eq!(snapshot.elapsed, Duration::from_secs(7));
    }

    #[test]
    fn memory_does_not_grow_with_time() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.stage("saving", u64::MAX, start);
        for second in 0..10_000 {
            meter.advance(1, start + Duration::from_millis(second * 20));
        }
        assert!(meter.samples.len() <= 50, "{}", meter.samples.len());
    }

    #[test]
    fn no_number_breaks_it() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        assert_eq!(meter.snapshot(start).part(), 0.0);
        meter.stage("saving", 10, start);
        meter.advance(u64::MAX, start);
        meter.advance(u64::MAX, start + Duration::from_secs(2));
        assert_eq!(meter.snapshot(start + Duration::from_secs(3)).part(), 1.0);
    }

    #[test]
    fn times_read_like_a_clock() {
        assert_eq!(clock(Duration::from_millis(7900)), "0:07");
        assert_eq!(clock(Duration::from_secs(754)), "12:34");
        assert_eq!(clock(Duration::from_secs(3723)), "1:02:03");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The table of contents of a disc: tracks, sessions, and where they end.
//!
//! Specification: MMC-6, "READ TOC/PMA/ATIP command"; the control field is
//! that of the Q subchannel (IEC 60908). Addresses are numbers of sectors of
//! the disc, of which the first that can be read by everybody is 0.

use serde::{Deserialize, Serialize};

use crate::ondisk::Fields;

/// Sectors in front of sector 0: addresses in minutes, seconds and frames
/// count from there.
const LEAD_IN: u32 = 150;

/// The end of what a disc has, of a track that is one.
const LEAD_OUT: u8 = 0xa2;

/// A track of a disc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Its number, from 1.
    pub number: u8,
    /// The session it belongs to, from 1.
    pub session: u8,
    /// Its first sector.
    pub start: u32,
    /// The control field: 1 pre-emphasis, 2 copying permitted, 4 data,
    /// 8 four channels.
    pub control: u8,
}

impl Track {
    /// True for data, false for sound.
    #[must_use]
    pub const fn is_data(&self) -> bool {
        self.control & 4 != 0
    }
}

/// A session: what was written to a disc at one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its number, from 1.
    pub number: u8,
    /// Its first sector.
    pub start: u32,
    /// The sector behind its last track.
    pub lead_out: u32,
}

/// The table of contents of a disc.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Toc {
    /// The tracks by number.
    pub tracks: Vec<Track>,
    /// The sessions by number, as far as the drive tells.
    pub sessions: Vec<Session>,
    /// The sector behind the last track of all.
    pub lead_out: u32,
}

impl Toc {
    /// Reads the answer to READ TOC with format 2, the full table. None if it
    /// makes no sense.
    #[must_use]
    pub fn of_full(answer: &[u8]) -> Option<Self> {
        const DESCRIPTOR: usize = 11;
        let len = usize::from(answer.u16_be(0)?).checked_add(2)?.min(answer.len());
        let mut toc = Self::default();
        for descriptor in answer.get(4..len)?.chunks_exact(DESCRIPTOR) {
            let (session, adr_control) = (descriptor.u8_at(0)?, descriptor.u8_at(1)?);
            if adr_control >> 4 != 1 {
                continue;
            }
            let [minute, second, frame] = descriptor.array::<3>(8)?;
            let address = sector_of(minute, second, frame);
            match descriptor.u8_at(3)? {
                number @ 1..=99 => toc.tracks.push(Track {
                    number,
                    session,
                    start: address?,
                    control: adr_control & 0x0f,
                }),
                LEAD_OUT => {
                    toc.sessions.push(Session { number: session, start: 0, lead_out: address? });
                }
                _ => {}
            }
        }
        toc.settle()
    }

    /// A table made of what the kernel tells of each track, which has no
    /// sessions; the last begins at `last_session`, if there are several.
    #[must_use]
    pub fn of_tracks(tracks: Vec<Track>, lead_out: u32, last_session: Option<u32>) -> Option<Self> {
        let mut sessions = vec![Session { number: 1, start: 0, lead_out }];
        let mut tracks = tracks;
        if let Some(start) = last_session {
            // What is between the two is not known; there may be others, too.
            sessions[0].lead_out = start;
            sessions.push(Session { number: 2, start, lead_out });
            for track in &mut tracks {
                track.session = if track.start >= start { 2 } else { 1 };
            }
        }
        Self { tracks, sessions, lead_out }.settle()
    }

    /// In order, with the start of each session; None if it contradicts itself.
    fn settle(mut self) -> Option<Self> {
        self.tracks.sort_by_key(|track| track.number);
        self.tracks.dedup_by_key(|track| track.number);
        self.sessions.sort_by_key(|session| session.number);
        self.sessions.dedup_by_key(|session| session.number);
        let in_order = |starts: &[u32]| starts.is_sorted_by(|a, b| a < b);
        let starts: Vec<u32> = self.tracks.iter().map(|track| track.start).collect();
        for session in &mut self.sessions {
            let mut of_it = self.tracks.iter().filter(|track| track.session == session.number);
            session.start = of_it.next()?.start;
        }
        let ends: Vec<u32> = self.sessions.iter().map(|session| session.lead_out).collect();
        self.lead_out = ends.last().copied()?;
        let fits = self.tracks.iter().all(|track| {
            self.sessions.iter().any(|it| it.number == track.session && track.start < it.lead_out)
        });
        (!starts.is_empty() && in_order(&starts) && in_order(&ends) && fits).then_some(self)
    }

    /// The sector behind a track: the next one of its session, or the end of
    /// that.
    #[must_use]
    pub fn end_of(&self, track: &Track) -> u32 {
        let next =
            self.tracks.iter().find(|it| it.number > track.number && it.session == track.session);
        let session = self.sessions.iter().find(|session| session.number == track.session);
        next.map(|next| next.start)
            .or_else(|| session.map(|session| session.lead_out))
            .unwrap_or(self.lead_out)
    }

    /// What lies between the sessions: lead-out and lead-in, which nobody can
    /// read; in sectors, from and behind.
    #[must_use]
    pub fn gaps(&self) -> Vec<(u32, u32)> {
        self.sessions
            .windows(2)
            .filter_map(|pair| {
                let (end, start) = (pair[0].lead_out, pair[1].start);
                (end < start).then_some((end, start))
            })
            .collect()
    }

    /// The first sector of the last session, if there are several.
    #[must_use]
    pub fn last_session(&self) -> Option<u32> {
        (self.sessions.len() > 1).then(|| self.sessions.last().map(|it| it.start))?
    }

    /// The sector behind the last track with data.
    #[must_use]
    pub fn data_end(&self) -> Option<u32> {
        let last = self.tracks.iter().rev().find(|track| track.is_data())?;
        Some(self.end_of(last))
    }

    /// The tracks with sound.
    #[must_use]
    pub fn audio_tracks(&self) -> usize {
        self.tracks.iter().filter(|track| !track.is_data()).count()
    }
}

/// The sector of an address in minutes, seconds and frames; None in the
/// lead-in.
fn sector_of(minute: u8, second: u8, frame: u8) -> Option<u32> {
    let frames = (u32::from(minute) * 60 + u32::from(second)) * 75 + u32::from(frame);
    frames.checked_sub(LEAD_IN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(number: u8, session: u8, start: u32, control: u8) -> Track {
        Track { number, session, start, control }
    }

    /// A descriptor of the full table: session, control, point, address.
    fn point(session: u8, control: u8, point: u8, sector: u32) -> [u8; 11] {
        let frames = sector + LEAD_IN;
        let [minute, second, frame] = [frames / 4500, frames / 75 % 60, frames % 75];
        let address = [minute, second, frame].map(|part| u8::try_from(part).unwrap());
        let [m, s, f] = address;
        [session, 0x10 | control, 0, point, 0, 0, 0, 0, m, s, f]
    }

    fn full(points: &[[u8; 11]]) -> Vec<u8> {
        let len = u16::try_from(points.len() * 11 + 2).unwrap();
        let mut answer = len.to_be_bytes().to_vec();
        answer.extend([1, 2]);
        answer.extend(points.iter().flatten());
        answer
    }

    /// Ten songs and, in a session of its own, data: a disc as bands sold them.
    fn enhanced() -> Vec<[u8; 11]> {
        vec![
            point(1, 0, 0xa0, 0),
            point(1, 0, 1, 0),
            point(1, 0, 2, 15_000),
            point(1, 0, 0xa2, 30_000),
            point(2, 4, 3, 41_400),
            point(2, 4, 0xa2, 60_000),
        ]
    }

    #[test]
    fn a_full_table_has_tracks_sessions_and_the_gap_between_them() {
        let toc = Toc::of_full(&full(&enhanced())).unwrap();
        assert_eq!(toc.tracks, [track(1, 1, 0, 0), track(2, 1, 15_000, 0), track(3, 2, 41_400, 4)]);
        assert_eq!(toc.lead_out, 60_000);
        assert_eq!(toc.gaps(), [(30_000, 41_400)]);
        assert_eq!((toc.last_session(), toc.data_end()), (Some(41_400), Some(60_000)));
        assert_eq!((toc.audio_tracks(), toc.end_of(&toc.tracks[1])), (2, 30_000));
    }

    #[test]
    fn an_ordinary_disc_has_one_track_and_no_gap() {
        let toc = Toc::of_full(&full(&[point(1, 4, 1, 0), point(1, 4, 0xa2, 333_000)])).unwrap();
        assert_eq!((toc.gaps(), toc.last_session(), toc.data_end()), (vec![], None, Some(333_000)));
        let same = Toc::of_tracks(vec![track(1, 1, 0, 4)], 333_000, None).unwrap();
        assert_eq!(same, toc);
    }

    #[test]
    fn the_kernel_knows_where_the_last_session_begins() {
        let tracks = vec![track(1, 1, 0, 4), track(2, 1, 20_000, 4)];
        let toc = Toc::of_tracks(tracks, 30_000, Some(20_000)).unwrap();
        assert_eq!((toc.tracks[1].session, toc.last_session()), (2, Some(20_000)));
        assert_eq!(toc.end_of(&toc.tracks[0]), 20_000);
    }

    #[test]
    fn a_table_that_makes_no_sense_is_none() {
        let good = full(&enhanced());
        for len in 0..good.len() {
            let _ = Toc::of_full(&good[..len]);
        }
        for (place, byte) in (0..good.len()).flat_map(|at| [(at, 0), (at, 0xff), (at, 0x63)]) {
            let mut answer = good.clone();
            answer[place] = byte;
            if let Some(toc) = Toc::of_full(&answer) {
                assert!(toc.tracks.iter().all(|track| toc.end_of(track) > track.start), "{toc:?}");
            }
        }
        assert_eq!(Toc::of_full(&[]), None);
        assert_eq!(Toc::of_tracks(vec![], 100, None), None);
        assert_eq!(Toc::of_tracks(vec![track(1, 1, 200, 4)], 100, None), None);
        assert_eq!(Toc::of_tracks(vec![track(1, 1, 5, 4), track(2, 1, 5, 4)], 100, None), None);
    }
}

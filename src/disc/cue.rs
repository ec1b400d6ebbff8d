// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sheet beside a raw copy that says where its tracks are, as cdrdao,
//! cdemu and most burning programs read it.
//!
//! The file begins with sector 0 of the disc and leaves nothing out, so that the
//! place of a track in it is its place on the disc.

use std::fmt::Write as _;

use crate::device::{Toc, Track};

/// The sheet for a file named `file`; `mode` is asked for the mode of tracks
/// with data.
#[must_use]
pub fn sheet(file: &str, toc: &Toc, mode: impl Fn(&Track) -> u8) -> String {
    // A quote ends the name for every reader.
    let mut text = format!("FILE \"{}\" BINARY\n", file.replace(['"', '\n', '\r'], "_"));
    let mut session = 1;
    for track in &toc.tracks {
        if track.session != session {
            if let Some(before) = toc.sessions.iter().find(|it| it.number == session) {
                let _ = writeln!(text, "  REM LEAD-OUT {}", time(before.lead_out));
            }
            session = track.session;
            let _ = writeln!(text, "  REM SESSION {session:02}");
        }
        let kind =
            if !track.is_data() { "AUDIO".to_owned() } else { format!("MODE{}/2352", mode(track)) };
        let _ = writeln!(text, "  TRACK {:02} {kind}", track.number);
        let flags: Vec<&str> = [(2, "DCP"), (8, "4CH"), (1, "PRE")]
            .iter()
            .filter(|(bit, _)| {
                let is_for_sound = *bit != 2;
                track.control & bit != 0 && !(track.is_data() && is_for_sound)
            })
            .map(|(_, flag)| *flag)
            .collect();
        if !flags.is_empty() {
            let _ = writeln!(text, "    FLAGS {}", flags.join(" "));
        }
        let _ = writeln!(text, "    INDEX 01 {}", time(track.start));
    }
    text
}

/// A place in the file: minutes, seconds and frames from its start.
fn time(sector: u32) -> String {
    format!("{:02}:{:02}:{:02}", sector / 4500, sector / 75 % 60, sector % 75)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_names_every_track_and_where_it_begins() {
        let tracks = vec![
            Track { number: 1, session: 1, start: 0, control: 4 },
            Track { number: 2, session: 1, start: 4500 + 75 + 3, control: 2 },
            Track { number: 3, session: 2, start: 30_000, control: 6 },
        ];
        let toc = Toc::of_tracks(tracks, 40_000, Some(30_000)).unwrap();
        assert_eq!(
            sheet("a\"b.bin", &toc, |_| 1),
            "FILE \"a_b.bin\" BINARY\n\
             \x20 TRACK 01 MODE1/2352\n    INDEX 01 00:00:00\n\
             \x20 TRACK 02 AUDIO\n    FLAGS DCP\n    INDEX 01 01:01:03\n\
             \x20 REM LEAD-OUT 06:40:00\n\
             \x20 REM SESSION 02\n\
             \x20 TRACK 03 MODE1/2352\n    FLAGS DCP\n    INDEX 01 06:40:00\n"
        );
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The mapfile of GNU ddrescue: which bytes of a drive were read, which were
//! not, and where a rescue goes on.
//!
//! Text: comments, a line with the state of the rescue, a line for each block.
//! Blocks follow each other without gaps. Numbers are those of C: decimal,
//! `0x` hexadecimal, `0` octal. (Manual of GNU ddrescue 1.27, "Mapfile
//! structure".) A mapfile may come from anywhere, so that lines and blocks are
//! bounded.

use std::io::{BufRead, Read, Write};

use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::image::format::MAX_MAP_RANGES;

/// The longest line; ddrescue writes a whole command line into a comment.
const MAX_LINE: u64 = 64 << 10;
/// The most blocks: 288 MiB of memory. What is in use of a drive has up to
/// [`MAX_MAP_RANGES`] ranges, with as many between them, and bad places divide
/// them further.
const MAX_BLOCKS: usize = 3 * MAX_MAP_RANGES as usize;
const _: () = assert!(MAX_BLOCKS > 2 * MAX_MAP_RANGES as usize);
/// How many comments are kept.
const MAX_COMMENTS: usize = 64;
/// The last position there can be, as in C.
const MAX_POSITION: u64 = i64::MAX as u64;

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Not read yet.
    NonTried,
    /// A large read of it has failed; its edges come next.
    NonTrimmed,
    /// Between two bad sectors; to be read sector by sector.
    NonScraped,
    /// Sectors that cannot be read.
    Bad,
    /// It is there.
    Finished,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::NonTried, Self::NonTrimmed, Self::NonScraped, Self::Bad, Self::Finished];

    /// The character that stands for it.
    #[must_use]
    pub const fn symbol(self) -> char {
        match self {
            Self::NonTried => '?',
            Self::NonTrimmed => '*',
            Self::NonScraped => '/',
            Self::Bad => '-',
            Self::Finished => '+',
        }
    }

    fn of(text: &str) -> Option<Self> {
        let mut letters = text.chars();
        let letter = letters.next().filter(|_| letters.next().is_none())?;
        Self::ALL.into_iter().find(|status| status.symbol() == letter)
    }
}

/// What a rescue is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading what was not tried.
    Copying,
    /// Reading the edges of what has failed.
    Trimming,
    /// Reading the rest of it.
    Scraping,
    /// Reading bad sectors once more.
    Retrying,
    /// Filling blocks with data, which ddrescue can do.
    Filling,
    /// Guessing a map, which ddrescue can do.
    Generating,
    /// It is over.
    Finished,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 7] = [
        Self::Copying,
        Self::Trimming,
        Self::Scraping,
        Self::Retrying,
        Self::Filling,
        Self::Generating,
        Self::Finished,
    ];

    /// The character that stands for it.
    #[must_use]
    pub const fn symbol(self) -> char {
        match self {
            Self::Copying => '?',
            Self::Trimming => '*',
            Self::Scraping => '/',
            Self::Retrying => '-',
            Self::Filling => 'F',
            Self::Generating => 'G',
            Self::Finished => '+',
        }
    }

    fn of(text: &str) -> Option<Self> {
        let mut letters = text.chars();
        let letter = letters.next().filter(|_| letters.next().is_none())?;
        Self::ALL.into_iter().find(|phase| phase.symbol() == letter)
    }
}

/// Bytes with one status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The bytes.
    pub extent: Extent,
    /// What became of them.
    pub status: Status,
}

/// A mapfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapfile {
    /// The comments at its head, without their `#`.
    pub comments: Vec<String>,
    /// The byte that is being read; of a pass backwards, the end of that block.
    pub position: u64,
    /// What is being done.
    pub phase: Phase,
    /// The pass of this phase, from 1 on.
    pub pass: u32,
    /// The blocks, in ascending order and without gaps.
    pub blocks: Vec<Block>,
}

impl Mapfile {
    /// Reads a mapfile.
    ///
    /// # Errors
    /// Damaged if it is none or contradicts itself; unsupported if it has too
    /// many blocks; and what reading gives.
    pub fn read(input: impl BufRead) -> Result<Self> {
        Self::read_within(input, MAX_BLOCKS)
    }

    fn read_within(mut input: impl BufRead, most: usize) -> Result<Self> {
        let mut map = Self {
            comments: Vec::new(),
            position: 0,
            phase: Phase::Copying,
            pass: 1,
            blocks: Vec::new(),
        };
        let (mut has_status, mut number, mut line) = (false, 0_u64, Vec::new());
        loop {
            line.clear();
            number += 1;
            let read = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
            let read = read.context(|| "reading the mapfile".into())?;
            if read == 0 {
                break;
            }
            let damaged = |what: &str| Error::damaged(format!("line {number} {what}"));
            if read as u64 == MAX_LINE {
                return Err(damaged("is too long"));
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            if let Some(comment) = text.strip_prefix('#') {
                if !has_status && map.comments.len() < MAX_COMMENTS {
                    map.comments.push(comment.trim().to_owned());
                }
                continue;
            }
            let words: Vec<&str> =
                text.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
            match words.as_slice() {
                [] => {}
                [position, phase, pass @ ..] if !has_status => {
                    has_status = true;
                    map.position =
                        number_of(position).ok_or_else(|| damaged("has no current position"))?;
                    map.phase = Phase::of(phase).ok_or_else(|| damaged("has no known status"))?;
                    // ddrescue before 1.23 wrote no pass.
                    map.pass = match pass {
                        [] => 1,
                        [pass] => pass.parse().map_err(|_| damaged("has no number of a pass"))?,
                        _ => return Err(damaged("is no status")),
                    };
                }
                [start, len, status] if has_status => {
                    let block =
                        block_of(start, len, status).ok_or_else(|| damaged("is no block"))?;
                    let end = map.blocks.last().map(|last| last.extent.end());
                    if end.is_some_and(|end| end != block.extent.start()) {
                        return Err(damaged("does not follow the block before it"));
                    }
                    map.push(block);
                    if map.blocks.len() > most {
                        return Err(Error::unsupported(format!(
                            "the mapfile has more than {most} blocks"
                        )));
                    }
                }
                _ => return Err(damaged("is no line of a mapfile")),
            }
        }
        if !has_status {
            return Err(Error::damaged("there is no line with the state of the rescue"));
        }
        Ok(map)
    }

    /// Adds a block, which is joined to the last one if it has its status.
    pub fn push(&mut self, block: Block) {
        if block.extent.is_empty() {
            return;
        }
        match self.blocks.last_mut() {
            Some(last)
                if last.status == block.status && last.extent.end() == block.extent.start() =>
            {
                last.extent = Extent::new(last.extent.start(), block.extent.end());
            }
            _ => self.blocks.push(block),
        }
    }

    /// The byte behind the last block.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.blocks.last().map_or(0, |last| last.extent.end())
    }

    /// Writes it as ddrescue does.
    ///
    /// # Errors
    /// What writing gives.
    pub fn write(&self, mut out: impl Write) -> std::io::Result<()> {
        for comment in &self.comments {
            // A line of its own, whatever is in it.
            writeln!(out, "# {}", comment.replace(['\n', '\r'], " "))?;
        }
        writeln!(out, "# current_pos  current_status  current_pass")?;
        writeln!(
            out,
            "0x{:08X}     {}               {}",
            self.position,
            self.phase.symbol(),
            self.pass
        )?;
        writeln!(out, "#      pos        size  status")?;
        for Block { extent, status } in &self.blocks {
            let symbol = status.symbol();
            writeln!(out, "0x{:08X}  0x{:08X}  {symbol}", extent.start(), extent.len())?;
        }
        out.flush()
    }
}

fn block_of(start: &str, len: &str, status: &str) -> Option<Block> {
    let (start, len) = (number_of(start)?, number_of(len)?);
    let end = start.checked_add(len).filter(|end| *end <= MAX_POSITION)?;
    Some(Block { extent: Extent::new(start, end), status: Status::of(status)? })
}

/// A number as C writes it.
fn number_of(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => match text.strip_prefix('0') {
            Some(digits) if !digits.is_empty() => (digits, 8),
            _ => (text, 10),
        },
    };
    // `from_str_radix` takes a sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok().filter(|number| *number <= MAX_POSITION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const EXAMPLE: &str = "\
# Mapfile. Created by GNU ddrescue version 1.27
# Command line: ddrescue -d -c18 /dev/fd0 fdimage mapfile
# current_pos  current_status  current_pass
0x00120000     ?               1
#      pos        size  status
0x00000000  0x00117000  +
0x00117000  0x00000200  -
0x00117200  0x00001000  /
0x00118200  0x00007E00  *
0x00120000  0x00048000  ?
";

    fn read(text: &str) -> Result<Mapfile> {
        Mapfile::read(text.as_bytes())
    }

    #[test]
    fn what_ddrescue_writes_is_read_and_written_back() {
        let map = read(EXAMPLE).unwrap();
        assert_eq!((map.position, map.phase, map.pass), (0x12_0000, Phase::Copying, 1));
        assert_eq!(map.comments.len(), 3);
        assert_eq!(map.end(), 0x16_8000);
        let statuses: Vec<Status> = map.blocks.iter().map(|block| block.status).collect();
        assert_eq!(
            statuses,
            [
                Status::Finished,
                Status::Bad,
                Status::NonScraped,
                Status::NonTrimmed,
                Status::NonTried
            ]
        );
        let without_last = Mapfile { comments: map.comments[..2].to_vec(), ..map };
        let mut written = Vec::new();
        without_last.write(&mut written).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), EXAMPLE);
    }

    #[test]
    fn numbers_and_comments_are_those_that_people_write_too() {
        let map = read("# a\n 16 + # done\n\n0 010 +\n8\t0x8 +  # more\n16 4 -\n").unwrap();
        assert_eq!((map.position, map.phase, map.pass), (16, Phase::Finished, 1));
        let extents: Vec<Extent> = map.blocks.iter().map(|block| block.extent).collect();
        assert_eq!(extents, [Extent::new(0, 16), Extent::new(16, 20)]);
    }

    #[test]
    fn what_is_no_mapfile_is_refused() {
        for (text, what) in [
            ("", "no line with the state"),
            ("# only a comment\n", "no line with the state"),
            ("0 ? 1\n0 10 +\n20 10 +\n", "line 3 does not follow"),
            ("0 ? 1\n0 10 +\n5 10 +\n", "line 3 does not follow"),
            ("0 ? 1\n0 10 x\n", "line 2 is no block"),
            ("0 ? 1\n0 +10 +\n", "line 2 is no block"),
            ("0 ? 1\n0 0x +\n", "line 2 is no block"),
            ("0 ? 1\n0 0x8000000000000000 +\n", "line 2 is no block"),
            ("0 ? 1\n1 0x7fffffffffffffff +\n", "line 2 is no block"),
            ("0 ?? 1\n", "line 1 has no known status"),
            ("x ? 1\n", "line 1 has no current position"),
            ("0 ? -1\n", "line 1 has no number of a pass"),
            ("0 ? 1 2\n", "line 1 is no status"),
            ("0 ? 1\n0 10\n", "line 2 is no line"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{text:?}");
            assert!(error.to_string().contains(what), "{text:?}: {error}");
        }
        let long = "0 ? 1\n#".to_owned() + &"x".repeat(MAX_LINE as usize) + "\n0 10 +\n";
        assert!(read(&long).unwrap_err().to_string().contains("too long"));
        let many = "0 ? 1\n0 1 +\n1 1 -\n2 1 +\n3 1 -\n";
        let error = Mapfile::read_within(many.as_bytes(), 3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

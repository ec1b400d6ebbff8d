// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is the disc in a drive the one that a file was read from? Labels and
//! descriptors can be the same on two discs, and some have none: sectors that
//! both have are compared.

use super::copy::Shape;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::pipeline::Cancel;

/// How many sectors are compared, spread over all that are there.
const MOST: u64 = 64;
/// After so many that the drive cannot read, it is asked for no more: each of
/// them can take half a minute.
const MOST_FAILED: usize = 8;

/// What comparing has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sameness {
    /// Sectors with something in them are the same, or there is nothing that
    /// could be mixed.
    Same,
    /// Nothing could be compared that says something.
    Untold,
    /// This sector differs.
    Differs(u64),
}

/// Compares what is known of a disc with the one in a drive.
///
/// # Errors
/// If either fails in another way than by a bad sector of the drive.
pub(super) fn compare(
    file: &dyn ReadAt,
    there: &ExtentSet,
    drive: &dyn ReadAt,
    shape: &Shape,
    cancel: &Cancel,
) -> Result<Sameness> {
    let size = shape.sector;
    let sectors: ExtentSet = there
        .within(Extent::new(0, file.len().min(drive.len())))
        .map(|it| Extent::new(it.start().div_ceil(size), it.end() / size))
        .filter(|it| !it.is_empty())
        .collect();
    let all = sectors.bytes();
    let (mut is_told, mut failed) = (all == 0 && there.is_empty(), 0);
    let (mut sound, mut first_other) = ((0, 0), None);
    let (mut one, mut two) = (vec![0; size as usize], vec![0; size as usize]);
    for number in 0..MOST.min(all) {
        cancel.check()?;
        let Some(sector) = nth(&sectors, place_of(all, number)) else { break };
        match drive.read_at(sector * size, &mut two) {
            Ok(()) => {}
            Err(error) if error.is_media_error() => {
                failed += 1;
                if failed > MOST_FAILED {
                    break;
                }
                continue;
            }
            Err(error) => return Err(error),
        }
        file.read_at(sector * size, &mut one)?;
        let is_sound = shape.sound.touches(Extent::at(sector * size, size));
        if is_sound {
            sound.0 += 1;
        }
        if one != two {
            if !is_sound {
                return Ok(Sameness::Differs(sector));
            }
            sound.1 += 1;
            first_other.get_or_insert(sector);
            continue;
        }
        // What is blank is so on every disc.
        is_told |= all <= MOST && failed == 0 && number + 1 == all;
        is_told |= one.iter().any(|byte| *byte != one[0]);
    }
    // Sound has no checksums: a scratch may give other bytes each time. From
    // another drive all of it may come shifted.
    if let Some(sector) = first_other.filter(|_| sound.1 * 2 > sound.0) {
        return Ok(Sameness::Differs(sector));
    }
    Ok(if is_told { Sameness::Same } else { Sameness::Untold })
}

/// An error unless a file that was begun is of the disc in the drive; `is_known`
/// if something else than its sectors says so.
///
/// # Errors
/// Refused.
pub(super) fn check(shown: &str, found: Sameness, is_known: bool) -> Result<()> {
    match found {
        Sameness::Same => Ok(()),
        Sameness::Differs(sector) => Err(Error::refused(format!(
            "{shown} was read from another disc: sector {sector} differs"
        ))
        .hint("put that disc in, or choose another name")),
        Sameness::Untold if is_known => Ok(()),
        Sameness::Untold => Err(untold(shown)),
    }
}

/// Nothing says whether two discs are the same.
pub(super) fn untold(shown: &str) -> Error {
    Error::refused(format!("nothing tells whether {shown} is of the same disc"))
        .hint("what was read there cannot be read here; clean the disc, or use another drive")
}

/// The place of a sample among so many sectors.
const fn place_of(all: u64, number: u64) -> u64 {
    if all <= MOST { number } else { (all as u128 * number as u128 / MOST as u128) as u64 }
}

/// The sector of a set that has so many in front of it.
fn nth(sectors: &ExtentSet, mut number: u64) -> Option<u64> {
    for extent in sectors.iter() {
        if number < extent.len() {
            return Some(extent.start() + number);
        }
        number -= extent.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disc::volume::SECTOR;
    use crate::io::Memory;

    fn look(one: &[u8], two: &[u8], there: &[(u64, u64)]) -> Sameness {
        let there: ExtentSet =
            there.iter().map(|(from, to)| Extent::new(from * SECTOR, to * SECTOR)).collect();
        let (one, two) = (Memory::new(one.to_vec()), Memory::new(two.to_vec()));
        let shape = Shape::plain(1000 * SECTOR, ExtentSet::new());
        compare(&one, &there, &two, &shape, &Cancel::default()).unwrap()
    }

    #[test]
    fn sound_that_was_scratched_may_differ_here_and_there() {
        let disc: Vec<u8> = (0..1000 * SECTOR).map(|n| (n % 251) as u8).collect();
        let there = Extent::new(0, 1000 * SECTOR).into();
        let mut shape = Shape::plain(1000 * SECTOR, ExtentSet::new());
        shape.sound.insert(Extent::new(500 * SECTOR, 1000 * SECTOR));
        let look = |changed: std::ops::Range<usize>| {
            let mut other = disc.clone();
            other[changed.start * 2048..changed.end * 2048].iter_mut().for_each(|it| *it ^= 1);
            let (one, two) = (Memory::new(disc.clone()), Memory::new(other));
            compare(&one, &there, &two, &shape, &Cancel::default()).unwrap()
        };
        assert_eq!(look(500..700), Sameness::Same);
        assert_eq!(look(0..0), Sameness::Same);
        assert!(matches!(look(500..1000), Sameness::Differs(500..)));
        assert!(matches!(look(400..450), Sameness::Differs(400..)));
    }

    #[test]
    fn discs_are_the_same_if_what_both_have_is_and_says_something() {
        let disc: Vec<u8> = (0..1000 * SECTOR).map(|n| (n % 251) as u8).collect();
        let (zeros, mut other) = (vec![0; disc.len()], disc.clone());
        assert_eq!(look(&disc, &disc, &[(0, 1000)]), Sameness::Same);
        assert_eq!(look(&disc, &disc[..2048], &[(5, 1000)]), Sameness::Untold);
        assert_eq!(look(&zeros, &zeros, &[(0, 1000)]), Sameness::Untold);
        // Nothing is there that could be mixed, or all of it was compared.
        assert_eq!(look(&zeros, &disc, &[]), Sameness::Same);
        assert_eq!(look(&zeros, &zeros, &[(3, 5), (7, 8)]), Sameness::Same);
        // Wherever the difference begins.
        for first in [0, 1, 500, 980] {
            other.copy_from_slice(&disc);
            other[first * 2048..].iter_mut().for_each(|byte| *byte ^= 1);
            let found = look(&disc, &other, &[(0, 400), (450, 1000)]);
            assert!(matches!(found, Sameness::Differs(at) if at >= first as u64), "{found:?}");
        }
        assert_eq!(look(&disc, &other, &[(0, 980)]), Sameness::Same);
    }
}

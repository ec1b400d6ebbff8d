// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is the disc in a drive the one that a file was read from? Labels and
//! descriptors can be the same on two discs, and some have none: sectors that
//! both have are compared.

use super::copy::Shape;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::pipeline::Cancel;

/// How many sectors with data are compared, spread over all that are there, and
/// how many with sound.
const MOST: u64 = 64;
/// After so many that the drive cannot read, it is asked for no more: each of
/// them can take half a minute.
const MOST_FAILED: usize = 8;
/// As many sectors of sound, a second of it, are looked at in the file for one
/// that is not silent.
const SECOND: u64 = 75;
/// The bytes of a sample of sound: left and right, 16 bits each.
const SAMPLE: usize = 4;

/// What comparing has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sameness {
    /// Sectors with something in them are the same, or there is nothing that
    /// could be mixed.
    Same,
    /// Nothing could be compared that says something.
    Untold,
    /// Sound is missing, and of what is there nothing but silence could be
    /// compared. Drives give sound shifted: whatever else says that it is the
    /// same disc, what they give may not fit together.
    UntoldSound,
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
    let both = there.within(Extent::new(0, file.len().min(drive.len()))).collect::<ExtentSet>();
    let pair = Pair { file, drive, size: shape.sector, cancel };
    let data = pair.samples(&both.subtract(&shape.sound), false)?;
    if let Some(sector) = data.first_other {
        return Ok(Sameness::Differs(sector));
    }
    let sound = pair.samples(&both.intersect(&shape.sound), true)?;
    // Sound has no checksums: a scratch may give other bytes each time. From
    // another drive all of it may come shifted.
    if let Some(sector) = sound.first_other.filter(|_| sound.other > sound.equal) {
        return Ok(Sameness::Differs(sector));
    }
    let missing = shape.gaps.complement(shape.len).subtract(there);
    let is_mixed = there.iter().any(|it| shape.sound.touches(it))
        && missing.iter().any(|it| shape.sound.touches(it));
    if is_mixed && sound.equal == 0 {
        return Ok(Sameness::UntoldSound);
    }
    let is_all = data.is_all && sound.is_all && (!both.is_empty() || there.is_empty());
    let is_told = data.equal > 0 || sound.equal > 0 || is_all && sound.other == 0;
    Ok(if is_told { Sameness::Same } else { Sameness::Untold })
}

/// A file, and the drive it is compared with.
struct Pair<'a> {
    file: &'a dyn ReadAt,
    drive: &'a dyn ReadAt,
    /// The bytes of a sector.
    size: u64,
    cancel: &'a Cancel,
}

/// What sectors of one kind have shown.
struct Samples {
    /// How many are the same and say something: what is blank is so on every
    /// disc, and silence wherever a drive begins.
    equal: usize,
    /// How many differ, and the first of them.
    other: usize,
    first_other: Option<u64>,
    /// True if no sector was left out.
    is_all: bool,
}

impl Pair<'_> {
    /// Compares sectors spread over a range; of data up to the first difference.
    fn samples(&self, range: &ExtentSet, is_sound: bool) -> Result<Samples> {
        let size = self.size;
        let whole = range.iter().map(|it| (it.start().div_ceil(size), it.end() / size));
        let whole = whole.filter(|(start, end)| start < end);
        let sectors: ExtentSet = whole.map(|(start, end)| Extent::new(start, end)).collect();
        let all = sectors.bytes();
        let (mut one, mut two) = (vec![0; size as usize], vec![0; size as usize]);
        let (mut equal, mut other, mut first_other, mut failed) = (0, 0, None, 0);
        for number in 0..MOST.min(all) {
            self.cancel.check()?;
            let stretch = Extent::new(place_of(all, number), place_of(all, number + 1));
            let Some(sector) = self.sector_of(&sectors, stretch, is_sound, &mut one)? else {
                break;
            };
            match self.drive.read_at(sector * size, &mut two) {
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
            if one != two {
                other += 1;
                first_other.get_or_insert(sector);
                if !is_sound {
                    break;
                }
            } else if says_something(&one, is_sound) {
                equal += 1;
            }
        }
        Ok(Samples { equal, other, first_other, is_all: all <= MOST && failed == 0 })
    }

    /// The sector of a stretch that is compared, and its bytes in the file: the
    /// first one, of sound the first that is not silent.
    fn sector_of(
        &self,
        sectors: &ExtentSet,
        stretch: Extent,
        is_sound: bool,
        bytes: &mut [u8],
    ) -> Result<Option<u64>> {
        let looked = if is_sound { SECOND.min(stretch.len()) } else { 1 };
        // The first of the stretch comes last: it is the one if all are silent.
        for number in (0..looked).chain([0]) {
            let Some(sector) = nth(sectors, stretch.start() + number) else { break };
            self.file.read_at(sector * self.size, bytes)?;
            if !is_sound || says_something(bytes, true) {
                return Ok(Some(sector));
            }
        }
        Ok(nth(sectors, stretch.start()))
    }
}

/// False of a sector whose bytes, of sound whose samples, are all the same.
fn says_something(sector: &[u8], is_sound: bool) -> bool {
    let mut parts = sector.chunks(if is_sound { SAMPLE } else { 1 });
    let first = parts.next();
    parts.any(|part| Some(part) != first)
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
        Sameness::UntoldSound => Err(untold_sound(shown)),
    }
}

/// Nothing says whether two discs are the same.
pub(super) fn untold(shown: &str) -> Error {
    Error::refused(format!("nothing tells whether {shown} is of the same disc"))
        .hint("what was read there cannot be read here; clean the disc, or use another drive")
}

/// Nothing says whether the sound of two copies fits together.
pub(super) fn untold_sound(shown: &str) -> Error {
    Error::refused(format!(
        "nothing tells whether the sound of {shown} fits: drives give it shifted, and nothing of it \
         but silence could be compared"
    ))
    .hint("clean the disc, or use another drive; or read all of it anew, to another name")
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
    fn missing_sound_is_told_to_fit_by_sound_alone() {
        let disc: Vec<u8> = (0..1000 * SECTOR).map(|n| (n % 251) as u8).collect();
        let mut shape = Shape::plain(1000 * SECTOR, ExtentSet::new());
        // Three sectors, which no sample over all of the disc meets.
        shape.sound.insert(Extent::new(900 * SECTOR, 903 * SECTOR));
        let bytes = |sectors: std::ops::Range<usize>| sectors.start * 2048..sectors.end * 2048;
        let look = |one: &[u8], two: &[u8], missing: &[(u64, u64)]| {
            let missing = missing.iter().map(|it| Extent::new(it.0 * SECTOR, it.1 * SECTOR));
            let there = missing.collect::<ExtentSet>().complement(one.len() as u64);
            let (one, two) = (Memory::new(one.to_vec()), Memory::new(two.to_vec()));
            compare(&one, &there, &two, &shape, &Cancel::default()).unwrap()
        };
        let sound = Extent::new(901, 902);
        let missing = &[(sound.start(), sound.end())][..];
        let mut shifted = disc.clone();
        shifted[bytes(900..903)].rotate_right(24);
        assert_eq!(look(&disc, &disc, missing), Sameness::Same);
        assert_eq!(look(&disc, &shifted, missing), Sameness::Differs(900));
        // Silence is the same however it is shifted, also one that is not zero.
        for silence in [[0, 0, 0, 0], [3, 1, 4, 1]] {
            let mut silent = disc.clone();
            let samples = silent[bytes(900..903)].chunks_exact_mut(SAMPLE);
            samples.for_each(|sample| sample.copy_from_slice(&silence));
            assert_eq!(look(&silent, &silent, missing), Sameness::UntoldSound);
            // Nothing of it is missing, or nothing of it is there.
            assert_eq!(look(&silent, &silent, &[(7, 9)]), Sameness::Same);
            assert_eq!(look(&silent, &silent, &[(900, 903)]), Sameness::Same);
            assert_eq!(look(&silent, &silent, &[(7, 9), (900, 901)]), Sameness::UntoldSound);
            // One that is not is found.
            silent[bytes(902..903)].copy_from_slice(&disc[bytes(902..903)]);
            assert_eq!(look(&silent, &silent, missing), Sameness::Same);
            let mut other = silent.clone();
            other[bytes(902..903)].rotate_right(24);
            assert_eq!(look(&silent, &other, missing), Sameness::Differs(902));
        }
    }

    #[test]
    fn silence_does_not_outvote_sound_that_is_shifted() {
        let mut disc = vec![0; 1000 * 2048];
        // Of a stretch of 15 sectors one has sound in it, somewhere, in every
        // fourth of them.
        for n in (7..1000).step_by(60) {
            disc[n * 2048 + 100..n * 2048 + 1000]
                .iter_mut()
                .zip(1..)
                .for_each(|(it, n)| *it = n as u8);
        }
        let mut shape = Shape::plain(1000 * SECTOR, ExtentSet::new());
        shape.sound.insert(Extent::new(0, 1000 * SECTOR));
        let there = Extent::new(0, 990 * SECTOR).into();
        let mut shifted = disc.clone();
        shifted.rotate_right(24);
        for (other, wanted) in [(&disc, Sameness::Same), (&shifted, Sameness::Differs(7))] {
            let (one, two) = (Memory::new(disc.clone()), Memory::new(other.clone()));
            let found = compare(&one, &there, &two, &shape, &Cancel::default()).unwrap();
            assert_eq!(found, wanted);
        }
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

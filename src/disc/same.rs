// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is the disc in a drive the one that a file was read from? Labels and
//! descriptors can be the same on two discs, and some have none: sectors that
//! both have are compared.

use super::volume::SECTOR;
use crate::error::Result;
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
    cancel: &Cancel,
) -> Result<Sameness> {
    let sectors: ExtentSet = there
        .within(Extent::new(0, file.len().min(drive.len())))
        .map(|it| Extent::new(it.start().div_ceil(SECTOR), it.end() / SECTOR))
        .filter(|it| !it.is_empty())
        .collect();
    let all = sectors.bytes();
    let (mut is_told, mut failed) = (all == 0 && there.is_empty(), 0);
    let (mut one, mut two) = ([0; SECTOR as usize], [0; SECTOR as usize]);
    for number in 0..MOST.min(all) {
        cancel.check()?;
        let Some(sector) = nth(&sectors, place_of(all, number)) else { break };
        match drive.read_at(sector * SECTOR, &mut two) {
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
        file.read_at(sector * SECTOR, &mut one)?;
        if one != two {
            return Ok(Sameness::Differs(sector));
        }
        // What is blank is so on every disc.
        is_told |= all <= MOST && failed == 0 && number + 1 == all;
        is_told |= one.iter().any(|byte| *byte != one[0]);
    }
    Ok(if is_told { Sameness::Same } else { Sameness::Untold })
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
    use crate::io::Memory;

    fn look(one: &[u8], two: &[u8], there: &[(u64, u64)]) -> Sameness {
        let there: ExtentSet =
            there.iter().map(|(from, to)| Extent::new(from * SECTOR, to * SECTOR)).collect();
        let (one, two) = (Memory::new(one.to_vec()), Memory::new(two.to_vec()));
        compare(&one, &there, &two, &Cancel::default()).unwrap()
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

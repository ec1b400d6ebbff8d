// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changed bytes that the checksums do not give away.

use super::*;
use crate::layout::scan_with;

/// Numbers of the same course on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

/// What turns a number, a flag or a name into another.
const PIECES: &[&str] = &[
    "0",
    "1",
    "2",
    "9",
    "18446744073709551615",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "#",
    "=",
    ",",
    "pv0",
    "pv1",
    "striped",
    "mirror",
    "\"VISIBLE\"",
    "",
    "\n",
    "\\",
];

#[test]
fn no_changed_text_or_header_makes_the_map_leave_the_volume() {
    let sound = text(2, &(linear("root", &[(0, 0, 4), (1, 3, 2)]) + &linear("home", &[(0, 8, 3)])));
    let other = Memory::new(volume(1, &sound));
    let mut numbers = Numbers(1);
    let (mut maps, mut errors) = (0, 0);
    for round in 0..600 {
        let mut changed = sound.clone();
        let mut bytes = if round % 2 == 0 {
            for _ in 0..=numbers.below(2) {
                let at = numbers.below(changed.len());
                let end = changed.len().min(at + numbers.below(4));
                changed.replace_range(at..end, PIECES[numbers.below(PIECES.len())]);
            }
            volume(0, &changed)
        } else {
            volume(0, &sound)
        };
        if round % 2 == 1 {
            let fields = [512..700, 4096..4096 + 100];
            let field = fields[numbers.below(2)].clone();
            let at = field.start + numbers.below(field.len());
            bytes[at] ^= 1 << numbers.below(8);
            seal(&mut bytes);
        }
        let scan = scan_with(&Memory::new(bytes), &[&other]).unwrap();
        assert!(scan.used.end() <= LEN);
        assert!(scan.used.covers(Extent::new(0, START)));
        let region = &scan.layout.regions[0];
        assert_eq!(region.used, scan.used.bytes());
        if region.whole.is_some() {
            assert_eq!(region.used, LEN);
            errors += 1;
        } else {
            maps += 1;
        }
    }
    // Both happen, or nothing was tested.
    assert!(maps > 20 && errors > 100, "{maps} maps, {errors} errors");
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Physical volumes that are made of a backup.

use super::*;

/// The text as vgcfgbackup writes it: the group comes last.
fn backup(text: &str) -> Vec<u8> {
    let at = text.find("contents = ").unwrap();
    format!("# a comment\n\n{}\n{}", &text[at..], &text[..at]).into_bytes()
}

/// A physical volume that is made of a backup.
fn made(backup: &Backup, number: usize) -> Vec<u8> {
    let mut bytes = backup.head(number, LEN).unwrap();
    bytes.resize(LEN as usize, 0);
    bytes
}

#[test]
fn what_is_made_of_a_backup_is_read_as_the_group() {
    let volumes = linear("root", &[(0, 3, 4), (1, 0, 2), (0, 20, 1)]) + &linear("b", &[(1, 5, 5)]);
    let text = text(2, &volumes);
    let backup = Backup::parse(&backup(&text)).unwrap();
    assert_eq!((backup.name(), backup.physical_count()), ("vg0", 2));
    assert_eq!(backup.physical(&id(1)), Some(1));
    let [first, second] = [0, 1].map(|number| Memory::new(made(&backup, number)));
    let [one, other] = [0, 1].map(|number| Memory::new(volume(number, &text)));
    let shown = |first: &Memory, second: &Memory| match Lvm2.map(&[first, second]).unwrap() {
        Answer::Map(map) => format!("{map:?}"),
        Answer::Whole(used) => panic!("{used:?}"),
    };
    assert_eq!(shown(&first, &second), shown(&one, &other));
    assert_eq!(backup.outside(0, LEN).unwrap(), [Extent::new(0, START), Extent::new(SECOND, LEN)]);

    // On a disk of which the first volume is a part, and the second is not.
    let part = Extent::at(1 << 30, LEN);
    let logical = backup.logical(&[Some(part), None]);
    let names: Vec<&str> = logical.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["root", "b"]);
    let place = logical[0].place.as_ref().unwrap();
    assert!(place.is_elsewhere() && place.bytes() == 7 * EXTENT);
    let found: Vec<_> = place.parts_of(Extent::new(EXTENT, 7 * EXTENT)).collect();
    let here = |first: u64, count: u64| extent(first, count).shift(part.start());
    assert_eq!(found, [(EXTENT, here(4, 3)), (6 * EXTENT, here(20, 1))]);
}

#[test]
fn a_backup_that_leaves_no_room_or_is_another_text_is_refused() {
    let good = text(1, &linear("root", &[(0, 3, 4)]));
    for (from, to, says) in [
        (format!("pe_start = {}", START / 512), "pe_start = 9".into(), "have no room"),
        (format!("dev_size = {}", LEN / 512), format!("dev_size = {}", LEN / 512 + 1), "it had"),
        (format!("pe_count = {COUNT}"), "pe_count = 3000".into(), "it had"),
        ("flags = []\ndev".into(), "flags = [\"MISSING\"]\ndev".into(), "marked it as missing"),
    ] {
        let text = good.replace(&from, &to);
        assert!(text != good, "{from}");
        let error = Backup::parse(&backup(&text)).unwrap().head(0, LEN).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    // The group has to begin a line, as its name begins the text on a disk.
    let backup = String::from_utf8(backup(&good)).unwrap().replace("\nvg0 {", "\n vg0 {");
    assert!(Backup::parse(backup.as_bytes()).is_err());
    assert!(Backup::parse(b"").is_err());
}

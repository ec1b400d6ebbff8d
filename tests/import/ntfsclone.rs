// SPDX-License-Identifier: MIT OR Apache-2.0
//! ntfsclone's special format, judged by what ntfsclone restores of it.

use std::fs;
use std::os::unix::fs::FileExt as _;

use super::{cut, import, len_of, ntfs, refused};
use crate::support::{assert_same, requires, run, temp_dir};

#[test]
fn an_ntfsclone_image_is_what_ntfsclone_restores() {
    if !requires(&["mkntfs", "ntfscp", "ntfsclone", "gzip"]) {
        return;
    }
    let folder = temp_dir();
    let raw = ntfs(&folder, 24);
    let (image, restored) = (folder.join("image.ntfs-img"), folder.join("restored.raw"));
    run("ntfsclone", &["-q", "--save-image", "-o", &image, &raw]);
    run("ntfsclone", &["-q", "--restore-image", "-o", &restored, &image]);
    let (out, ran) = import(&folder, &image, 0);
    assert_same(&out, &restored);
    let ran = ran.says("the image has no checksums");
    assert_eq!(ran.messages("summary")[0]["imported"]["version"], "10.1");
    run("gzip", &["-1", "-k", &image]);
    assert_same(import(&folder, &format!("{image}.gz"), 0).0, &restored);

    let (len, bad) = (len_of(&image), folder.join("bad"));
    for end in [30, 53, len / 2, len - 1, len - 4097] {
        cut(&image, end, &bad);
        let _ = refused(&folder, &bad, 4).says(&format!("ends at byte {end}"));
    }
    for (position, bytes, code, says) in [
        (16, &[9][..], 6, "version 9.1"),
        (18, &[3], 4, "the head makes no sense"),
        (46, &[0xff, 0xff], 4, "the head makes no sense"),
        (56, &[7], 4, "neither a cluster nor a gap"),
        (56, &[0, 1, 1, 1, 1, 1, 1, 1, 1], 4, "a gap of"),
        (38, &[0xff, 0xff], 4, "clusters are there"),
    ] {
        fs::copy(&image, &bad).unwrap();
        let file = fs::File::options().write(true).open(&bad).unwrap();
        file.write_all_at(bytes, position).unwrap();
        let _ = refused(&folder, &bad, code).says(says);
    }
}

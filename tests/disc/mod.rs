// SPDX-License-Identifier: MIT OR Apache-2.0
//! Optical discs as files: made by the programs that people burn them with,
//! judged by those and by isoinfo, checkisomd5 and sha256sum.

mod archive;
mod drive;
mod encryption;
mod hybrid;
mod installer;
mod machine;
mod read;
mod scene;
mod screens;
mod write;

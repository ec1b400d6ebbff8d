// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files out of images: `ls`, `extract`, `find` and `diff`. The judges are the
//! kernel's drivers, by find, sha256sum and getfattr.

mod diff;
mod extract;
mod foreign;
mod hostile;
mod ls;
mod scene;
mod spread;
mod unreadable;

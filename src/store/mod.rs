// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where images are kept: files and the standard streams.

mod local;

pub use local::{Partial, default_name, find_interrupted, partial_path, refuse_device, room_at};

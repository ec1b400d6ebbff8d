// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rescue system, in computers that QEMU emulates.

mod repair;

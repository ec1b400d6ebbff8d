// SPDX-License-Identifier: MIT OR Apache-2.0
//! One binary that drives the built program.

// A test that unwraps says what it expects by failing there.
#![allow(clippy::unwrap_used)]

mod boot;
mod browse;
mod cli;
mod corpus;
mod crash;
mod debian;
mod demo;
mod device;
mod device_jobs;
mod disc;
mod disks;
mod failing;
mod files;
mod format;
mod generated;
mod http;
mod huge;
mod image;
mod import;
mod info;
mod interrupt;
mod mount;
mod nbd;
mod network;
mod readme;
mod repair;
mod rescue;
mod scrub;
mod shadow_copies;
mod support;
mod sweep;
mod table;
mod terminal;
mod tui;
mod variants;

//! The engine: all policy, as one pure state machine. Events in, records and actions out, time as data.
//!
//! Nothing here reads a clock, a file, an environment variable or a random number, and nothing waits: a night runs in a
//! millisecond, and a crash between any two steps can be tried.

pub mod action;
pub mod ending;
pub mod event;
pub mod outcome;
pub mod record;
pub mod usage;

//! The command line: argument structs by theme; one file a command.

pub mod check;
pub mod graph;

//! The binary from end to end: real git, real shims, a real ledger, scripted agents.

mod fixture;
mod runs;

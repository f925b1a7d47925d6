//! The binary from end to end: real git, real shims, a real ledger, scripted agents.

mod audits;
mod fixture;
mod runs;
mod slots;
mod surroundings;

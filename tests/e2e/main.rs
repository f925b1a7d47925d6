//! The binary from end to end: real git, real shims, a real ledger, scripted agents.

mod audits;
mod examples;
mod fixture;
mod manners;
mod runs;
mod screens;
mod slots;
mod surroundings;

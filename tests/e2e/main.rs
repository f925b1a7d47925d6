//! The binary from end to end: real git, real shims, a real ledger, scripted agents.

mod audits;
mod controls;
mod crashes;
mod disks;
mod doctor;
mod examples;
mod fixture;
mod gates;
mod hostile;
mod ledgers;
mod manners;
mod matrix;
mod notices;
mod people;
mod roles;
mod runs;
mod salvage;
mod screens;
mod shapes;
mod silence;
mod slots;
mod stops;
mod surroundings;
mod tally;
mod upgrades;
mod upkeep;

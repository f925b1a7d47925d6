//! The user's repository, the slots agents work in, candidates, and landing.
//!
//! The `git` program fills and reads working trees, so that filters, eol rules and sparse checkouts hold; git2 does
//! the rest. Nothing here knows plans or policies. Calls block; the driver makes them on blocking threads.

pub mod program;
pub mod repository;
pub mod settings;

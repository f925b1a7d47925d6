//! The user's repository, the slots agents work in, candidates, and landing.
//!
//! The `git` program fills and reads working trees, so that filters, eol rules and sparse checkouts hold; git2 does
//! the rest. Nothing here knows plans or policies. Calls block; the driver makes them on blocking threads.

pub mod change;
pub mod checkout;
pub mod collect;
pub mod commit;
pub mod durable;
mod hold;
pub mod include;
pub mod land;
pub mod left;
pub mod left_out;
pub mod merge;
pub mod message;
pub mod pins;
mod plan_copy;
pub mod program;
pub mod publish;
pub mod refs;
pub mod repository;
pub mod salvage;
pub mod settings;
pub mod signature;
pub mod slot;
pub mod snapshot;
pub mod target;
pub mod tree;
pub mod union;
mod update;

pub use program::Git;
pub use repository::Repository;

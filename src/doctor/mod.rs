//! What is unhealthy about a repository, a machine and a ledger, and the repairs that cannot lose anything.
//!
//! Facts are gathered first (`gather`), reading only; what they mean is judged by a pure function (`judge`), so that each
//! finding can be tried without making the trouble. `repair` does what a start of orch would do anyway. `rebuild` makes a
//! damaged ledger anew: from the rows that can still be read and from what the repository tells (`world`), put together
//! by a pure function (`compose`).

mod compose;
pub mod facts;
mod finding;
mod gather;
mod judge;
mod rebuild;
mod repair;
mod world;

pub use compose::{Account, Fate};
pub use finding::{Check, Finding, Severity};
pub use gather::{Surroundings, gather, gather_without_repository};
pub use judge::judge;
pub use rebuild::{Rebuilt, check_for_lost_ledger, rebuild};
pub use repair::{Repair, fix_safe};

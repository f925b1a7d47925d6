//! orch turns a YAML plan into landed commits.
//!
//! Each task of a plan is done by a fresh agent session in a worktree of its own and lands on the target branch exactly
//! once. The modules form floors, lowest first; a module uses only floors below its own (`tests/architecture`):
//!
//! - 0: [`error`], [`diagnostic`], [`digest`], [`ids`], [`time`], [`crash`] (hooks for tests)
//! - 1: [`plan`] (the document), [`config`] (settings that know where they came from)
//! - 2: [`engine`] (pure policy)
//! - 3: [`store`] (ledger, run directory), [`git`], [`process`] (shim, sweep)
//! - 4: [`agent`] (runners, prompt, status), [`verify`] (scope), [`report`] (readers of the record stream), [`notify`]
//!   (telling people who do not watch), [`audit`] (the independent checker)
//! - 5: [`driver`] (the loop around the engine), [`doctor`] (what is unhealthy, and a ledger made anew)
//! - 6: [`cli`]; 7: `main.rs`
//!
//! The library exists for the binary and its tests; its interface is not a promise.

pub mod agent;
pub mod audit;
pub mod cli;
pub mod config;
pub mod crash;
pub mod diagnostic;
pub mod digest;
pub mod doctor;
pub mod driver;
pub mod engine;
pub mod error;
pub mod flock;
pub mod git;
pub mod ids;
pub mod notify;
pub mod plan;
pub mod process;
pub mod report;
pub mod store;
pub mod time;
pub mod verify;

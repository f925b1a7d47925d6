//! The shim, process trees, and following their output.
//!
//! An agent never runs under orch itself. orch starts a shim (the same binary, `orch __shim <attempt directory>`), a
//! small single-threaded process that owns one agent process and everything the agent starts: it enforces the limits,
//! ends the tree and writes down how it ended. orch may die, come back and [`adopt`] it.
//!
//! What the agent is asked, and what its output means, is not known here.

mod awake;
mod environment;
mod errand;
mod follow;
mod identity;
mod launch;
mod origin;
pub mod shim;
mod supervise;
mod sweep;
mod table;

pub use awake::Awake;
pub use environment::scrub_environment;
pub use errand::{Errand, Errands, LeftErrand};
pub use follow::{Changes, LINE_BYTES_MAX, Line, LineFollower};
pub use identity::{ProcessIdentity, boot_id};
pub use launch::{
    AgentEnd, AgentRun, Cause, Confinement, Exit, ExitReport, Launch, Marker, ReadExitError,
    ShimSpec, TreeUsage, read_exit,
};
pub use origin::shims_above;
pub use supervise::{
    Adoption, RunError, Running, SpawnError, adopt, end, run_to_end, shim_log, spawn,
};
pub use sweep::{
    Marked, SweepReport, Swept, alive, is_open, marked, owners_of_git_lock, sweep, working_in,
};

//! Where a run takes place: the repository, the state directory, the settings and roles that are frozen for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::guard::Guard;
use super::how::{How, Roles};
use super::plan_file::PlanFile;
use crate::agent::claude::{self, ClaudeSettings};
use crate::config::Settings;
use crate::engine::start::Signers;
use crate::git::Repository;
use crate::git::commit::Signing;
use crate::git::repository::Identity;
use crate::ids::{ObjectId, PlanId, RefName, RunId, SlotId};
use crate::plan::{Plan, Runner, Task};
use crate::store::{AttemptDir, RunDir, StateDir};

/// Where a run takes place. Shared by all actions; nothing in it changes but what says so.
#[derive(Debug)]
pub struct Site {
    /// The user's repository.
    pub repo: Repository,
    /// The state directory below it.
    pub state: StateDir,
    /// Where slots lie.
    pub slots: PathBuf,
    /// Where blocks of ports are leased.
    pub ports: PathBuf,
    /// This binary, for shims.
    pub exe: PathBuf,
    /// The run.
    pub run: RunId,
    /// The plan's identity.
    pub plan_id: PlanId,
    /// The plan's text.
    pub plan: PlanFile,
    /// The plan as it was when this orch started: what prompts tell of it.
    pub plan_at_start: Arc<Plan>,
    /// The ref that lands.
    pub target: RefName,
    /// What happens to checkouts.
    pub publishing: Publishing,
    /// Settings, frozen.
    pub settings: Settings,
    /// Roles, frozen.
    pub roles: Roles,
    /// The `claude` program, if a task needs it.
    pub claude: Option<ClaudeSettings>,
    /// Whether the run stays for people and evidence when nothing else is left to do.
    pub waits: bool,
    /// Whether the smoke commands are left out.
    pub skip_smoke: bool,
    /// Set in a rehearsal: what every task is run by.
    pub force: Option<Runner>,
    /// What agents inherit.
    pub environment: BTreeMap<String, String>,
    /// Whose commits they are.
    pub identity: Identity,
    /// How they are signed.
    pub signing: Signing,
    /// Who may sign approvals, where that is known.
    pub signers: Option<Signers>,
    /// Ignored files that slots need, by `.worktreeinclude`.
    pub included: Vec<PathBuf>,
    /// Places of slots that hold work of other runs that was never collected: they are left alone.
    pub taken: BTreeSet<SlotId>,
    /// What happens to the repository while agents run.
    pub guard: Guard,
    /// The last commit that orch landed on the target, in this run or an earlier one.
    pub landed: Mutex<Option<ObjectId>>,
    /// Candidates whose objects this process has written, so that they need not be looked at.
    pub made: Mutex<BTreeSet<ObjectId>>,
}

/// What happens to checkouts of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publishing {
    /// At the end the branch that the run came from is fast-forwarded, in the worktree where orch was started.
    AtEnd {
        /// That branch; none if HEAD was detached.
        origin: Option<RefName>,
        /// Where HEAD stood then.
        from: ObjectId,
    },
    /// Each landing updates the worktrees that have the target checked out.
    Live,
}

impl Site {
    /// The run's directory.
    pub fn run_dir(&self) -> RunDir {
        self.state.run(&self.run)
    }

    /// The directory of an attempt.
    pub fn attempt_dir(&self, ticket: &crate::ids::Ticket) -> AttemptDir {
        self.run_dir().attempt(&ticket.task, ticket.attempt)
    }

    /// Where the engine's slot lies: the places that are not taken, in order.
    pub fn place_of(&self, slot: SlotId) -> SlotId {
        let mut free = (1..)
            .map(SlotId)
            .filter(|place| !self.taken.contains(place));
        let nth = usize::try_from(slot.0.saturating_sub(1)).unwrap_or(usize::MAX);
        free.nth(nth).unwrap_or(slot)
    }

    /// How a task of the plan is done.
    pub fn how(&self, task: &Task, plan: &Plan) -> How {
        super::how::of(task, plan, &self.settings, &self.roles, self.force)
    }

    /// The runner and the account it works on, in words: what shares usage limits.
    pub fn entitlement(&self, runner: Runner) -> String {
        match runner {
            Runner::Claude => format!("claude ({})", claude::account(&self.environment)),
            Runner::Command => "command".to_owned(),
            Runner::Rehearsal => "rehearsal".to_owned(),
        }
    }

    /// The last landed commit.
    pub fn last_landed(&self) -> Option<ObjectId> {
        self.landed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Remembers a candidate that this process has made.
    pub fn note_made(&self, candidate: &ObjectId) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.insert(candidate.clone());
    }

    /// Whether this process has made the candidate.
    pub fn has_made(&self, candidate: &ObjectId) -> bool {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.contains(candidate)
    }

    /// Remembers a landing.
    pub fn note_landed(&self, commit: &ObjectId) {
        *self.landed.lock().unwrap_or_else(PoisonError::into_inner) = Some(commit.clone());
    }
}

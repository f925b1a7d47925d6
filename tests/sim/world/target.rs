//! The target: landing commits that are made, tips that move, and the plan's text beside them.

use orch::engine::approval::Change;
use orch::engine::conflict::{Answered, By, Conflict};
use orch::engine::event::{Author, BuildFailure, LandResult, Landing};
use orch::engine::view::TaskState;
use orch::ids::{ObjectId, TaskId};
use orch::plan::graph::Declared;

use super::World;
use crate::consents::change_of;

impl World {
    pub(super) fn new_commit(&mut self) -> ObjectId {
        self.commits += 1;
        ObjectId::new(format!("c{}", self.commits))
    }

    /// Conflicts that a person's answers settled.
    fn answers(&mut self) -> Vec<Answered> {
        let by = match self.rng.below(10) {
            0 => By::Union,
            1 => By::Run {
                command: "make lock".to_owned(),
                ms: 1,
            },
            _ => return Vec::new(),
        };
        let file = "lock".to_owned();
        vec![Answered { file, by }]
    }

    /// Tasks with whose landed work something is in conflict, and their commits.
    pub(super) fn opponents(&mut self) -> Vec<(TaskId, ObjectId)> {
        let landed = self.engine.tasks().filter_map(|view| match view.state {
            TaskState::Completed {
                commit: Some(commit),
                ..
            } => Some((view.node.id.clone(), commit)),
            _ => None,
        });
        let mut landed: Vec<_> = landed.collect();
        while landed.len() > 2 {
            let at = self.rng.below(landed.len());
            landed.swap_remove(at);
        }
        landed
    }

    /// The commits that did it, now and then one that is no task's.
    fn commits_in_the_way(&mut self) -> Vec<ObjectId> {
        let opponents = self.opponents().into_iter();
        let mut commits: Vec<ObjectId> = opponents.map(|(_, commit)| commit).collect();
        if self.rng.percent(10) {
            commits.push(ObjectId::new("a person's"));
        }
        commits
    }

    pub(super) fn build(&mut self, behind: Option<ObjectId>) -> Result<Landing, BuildFailure> {
        if self.rewritten && self.rng.percent(50) {
            return Err(BuildFailure::Rewritten(self.target.last().cloned()));
        }
        match self.rng.below(100) {
            0..80 => {
                let commit = self.new_commit();
                let sha256 = change_of(&commit);
                let tree = ObjectId::new(format!("tree of {commit}"));
                Ok(Landing {
                    commit,
                    onto: match behind {
                        Some(commit) => commit,
                        None => self.target.last().expect("a tip").clone(),
                    },
                    change: Change { tree, sha256 },
                    answers: self.answers(),
                })
            }
            80..89 => Err(BuildFailure::Conflict(Conflict {
                files: vec!["src/x.rs".to_owned()],
                tried: self.rng.percent(20).then(|| "exit code 1".to_owned()),
                with: self.commits_in_the_way(),
            })),
            89..92 => Err(BuildFailure::AlreadyThere),
            92..94 => Err(BuildFailure::PlanEdit("duplicate id".to_owned())),
            94 => Err(BuildFailure::Lost("the power was gone".to_owned())),
            _ => Err(BuildFailure::Trouble("disk full".to_owned())),
        }
    }

    pub(super) fn land(
        &mut self,
        commit: &ObjectId,
        onto: &ObjectId,
    ) -> Result<LandResult, String> {
        if self.rewritten {
            return Ok(LandResult::Rewritten(self.target.last().cloned()));
        }
        if self.target.last() != Some(onto) {
            return Ok(LandResult::TipMoved);
        }
        let task = self.laws.intended.get(commit).map(|(task, _)| task);
        if task.is_some_and(|task| self.engine.signed(task).is_some()) && self.rng.percent(10) {
            self.seen.note("a signature that does not hold");
            return Ok(LandResult::Unapproved("not by ann".to_owned()));
        }
        if self.rng.percent(3) {
            self.seen.note("in the way");
            return Ok(LandResult::InTheWay("a person's file".to_owned()));
        }
        if self.rng.percent(4) {
            return Ok(LandResult::Trouble("no space".to_owned()));
        }
        if self.rng.percent(4) {
            self.seen.note("locked");
            return Ok(LandResult::Locked("ref locked".to_owned()));
        }
        self.move_target(commit)?;
        Ok(LandResult::Landed(self.carried.get(commit).cloned()))
    }

    /// The compare-and-swap that succeeds.
    pub(super) fn move_target(&mut self, commit: &ObjectId) -> Result<(), String> {
        let work = self
            .laws
            .intended
            .get(commit)
            .ok_or("an unannounced commit lands")?;
        let twin = self
            .target
            .iter()
            .find(|landed| self.laws.intended.get(*landed) == Some(work));
        if let Some(twin) = twin {
            return Err(format!("{work:?} lands twice, as {twin} and {commit}"));
        }
        self.target.push(commit.clone());
        if self.rng.percent(10) {
            self.plan.extend(&mut self.rng);
            let revision = self.plan.revision(Author::Agent(work.0.clone()));
            self.carried.insert(commit.clone(), revision);
        }
        Ok(())
    }

    pub(super) fn someone_moves_the_target(&mut self) {
        let commit = self.new_commit();
        if let Some(contents) = &mut self.contents {
            contents.follows(&commit, self.target.last().expect("a tip"));
        }
        self.target.push(commit);
    }

    pub(super) fn write_plan(&mut self) {
        let states: Vec<_> = self
            .engine
            .tasks()
            .map(|view| (view.node.id.clone(), view.state))
            .collect();
        for (task, state) in states {
            let declared = match state {
                TaskState::Completed { .. } => Declared::Completed,
                TaskState::Failed => Declared::Failed,
                TaskState::Skipped => Declared::Skipped,
                TaskState::LeftOut => continue,
                _ => Declared::Pending,
            };
            self.plan.write(&task, declared);
        }
    }
}

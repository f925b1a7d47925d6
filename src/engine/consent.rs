//! Waits for people and for the world outside: approvals before a start or before a landing, and evidence that must be
//! there first.
//!
//! An approval (`approval`) carries over to another landing commit only where the shell says that nothing a person looked
//! at has changed; else it is asked again.

use super::Engine;
use super::action::Action;
use super::after::{Fate, Leaves};
use super::approval::{Approves, Change, Consent, Shown};
use super::ending::{AttemptEnd, Ending};
use super::event::{Author, Control};
use super::phase::Phase;
use super::record::{Miss, Record, Settlement};
use super::shell::{Look, Looks};
use super::state::State;
use super::task::Task;
use super::topology::Ix;
use super::turn::Turn;
use crate::ids::{ObjectId, TaskId, Ticket};
use crate::plan::graph::When;
use crate::time::Wall;

impl State {
    /// Whether waiting for people or for evidence keeps the run from being over. A look that was ordered is heard out.
    pub(super) fn consent_may_come(&self, looks: &Looks) -> bool {
        looks.values().any(|look| *look == Look::Ordered)
            || self.is_looking(looks)
            || self.stays_for_people()
    }

    /// Whether everything that a task needs of other tasks is there, so that people and evidence are what it waits for.
    fn is_next(&self, ix: Ix) -> bool {
        let task = &self.tasks[ix];
        task.in_plan
            && !task.left_out
            && !task.is_held()
            && task.is_open()
            && self.needs_are_met(ix)
    }

    /// Whether a person or evidence is what the task waits for.
    pub(super) fn awaits_consent(&self, ix: Ix) -> bool {
        let task = &self.tasks[ix];
        if matches!(task.phase, Phase::Open { .. }) {
            self.is_next(ix) && (task.awaits_approval() || task.awaits_evidence())
        } else {
            task.awaits_approval()
        }
    }

    /// Tasks that wait for evidence, and how often it is looked for.
    fn wanting(&self) -> impl Iterator<Item = (&Task, u64)> {
        let ends = self.is_halting();
        let all = (0..self.tasks.len())
            .filter(move |&ix| !ends && self.is_next(ix) && self.tasks[ix].awaits_evidence());
        all.filter_map(|ix| {
            let task = &self.tasks[ix];
            Some((task, task.node.evidence?.every_ms))
        })
    }

    /// Tasks whose turn it would be, and whose start nobody has been asked about.
    fn unasked(&self) -> Vec<TaskId> {
        let is_unasked = |ix: &Ix| {
            let task = &self.tasks[*ix];
            task.node.approval == Some(When::Before)
                && task.past().consent == Consent::None
                && self.is_next(*ix)
        };
        let unasked = (0..self.tasks.len()).filter(is_unasked);
        unasked.map(|ix| self.tasks[ix].node.id.clone()).collect()
    }

    /// When evidence is to be looked for next.
    pub(super) fn next_look(&self, looks: &Looks) -> Option<Wall> {
        self.wanting()
            .filter_map(|(task, every)| match looks.get(&task.node.id)? {
                Look::Done(at) if task.has_waited_long_enough(*at) => None,
                Look::Done(at) => Some(at.plus_ms(every)),
                Look::Ordered => None,
            })
            .min()
    }

    /// Whether looking for evidence can still change something without anybody's help.
    fn is_looking(&self, looks: &Looks) -> bool {
        self.wanting()
            .any(|(task, _)| match looks.get(&task.node.id) {
                None | Some(Look::Ordered) => true,
                Some(Look::Done(at)) => self.waits && !task.has_waited_long_enough(*at),
            })
    }

    /// Whether the run was told to stay for people.
    fn stays_for_people(&self) -> bool {
        self.waits
            && !self.is_halting()
            && (0..self.tasks.len())
                .any(|ix| self.awaits_consent(ix) && self.tasks[ix].awaits_approval())
    }
}

impl Engine {
    /// What a person is asked about a task now.
    pub fn asked(&self, id: &TaskId) -> Option<Approves<'_>> {
        let (_, task) = self.state.get(id)?;
        match (task.node.approval?, &task.past().consent) {
            (When::Before, Consent::None | Consent::AskedToStart) if task.is_open() => {
                Some(Approves::Start {
                    spec: &task.node.spec_hash,
                })
            }
            (When::After, Consent::Asked(shown)) if task.awaits_approval() => {
                Some(Approves::Landing(shown))
            }
            (When::Before | When::After, _) => None,
        }
    }

    /// The signed approval by which a task may start, if it has one.
    pub fn signed_start(&self, id: &TaskId) -> Option<(Approves<'_>, &str)> {
        let (_, task) = self.state.get(id)?;
        match (task.node.approval, &task.past().consent) {
            (
                Some(When::Before),
                Consent::Given {
                    shown: None,
                    signature: Some(signature),
                },
            ) => {
                let spec = &task.node.spec_hash;
                Some((Approves::Start { spec }, signature))
            }
            (Some(_) | None, _) => None,
        }
    }

    /// The signed approval by which a task's work may land, if it has one.
    pub fn signed(&self, id: &TaskId) -> Option<(Approves<'_>, &str)> {
        let (_, task) = self.state.get(id)?;
        match &task.past().consent {
            Consent::Given {
                shown: Some(shown),
                signature: Some(signature),
            } => Some((Approves::Landing(shown), signature)),
            Consent::Given { .. } | Consent::Asked(_) | Consent::AskedToStart | Consent::None => {
                None
            }
        }
    }
}

impl Turn<'_> {
    /// Lets a landing commit land, or asks a person first. `change` is missing if nobody was to be asked when its gates
    /// were.
    pub(super) fn land_or_ask(
        &mut self,
        ticket: &Ticket,
        commit: ObjectId,
        onto: ObjectId,
        change: Option<Change>,
    ) {
        let Some((_, task)) = self.state.get(&ticket.task) else {
            return;
        };
        let Some(work) = task.phase.work() else {
            return;
        };
        let (candidate, next) = (work.candidate.clone(), task.next_order());
        if task.has_consent_to_land(&candidate) {
            self.record(Record::LandingIntended {
                ticket: next,
                commit,
                onto,
            });
        } else if let Some(change) = change {
            self.record(Record::ApprovalAsked {
                ticket: next,
                shown: Shown {
                    candidate,
                    commit,
                    onto,
                    change,
                },
            });
        } else {
            self.missed(ticket, Miss::GatesChanged);
        }
    }

    /// Asks about the start of tasks whose turn it would be.
    pub(super) fn ask_for_starts(&mut self) {
        if self.state.is_halting() {
            return;
        }
        for task in self.state.unasked() {
            self.record(Record::StartAsked { task });
        }
    }

    /// Looks for the evidence of tasks whose turn it would be. The last look is the first one after the longest time.
    pub(super) fn look_for_evidence(&mut self) {
        let now = self.now.wall;
        let looks = &self.shell.looks;
        let is_due = |task: &Task, every: u64| match looks.get(&task.node.id) {
            None => true,
            Some(Look::Ordered) => false,
            // A clock that was set back makes it due, too.
            Some(Look::Done(at)) => {
                !task.has_waited_long_enough(*at) && (now >= at.plus_ms(every) || now < *at)
            }
        };
        let due: Vec<TaskId> = self
            .state
            .wanting()
            .filter(|(task, every)| is_due(task, *every))
            .map(|(task, _)| task.node.id.clone())
            .collect();
        for task in due {
            self.shell.looks.insert(task.clone(), Look::Ordered);
            self.effects.actions.push(Action::LookForEvidence { task });
        }
    }

    pub(super) fn evidence_looked(&mut self, id: &TaskId, found: bool, said: String) -> bool {
        if self.shell.looks.get(id) != Some(&Look::Ordered) {
            return false;
        }
        let done = Look::Done(self.now.wall);
        self.shell.looks.insert(id.clone(), done);
        let Some((_, task)) = self
            .state
            .get(id)
            .filter(|(_, task)| task.awaits_evidence())
        else {
            return false;
        };
        // A look a minute for days is no news each time.
        if found || task.past().supply.since.is_none() || task.past().supply.said != said {
            self.record(Record::EvidenceLooked {
                task: id.clone(),
                found,
                said,
            });
        }
        true
    }

    /// What follows when a person says yes: nothing of its own, the state follows the decision. Whether a signature holds
    /// was asked before.
    pub(super) fn approve(
        &self,
        task: &Task,
        meant: Option<&ObjectId>,
        signature: Option<&str>,
    ) -> Result<(), String> {
        self.answerable(task, meant)?;
        match (self.state.policy.signed_approvals, signature) {
            (true, None) => Err(format!(
                "approvals are signed here (`approvals.signed`): `orch approve {} --signed`",
                task.node.id
            )),
            (true, Some(_)) | (false, _) => Ok(()),
        }
    }

    /// Whether a person is asked about a task, and about what they mean.
    fn answerable(&self, task: &Task, meant: Option<&ObjectId>) -> Result<(), String> {
        let stands = || {
            format!(
                "there is nothing to approve: it is {}",
                task.phase.in_words()
            )
        };
        match (task.node.approval, &task.past().consent) {
            (None, _) => Err("it needs no approval".to_owned()),
            (Some(When::Before), Consent::Given { .. }) => Err("it is approved already".to_owned()),
            (Some(When::Before), _) if !task.is_open() => Err(stands()),
            (Some(When::Before), _) => Ok(()),
            (Some(When::After), Consent::Asked(shown)) if task.awaits_approval() => match meant {
                Some(meant) if *meant != shown.candidate && *meant != shown.commit => Err(format!(
                    "what is to be approved now is {}",
                    shown.candidate.short()
                )),
                Some(_) | None => Ok(()),
            },
            (Some(When::After), Consent::Given { .. }) => Err("it is approved already".to_owned()),
            (Some(When::After), Consent::None | Consent::AskedToStart | Consent::Asked(_)) => {
                Err(stands())
            }
        }
    }

    /// What follows when a person says no: what was made does not land, and the next attempt is told why; a task that was
    /// not to start is cancelled.
    pub(super) fn reject(&self, task: &Task, control: &Control) -> Result<Vec<Record>, String> {
        self.answerable(task, None)?;
        let who = match &control.by {
            Author::Person(name) => name.as_str(),
            Author::Agent(_) | Author::Signal | Author::StopFile | Author::Orch => "orch",
        };
        let why = control.note.as_deref().unwrap_or("no reason was given");
        Ok(vec![match task.node.approval {
            Some(When::After) => {
                let end = AttemptEnd::new(Ending::Rejected, format!("{who} says no: {why}"));
                let fate = Fate {
                    leaves: Leaves::Candidate,
                    demanded: false,
                    may_continue: false,
                };
                let next = super::after::next(self.state, task, end.ending, fate, self.now);
                let ticket = task.ticket();
                Record::NotLandable {
                    ticket,
                    end,
                    next,
                    resolve: false,
                }
            }
            Some(When::Before) | None => Record::Settled {
                task: task.node.id.clone(),
                as_: Settlement::Cancelled,
            },
        }])
    }
}

//! What earlier records tell about spending: what attempts of an agent with a model usually take, and what has been
//! spent since the day began. Handed to a run as data when it starts, and kept with that start, so that a replay decides
//! by the same numbers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::budget::{Amount, Grant, Learned};
use super::ending::Ending;
use super::next::{Charge, Next};
use super::profile::Profiles;
use super::record::{Record, Stamped};
use super::usage::MicroUsd;
use crate::ids::TaskId;
use crate::time::Wall;

/// Fewer finished attempts than this tell nothing about the next one.
const ATTEMPTS_MIN: usize = 5;

/// The newest attempts of an agent with a model that are looked at: prices, prompts and projects change.
const ATTEMPTS_MAX: usize = 100;

/// Spending as records tell it. Runs are heard one after the other, the newest first, each from its beginning.
#[derive(Debug, Default)]
pub struct History {
    begins: Wall,
    today: Amount,
    ended: BTreeMap<(String, Option<String>), Vec<Amount>>,
    profiles: Profiles,
    open: HashMap<TaskId, Open>,
    /// What attempts of the run that is heard took, by key, the oldest first.
    ended_here: BTreeMap<(String, Option<String>), Vec<Amount>>,
}

/// An attempt under way.
#[derive(Debug)]
struct Open {
    model: Option<String>,
    grant: Grant,
    spent: Amount,
    since: Option<Wall>,
    /// Whether all of its sessions told what they used.
    is_told: bool,
}

impl History {
    /// Nothing heard yet, of a day that began at `begins`.
    pub fn since(begins: Wall) -> Self {
        Self {
            begins,
            ..Self::default()
        }
    }

    /// Hears the records of one run. `is_own`: it is the one that goes on, and knows itself what it has set aside.
    pub fn hear(&mut self, records: &[Stamped], is_own: bool) {
        for stamped in records {
            self.record(&stamped.record, stamped.at);
        }
        // What is under way of another run ends unheard by this one: it counts as it was set aside.
        let begins = self.begins;
        let began_today = |open: &Open| open.since.is_some_and(|since| since >= begins);
        for open in std::mem::take(&mut self.open).into_values() {
            if !is_own && began_today(&open) {
                self.today = self.today.plus(open.grant.reserved);
            }
        }
        for (key, amounts) in std::mem::take(&mut self.ended_here) {
            let known = self.ended.entry(key).or_default();
            known.extend(amounts.into_iter().rev());
            known.truncate(ATTEMPTS_MAX);
        }
        self.profiles = Arc::default();
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what attempts take is in few records, and no later one changes it"
    )]
    fn record(&mut self, record: &Record, at: Wall) {
        match record {
            Record::RunStarted(start) | Record::RunResumed { start } => {
                self.profiles.clone_from(&start.revision.profiles);
            }
            Record::PlanAccepted { revision } => self.profiles.clone_from(&revision.profiles),
            Record::AttemptStarted {
                ticket,
                model,
                grant,
                ..
            } => {
                let open = Open {
                    model: model.clone(),
                    grant: *grant,
                    spent: Amount::default(),
                    since: None,
                    is_told: true,
                };
                self.open.insert(ticket.task.clone(), open);
            }
            // What it takes says nothing about attempts at tasks.
            Record::Resolving { ticket, .. } => {
                if let Some(open) = self.open.get_mut(&ticket.task) {
                    open.is_told = false;
                }
            }
            Record::AgentStarting {
                ticket, continues, ..
            } => {
                if let Some(open) = self.open.get_mut(&ticket.task) {
                    open.since = Some(at);
                    if let Some(continuation) = continues {
                        open.grant = continuation.grant;
                    }
                }
            }
            Record::AgentEnded { ticket, .. } => {
                let ran = self
                    .open
                    .get_mut(&ticket.task)
                    .and_then(|open| open.since.take().map(|since| (open, since)));
                if let Some((open, since)) = ran {
                    let ran = Amount {
                        wall_ms: at.ms_since(since),
                        ..Amount::default()
                    };
                    open.spent = open.spent.plus(ran);
                    self.spend(ran, at);
                }
            }
            Record::Collected {
                ticket,
                end,
                usage,
                next,
                ..
            } => {
                let Some(mut open) = self.open.remove(&ticket.task) else {
                    return;
                };
                let charged = Amount::charge(usage, open.grant.reserved);
                self.spend(charged, at);
                open.spent = open.spent.plus(charged);
                open.is_told &= usage.unpriced_sessions == 0;
                if matches!(next, Next::AskStatus | Next::Continue { .. }) {
                    open.grant.reserved = open.grant.reserved.less(charged);
                    self.open.insert(ticket.task.clone(), open);
                } else if open.is_told && open.spent.sessions > 0 && is_finished(end.ending) {
                    self.learn(&ticket.task, open);
                }
            }
            _ => {}
        }
    }

    fn spend(&mut self, amount: Amount, at: Wall) {
        if at >= self.begins {
            self.today = self.today.plus(amount);
        }
    }

    fn learn(&mut self, task: &TaskId, open: Open) {
        let Some(profile) = self.profiles.get(task).filter(|p| p.metered) else {
            return;
        };
        let key = (profile.agent.clone(), open.model);
        self.ended_here.entry(key).or_default().push(open.spent);
    }

    /// What was charged since the day began.
    pub fn today(&self) -> Amount {
        self.today
    }

    /// What nine of ten attempts stayed below, where enough of them are known.
    pub fn learned(&self) -> Vec<Learned> {
        let known = self.ended.iter().filter(|(_, a)| a.len() >= ATTEMPTS_MIN);
        known
            .map(|((agent, model), amounts)| Learned {
                agent: agent.clone(),
                model: model.clone(),
                attempts: u32::try_from(amounts.len()).unwrap_or(u32::MAX),
                p90: Amount {
                    cost: MicroUsd(p90(amounts, |a| a.cost.0)),
                    tokens: p90(amounts, |a| a.tokens),
                    sessions: 1,
                    wall_ms: p90(amounts, |a| a.wall_ms),
                },
            })
            .collect()
    }
}

/// Whether an attempt came to an end of its own, so that it cost what such attempts cost.
fn is_finished(ending: Ending) -> bool {
    let row = ending.row();
    row.is_done() || row.counts == Charge::Attempt
}

/// The least value that nine of ten do not exceed.
fn p90(amounts: &[Amount], of: impl Fn(&Amount) -> u64) -> u64 {
    let mut values: Vec<u64> = amounts.iter().map(of).collect();
    values.sort_unstable();
    let rank = (values.len() * 9).div_ceil(10);
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

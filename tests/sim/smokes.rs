//! The laws of smoke: one good answer for each landed tip, and none that nobody asked for.

use orch::engine::record::{Record, Stamped};
use orch::engine::verification::Verdict as Said;
use orch::ids::ObjectId;

use crate::bounds::{Verdict, law};

/// What the records say of smoke.
#[derive(Debug, Default)]
pub(crate) struct Smokes {
    wanted: bool,
    tip: Option<ObjectId>,
    /// Whether the tip was judged, and was red.
    red: Option<bool>,
}

impl Smokes {
    /// Whether the tip is red.
    pub(crate) fn is_red(&self) -> bool {
        self.red == Some(true)
    }

    /// Whether there is a tip that was not judged.
    pub(crate) fn is_owed(&self) -> bool {
        self.wanted && self.tip.is_some() && self.red.is_none()
    }

    /// What is asked about is the last landing, which has no answer yet.
    pub(crate) fn may_ask(&self, tip: &ObjectId) -> Verdict {
        law(self.is_owed() && self.tip.as_ref() == Some(tip), || {
            format!("smoke is asked about {tip}, with {self:?}")
        })
    }

    pub(crate) fn follow(&mut self, stamped: &Stamped) -> Verdict {
        match &stamped.record {
            Record::RunStarted(start) => self.wanted = start.smoke,
            Record::RunResumed { start } => {
                self.wanted = start.smoke;
                self.red = self.red.filter(|red| !red);
            }
            Record::Landed { commit, .. } => {
                self.tip = Some(commit.clone());
                self.red = None;
            }
            Record::Smoked(smoke) => {
                law(self.wanted, || "smoke that nobody wanted".to_owned())?;
                if self.tip.as_ref() == Some(&smoke.tip) {
                    law(self.red.is_none(), || {
                        format!("{} is judged twice", smoke.tip)
                    })?;
                    self.red = match smoke.result.verdict {
                        Said::Passed => Some(false),
                        Said::Failed(_) => Some(true),
                        Said::Broken(_) | Said::Interrupted => None,
                    };
                }
            }
            _ => {}
        }
        Ok(())
    }
}

//! Whose doing it is that a required gate is red or says nothing: what a candidate can bring about counts against the
//! candidate, and only what the untouched tip shows, too, is the environment's. Otherwise a test could stop a run, or
//! have itself tried again for ever, by a signal to the shell above it.

use std::collections::BTreeSet;

use super::{Halt, Judging};
use crate::driver::gates::{GateError, Ran, Room};
use crate::engine::verification::GateResult;
use crate::ids::ObjectId;
use crate::plan::checks::{FailOn, VerifyCommand};
use crate::verify::judge::{Facts, Judged, judge};

/// Whether it matters what the tip does: a task's own command may be red there, and is the task's to make green.
fn asks_tip(command: &VerifyCommand) -> bool {
    command.fail_on == FailOn::New || command.must_pass_before()
}

impl<'a> Judging<'a> {
    /// The room, taken anew and emptied, standing at the landing commit or at the tip.
    async fn alone(&mut self, other: Option<&ObjectId>) -> Result<&mut Room<'a>, GateError> {
        // Given back first: what is left of the slot itself may have to be made again.
        self.room = None;
        let job = Some(self.order.ticket.clone());
        let room = self.room.insert(self.gates.enter(self.site, job).await?);
        let wanted = other.unwrap_or(&self.order.commit);
        room.stand_alone_at(wanted).await?;
        Ok(room)
    }

    /// Asks a red command, and others, whatever must be known before its candidate is blamed.
    pub(super) async fn before_blame(
        &mut self,
        command: &VerifyCommand,
        first: Judged,
        ran: &mut Ran,
        base: &mut Option<Facts>,
    ) -> Result<Judged, Halt> {
        // What tests of other trees have left is not this one's doing.
        if ran.among_leftovers && !ran.facts.is_silent() {
            let alone = self.alone(None).await?.run(command).await?;
            let judged = judge(command.fail_on, &alone.facts, base.as_ref(), self.may_drop);
            let is_green = judged.result.lets_land();
            // One that is ended while it builds from nothing says less than the failure that is known.
            if is_green || alone.facts.fault.is_none() || ran.facts.fault.is_some() {
                *ran = alone;
            }
            if is_green {
                return self
                    .green_alone(command, first, judged, base.as_ref())
                    .await;
            }
        }
        if ran.facts.is_silent() {
            self.ask_again(command, ran, base).await?;
        } else if ran.facts.fault.is_none() && base.is_none() && asks_tip(command) {
            self.ask_tip(command, ran, base).await?;
        }
        Ok(judge(
            command.fail_on,
            &ran.facts,
            base.as_ref(),
            self.may_drop,
        ))
    }

    /// What is red beside what others have left, and green in an empty slot: their doing, unless a test that the
    /// candidate touches is one that fails now and then.
    async fn green_alone(
        &mut self,
        command: &VerifyCommand,
        first: Judged,
        alone: Judged,
        base: Option<&Facts>,
    ) -> Result<Judged, Halt> {
        if command.fail_on == FailOn::New && !first.new.is_empty() {
            return Ok(self.flaky(first)?);
        }
        let touched = self.touched(&first.new)?;
        if !touched.is_empty() {
            let third = self.at(None).await?.run(command).await?;
            let third = judge(command.fail_on, &third.facts, base, self.may_drop);
            if !third.result.lets_land() {
                return Ok(differing(third, &touched));
            }
        }
        Ok(Judged {
            detail: format!(
                "red at first, where tests of other trees had run ({}); passed in an empty gate slot",
                first.detail
            ),
            ..alone
        })
    }

    /// New failures that were not there again on the same tree.
    pub(super) fn flaky(&self, first: Judged) -> anyhow::Result<Judged> {
        let touched = self.touched(&first.new)?;
        Ok(match touched.is_empty() {
            true => Judged {
                result: GateResult::Flaky,
                detail: format!("{}; not so when it was run again", first.detail),
                ..first
            },
            false => differing(first, &touched),
        })
    }

    /// Asks a command again that has said nothing: a signal ended it, a program was missing. It may be chance, or what
    /// other trees have left in the slot; if not, it is the candidate's doing unless the tip does the same, now and here.
    async fn ask_again(
        &mut self,
        command: &VerifyCommand,
        ran: &mut Ran,
        base: &mut Option<Facts>,
    ) -> Result<(), GateError> {
        *ran = self.alone(None).await?.run(command).await?;
        if ran.facts.is_silent() {
            let onto = self.order.onto.clone();
            let on_tip = self.alone(Some(&onto)).await?.run(command).await?;
            *base = Some(on_tip.facts);
        }
        Ok(())
    }

    /// Asks the tip, of which nothing is known: nobody is blamed for what it does, too. What it does by itself shows in
    /// an empty slot: tests of the candidate may have left something that makes every tree red.
    async fn ask_tip(
        &mut self,
        command: &VerifyCommand,
        ran: &mut Ran,
        base: &mut Option<Facts>,
    ) -> Result<(), GateError> {
        let onto = self.order.onto.clone();
        let mut on_tip = self.at(Some(&onto)).await?.run(command).await?;
        if !on_tip.facts.is_green() {
            on_tip = self.alone(Some(&onto)).await?.run(command).await?;
            if on_tip.facts.is_green() {
                *ran = self.at(None).await?.run(command).await?;
            }
        }
        *base = Some(on_tip.facts);
        Ok(())
    }

    /// Stands at the landing commit. A place that cannot be made of it, above all a set-up that fails, is the
    /// candidate's doing only if one can be made of the tip.
    pub(super) async fn place(&mut self) -> Result<(), Halt> {
        let is_stacked = self.order.stacked;
        match self.at(None).await {
            Ok(_) => return Ok(()),
            Err(GateError::Ended) => return Err(GateError::Ended.into()),
            Err(error) if is_stacked => return Err(Halt::Red(error.to_string())),
            Err(error) => tracing::info!(%error, "a landing commit gets an empty gate slot"),
        }
        let error = match self.alone(None).await {
            Ok(_) => return Ok(()),
            Err(GateError::Ended) => return Err(GateError::Ended.into()),
            Err(error) => error,
        };
        let onto = self.order.onto.clone();
        Err(match self.alone(Some(&onto)).await {
            Ok(_) => Halt::Red(format!(
                "on the tip it was built on the set-up succeeds, here not: {error}"
            )),
            Err(GateError::Ended) => Halt::Error(GateError::Ended),
            Err(_) => Halt::Error(error),
        })
    }
}

/// A failure of tests that the candidate touches, whatever the command says when it is run again.
fn differing(judged: Judged, touched: &BTreeSet<String>) -> Judged {
    let names: Vec<&str> = touched.iter().map(String::as_str).collect();
    Judged {
        detail: format!(
            "{}; not so when it was run again, but the change touches {}",
            judged.detail,
            names.join(", ")
        ),
        ..judged
    }
}

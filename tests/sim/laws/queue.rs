//! The landing queue in the book: who is in it, and what each is built on.

use orch::ids::{ObjectId, TaskId, Ticket};

use super::{Done, Laws, Verdict, law};

/// A task in the landing queue.
pub(super) struct Queued {
    pub task: TaskId,
    pub behind: Option<ObjectId>,
    pub commit: Option<ObjectId>,
    pub unjudged: bool,
    /// Its gates said no.
    pub red: bool,
}

impl Laws {
    /// Whether the attempt resolves a conflict.
    pub(crate) fn resolves(&self, ticket: &Ticket) -> bool {
        self.resolvers.resolves(ticket)
    }

    /// A candidate is built on the target's tip if nothing is before it, else on the last one.
    pub(super) fn enter_queue(&mut self, ticket: &Ticket, behind: Option<&ObjectId>) -> Verdict {
        let last = self.queue.last();
        law(last.is_some() == behind.is_some(), || {
            format!("{ticket} builds beside another")
        })?;
        law(last.and_then(|last| last.commit.as_ref()) == behind, || {
            format!("{ticket} builds on {behind:?}, which is not the last one in the queue")
        })?;
        let unjudged = self.queue.iter().filter(|of| of.unjudged).count();
        law(unjudged < self.gate_slots.max(1), || {
            format!("{ticket} builds with no gate slot left")
        })?;
        self.queue.push(Queued {
            task: ticket.task.clone(),
            behind: behind.cloned(),
            commit: None,
            unjudged: true,
            red: false,
        });
        Ok(())
    }

    pub(super) fn queued(&mut self, task: &TaskId) -> Result<&mut Queued, String> {
        let found = self.queue.iter_mut().find(|of| of.task == *task);
        found.ok_or_else(|| format!("{task} is not in the landing queue"))
    }

    pub(super) fn leave_queue(&mut self, task: &TaskId) -> Result<Queued, String> {
        let at = self.queue.iter().position(|of| of.task == *task);
        let at = at.ok_or_else(|| format!("{task} is not in the landing queue"))?;
        Ok(self.queue.remove(at))
    }

    pub(super) fn landed(&mut self, ticket: &Ticket, commit: &ObjectId) -> Verdict {
        let entry = self.entry(ticket);
        let generation = entry.generation;
        law(entry.landed_in != Some(generation), || {
            format!("{ticket} lands twice")
        })?;
        entry.landed_in = Some(generation);
        entry.done = Done::Satisfied;
        entry.under_way = false;
        entry.on_the_way_in = false;
        law(
            self.intended.get(commit) == Some(&(ticket.task.clone(), generation)),
            || format!("{ticket} lands what was not announced"),
        )?;
        self.landed.push(commit.clone());
        Ok(())
    }
}

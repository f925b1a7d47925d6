//! What the parts of a plan mean together: ids, dependencies, groups, statuses; and the graph.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::checks::Checks;
use super::graph::{Declared, Edge, Graph, Looks, Node};
use super::keys::nearest;
use super::order::{self, EDGES_MAX, Need, Place, TooLarge};
use super::problems::Problems;
use super::read::{Dependency, Draft, TaskDraft};
use super::reader::quote;
use super::schema::{MAX_ATTEMPTS_DEFAULT, Schedule, Task};
use crate::diagnostic::Diagnostic;
use crate::digest::sha256_hex;
use crate::ids::TaskId;

/// Most unknown dependencies that get a suggestion, which costs a look at every task.
const SUGGESTIONS_MAX: usize = 20;

/// Shortest id that can be misspelt: shorter ones all look alike.
const SUGGESTION_BYTES_MIN: usize = 3;

/// Most tasks that a message lists.
const LISTED_MAX: usize = 10;

/// Checks a draft as a whole and makes its graph; the graph is of use only if there are no errors.
pub(super) fn graph(draft: &mut Draft, problems: &mut Problems) -> Graph {
    check_sections(draft, problems);
    let index = index_by_id(draft, problems);
    check_groups(draft, problems);
    if draft.tasks.is_empty() && draft.unreadable.is_empty() && !problems.has_errors() {
        problems.push(Diagnostic::warning("no-tasks", "the plan has no tasks"));
    }
    let explicit = resolve(draft, &index, problems);
    let places: Vec<Place<'_>> = draft
        .tasks
        .iter()
        .zip(explicit)
        .map(|(draft, explicit)| Place {
            section: draft.task.section,
            group: draft.task.parallel_group.as_deref(),
            explicit,
        })
        .collect();
    let needs = match needs(draft, &places, problems) {
        Ok(needs) => needs,
        Err(TooLarge { at }) => {
            problems.push(too_large(&draft.tasks[at]));
            return Graph::default();
        }
    };
    let graph = build(draft, &needs);
    let explicit: Vec<Option<Vec<usize>>> = places.into_iter().map(|p| p.explicit).collect();
    for (read, on) in draft.tasks.iter_mut().zip(explicit) {
        let ids = |on: Vec<usize>| on.into_iter().map(|t| graph.nodes[t].id.clone()).collect();
        read.task.depends_on = on.map(ids);
    }
    graph
}

fn check_sections(draft: &Draft, problems: &mut Problems) {
    let mut seen: HashMap<&str, &Range<usize>> = HashMap::new();
    for read in &draft.sections {
        let section = &read.section;
        if let Some(first) = seen.insert(section.id.as_str(), &read.id_span) {
            problems.push(
                Diagnostic::warning(
                    "duplicate-section",
                    format!("two sections have the id {}", quote(section.id.as_str())),
                )
                .at(read.id_span.clone())
                .related(first.clone(), "the other one"),
            );
        }
        let is_open = |draft: &&TaskDraft| draft.task.declared == Declared::Pending;
        let open: Vec<&TaskId> = draft.tasks[section.tasks.clone()]
            .iter()
            .filter(is_open)
            .map(|draft| &draft.task.id)
            .collect();
        if let (Some("completed"), Some(span)) = (section.status.as_deref(), &read.status_span)
            && !open.is_empty()
        {
            let message = format!(
                "the section says `completed`, and {} of its tasks are pending: {}",
                open.len(),
                list(open.into_iter())
            );
            problems.push(
                Diagnostic::warning("completed-section", message)
                    .at(span.clone())
                    .help("they will run: a section's status follows from its tasks and is not obeyed"),
            );
        }
    }
}

fn index_by_id<'d>(draft: &'d Draft, problems: &mut Problems) -> HashMap<&'d str, usize> {
    let mut index: HashMap<&str, usize> = HashMap::with_capacity(draft.tasks.len());
    for (at, read) in draft.tasks.iter().enumerate() {
        let id = read.task.id.as_str();
        let first = *index.entry(id).or_insert(at);
        if first != at {
            problems.push(
                Diagnostic::error("duplicate-id", format!("two tasks have the id `{id}`"))
                    .at(read.id_span.clone())
                    .related(draft.tasks[first].id_span.clone(), "the other one"),
            );
        }
    }
    index
}

/// A group whose members are not adjacent falls apart, which is rarely what its author thinks.
fn check_groups(draft: &Draft, problems: &mut Problems) {
    let mut last_of: HashMap<&str, usize> = HashMap::new();
    for (at, read) in draft.tasks.iter().enumerate() {
        let (Some(group), Some(span)) = (&read.task.parallel_group, &read.group_span) else {
            continue;
        };
        let Some(last) = last_of.insert(group, at) else {
            continue;
        };
        let other = &draft.tasks[last];
        let same_section = other.task.section == read.task.section;
        let adjacent = last + 1 == at;
        let problem = match (same_section, adjacent) {
            (true, false) => "other tasks stand between its members",
            (false, true) => "a section ends between its members",
            // The same name in parts of the plan that have nothing to do with each other is no accident.
            (true, true) | (false, false) => continue,
        };
        problems.push(
            Diagnostic::warning(
                "split-group",
                format!("the group {} is split: {problem}", quote(group)),
            )
            .at(span.clone())
            .related(
                other.group_span.clone().unwrap_or(other.id_span.clone()),
                "the part before ends here",
            )
            .help("adjacent tasks of one section make a group; the parts follow each other"),
        );
    }
}

/// The written dependencies as indices, without those that are reported here.
fn resolve(
    draft: &Draft,
    index: &HashMap<&str, usize>,
    problems: &mut Problems,
) -> Vec<Option<Vec<usize>>> {
    let mut suggestions_left = SUGGESTIONS_MAX;
    let mut resolve_one = |at: usize, wanted: &Dependency| {
        let problem = match index.get(wanted.id.as_str()) {
            Some(needed) if *needed != at => return Some(*needed),
            Some(_) => {
                let message = format!("task `{}` depends on itself", wanted.id);
                Diagnostic::error("self-dependency", message).at(wanted.span.clone())
            }
            None if draft.unreadable.contains(&wanted.id) => return None,
            None => {
                let similar = (suggestions_left > 0)
                    .then(|| similar_id(&wanted.id, at, draft))
                    .flatten();
                suggestions_left = suggestions_left.saturating_sub(1);
                unknown_task(&draft.tasks[at].task.id, wanted, similar)
            }
        };
        problems.push(problem);
        None
    };
    let mut explicit = Vec::with_capacity(draft.tasks.len());
    for (at, read) in draft.tasks.iter().enumerate() {
        let wanted = read.depends_on.as_ref();
        explicit.push(wanted.map(|ids| ids.iter().filter_map(|id| resolve_one(at, id)).collect()));
    }
    explicit
}

fn unknown_task(asking: &TaskId, wanted: &Dependency, similar: Option<&TaskDraft>) -> Diagnostic {
    let message = format!(
        "task `{asking}` depends on {}, which no task has as its id",
        quote(&wanted.id)
    );
    let problem = Diagnostic::error("unknown-task", message).at(wanted.span.clone());
    match similar {
        Some(meant) => problem
            .help(format!("did you mean `{}`?", meant.task.id))
            .related(meant.id_span.clone(), "a similar id"),
        None => problem,
    }
}

/// A task other than `asking` whose id looks like a misspelling of `id`. Numbers are not compared by their letters: 1.2
/// is no misspelt 1.1; but 1.10 loses its zero in many programs.
fn similar_id<'d>(id: &str, asking: usize, draft: &'d Draft) -> Option<&'d TaskDraft> {
    let is_number = |id: &str| id.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let others = || {
        let tasks = draft.tasks.iter().enumerate();
        tasks.filter(|(at, _)| *at != asking).map(|(_, task)| task)
    };
    if is_number(id) {
        let value = |id: &str| id.trim_end_matches('0').to_owned();
        return others().find(|other| {
            let other = other.task.id.as_str();
            is_number(other) && other.contains('.') && value(other) == value(id)
        });
    }
    if id.len() < SUGGESTION_BYTES_MIN {
        return None;
    }
    let ids = others().map(|other| other.task.id.as_str());
    let meant = nearest(id, ids.filter(|id| !is_number(id)))?;
    others().find(|other| other.task.id.as_str() == meant)
}

/// The edges of the graph; none if the written ones make cycles, which are reported.
fn needs(
    draft: &Draft,
    places: &[Place<'_>],
    problems: &mut Problems,
) -> Result<Vec<Vec<Need>>, TooLarge> {
    let explicit = order::explicit_needs(places)?;
    let cycles = order::cycles(&explicit);
    if !cycles.is_empty() {
        for cycle in &cycles {
            problems.push(describe(cycle, draft));
        }
        return Ok(explicit);
    }
    match draft.meta.schedule {
        Schedule::Implicit => order::needs(places),
        Schedule::Explicit => Ok(explicit),
    }
}

fn describe(cycle: &[usize], draft: &Draft) -> Diagnostic {
    let id = |at: usize| &draft.tasks[at].task.id;
    let written = |from: usize, to: usize| {
        let ids = draft.tasks[from].depends_on.iter().flatten();
        ids.filter(|item| item.id == id(to).as_str())
            .map(|item| item.span.clone())
            .next()
    };
    let pairs = || cycle.iter().zip(cycle.iter().cycle().skip(1));
    let mut path: Vec<String> = cycle
        .iter()
        .take(LISTED_MAX)
        .map(|t| format!("`{}`", id(*t)))
        .collect();
    if let Some(more @ 1..) = cycle.len().checked_sub(LISTED_MAX) {
        path.push(format!("{more} more"));
    }
    path.extend(cycle.first().map(|first| format!("`{}`", id(*first))));
    let message = format!("these tasks wait for each other: {}", path.join(" -> "));
    let mut places = pairs().filter_map(|(from, to)| Some((*from, *to, written(*from, *to)?)));
    let mut problem = Diagnostic::error("cycle", message);
    problem.span = places.next().map(|(_, _, span)| span);
    for (from, to, span) in places.take(LISTED_MAX) {
        problem = problem.related(span, format!("`{}` waits for `{}`", id(from), id(to)));
    }
    problem
}

fn too_large(read: &TaskDraft) -> Diagnostic {
    Diagnostic::error(
        "too-many-edges",
        format!("the plan has more than {EDGES_MAX} dependencies, implied ones included"),
    )
    .at(read.id_span.clone())
    .help("put one task between large groups that follow each other, or write `depends_on`")
}

fn build(draft: &Draft, needs: &[Vec<Need>]) -> Graph {
    let edge = |need: &Need| Edge {
        on: draft.tasks[need.on].task.id.clone(),
        implied: need.implied,
    };
    let node = |(read, needs): (&TaskDraft, &Vec<Need>)| {
        node(&read.task, draft, needs.iter().map(edge).collect())
    };
    draft.tasks.iter().zip(needs).map(node).collect()
}

/// Limits of durations keep far away from what does not fit.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn node(task: &Task, draft: &Draft, needs: Vec<Edge>) -> Node {
    let meta = &draft.meta;
    let section = draft.sections.get(task.section);
    let levels = [
        task.checks.as_deref(),
        section.and_then(|read| read.section.checks.as_deref()),
        meta.checks.as_deref(),
    ];
    Node {
        id: task.id.clone(),
        name: Arc::clone(&task.name),
        needs,
        priority: task.priority,
        resources: task.exclusive_resources.to_vec(),
        files: task.files.to_vec(),
        max_attempts: task
            .max_attempts
            .or(meta.max_attempts_default)
            .unwrap_or(MAX_ATTEMPTS_DEFAULT),
        retry_from: task.retry_from,
        kind: task.kind,
        declared: task.declared,
        spec_hash: spec_hash(task),
        gates: Checks::of_levels(levels).gates(),
        approval: task.approval.as_ref().map(|approval| approval.when),
        evidence: task.external.as_ref().map(|external| Looks {
            every_ms: ms(external.every),
            for_ms: external.timeout.map(ms),
        }),
    }
}

/// SHA-256 over what a task asks for. How it is scheduled, retried or by which program it is done takes no part, nor
/// does anything that a run writes: work that was done stays done when these change.
fn spec_hash(task: &Task) -> String {
    let named = task.agent.as_ref().filter(|_| !task.agent_inferred);
    let asked = (
        "orch task 1",
        &task.name,
        &task.description,
        &task.kind,
        named,
        &task.run,
        &task.files,
    );
    sha256_hex(&serde_json::to_vec(&asked).expect("texts and lists of texts are JSON"))
}

fn list<'a>(ids: impl ExactSizeIterator<Item = &'a TaskId>) -> String {
    let more = ids.len().saturating_sub(LISTED_MAX);
    let mut listed: Vec<String> = ids.take(LISTED_MAX).map(|id| format!("`{id}`")).collect();
    if more > 0 {
        listed.push(format!("{more} more"));
    }
    listed.join(", ")
}

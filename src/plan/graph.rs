//! The flat graph that front ends compile to, and the only thing of a plan that the engine sees.
//!
//! How a plan's document order, groups and `depends_on` become edges is decided in `order`; texts that only prompts
//! need stay in the plan.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::TaskId;

/// A checked plan as a graph without cycles, in document order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// The tasks in document order. Shared: the plan, the run's records and the engine keep the same ones.
    pub nodes: Vec<Arc<Node>>,
}

/// A task as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the graph.
    pub id: TaskId,
    /// For people. Shared with the plan's task.
    pub name: Arc<str>,
    /// What must be settled before this task may start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Edge>,
    /// Higher starts first; 0 unless the plan says otherwise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// Names that no two running tasks may share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Globs of paths that the task may write; overlapping ones never run at once. Empty: not declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// Attempts that may be spent before the task has failed; at least 1.
    pub max_attempts: u32,
    /// Where a retry starts, if the plan says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_from: Option<RetryFrom>,
    /// What counts as done.
    #[serde(default, skip_serializing_if = "TaskKind::is_change")]
    pub kind: TaskKind,
    /// The status in the plan's text when it was read.
    pub declared: Declared,
    /// SHA-256 of what the task asks for, in hexadecimal: with the id, the task's key. Fields that a run writes do not
    /// take part.
    pub spec_hash: String,
    /// Whether anything judges its landing commit.
    #[serde(default, skip_serializing_if = "Gates::is_none")]
    pub gates: Gates,
    /// What a person must approve, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<When>,
    /// How evidence from outside is looked for, if the task needs some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Looks>,
}

/// Whether anything judges a landing commit.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Gates {
    /// Nothing: it lands unverified.
    #[default]
    None,
    /// Something that vouches for nothing: outputs, or commands that are not required.
    Optional,
    /// At least one required command: it lands only as verified.
    Required,
}

impl Gates {
    /// For records, which leave out what is not there.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// What an approval is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// The start: no agent is paid before it.
    Before,
    /// What was made: nothing lands before it.
    #[default]
    After,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_zero(priority: &i64) -> bool {
    *priority == 0
}

/// How evidence is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    /// Milliseconds from one look to the next.
    pub every_ms: u64,
    /// Milliseconds until nobody looks any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
}

/// A dependency.
///
/// A written edge holds once its task is completed or skipped. An implied edge stands for everything that can be reached
/// over it (see `order`): it holds once its task *and what that task needs, directly or not,* is completed or skipped.
/// The difference shows when a task is completed or skipped before those it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The task that must be settled first.
    pub on: TaskId,
    /// Whether the edge follows from document order instead of a written `depends_on`.
    pub implied: bool,
}

/// Where the next attempt starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryFrom {
    /// From what the last attempt left.
    Candidate,
    /// From the target's tip.
    Base,
}

/// What counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// A change of the repository.
    #[default]
    Change,
    /// A text, stored with its hash.
    Report,
}

/// A settled or open status as plans spell it. `in_progress` is read as [`Declared::Pending`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Declared {
    /// To be done.
    #[default]
    Pending,
    /// Done, says the text.
    Completed,
    /// Failed, says the text.
    Failed,
    /// Not to be done; satisfies those that need it.
    Skipped,
}

impl TaskKind {
    /// For records, which leave out what most tasks are.
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands out references"
    )]
    fn is_change(&self) -> bool {
        *self == Self::Change
    }
}

impl Declared {
    /// Whether there may be something left to do.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Completed | Self::Skipped)
    }

    /// The word in a plan's text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl FromIterator<Node> for Graph {
    fn from_iter<T: IntoIterator<Item = Node>>(nodes: T) -> Self {
        Self {
            nodes: nodes.into_iter().map(Arc::new).collect(),
        }
    }
}

impl Graph {
    /// The node of a task.
    pub fn node(&self, id: &TaskId) -> Option<&Arc<Node>> {
        self.nodes.iter().find(|n| n.id == *id)
    }

    /// For each node the indices of the nodes that it needs, in the order of [`Node::needs`]. Edges to tasks that the
    /// graph does not have are left out.
    pub fn needs_by_index(&self) -> Vec<Vec<usize>> {
        let index: HashMap<&TaskId, usize> = self.nodes.iter().map(|n| &n.id).zip(0..).collect();
        let needs = |n: &Arc<Node>| {
            n.needs
                .iter()
                .filter_map(|edge| index.get(&edge.on).copied())
                .collect()
        };
        self.nodes.iter().map(needs).collect()
    }

    /// The nodes by level: a node stands one level below the lowest that it needs. Within a level in document order.
    pub fn levels(&self) -> Vec<Vec<usize>> {
        let needs = self.needs_by_index();
        let mut level_of = vec![0; needs.len()];
        let mut levels: Vec<Vec<usize>> = Vec::new();
        for node in topological(&needs) {
            let level = needs[node]
                .iter()
                .map(|n| level_of[*n] + 1)
                .max()
                .unwrap_or(0);
            level_of[node] = level;
            levels.resize_with(levels.len().max(level + 1), Vec::new);
        }
        for (node, level) in level_of.into_iter().enumerate() {
            levels[level].push(node);
        }
        levels
    }

    /// For each node the number of tasks on the longest path that begins with it and goes on to those that need it:
    /// 1 if nothing needs it.
    pub fn remaining(&self) -> Vec<u32> {
        let needs = self.needs_by_index();
        let mut remaining = vec![1; needs.len()];
        for node in topological(&needs).into_iter().rev() {
            for &need in &needs[node] {
                remaining[need] = remaining[need].max(remaining[node] + 1);
            }
        }
        remaining
    }

    /// One longest path through the graph, in the order of execution.
    pub fn critical_path(&self) -> Vec<usize> {
        let needs = self.needs_by_index();
        let remaining = self.remaining();
        let mut dependents = vec![Vec::new(); needs.len()];
        for (node, needs) in needs.iter().enumerate() {
            needs.iter().for_each(|need| dependents[*need].push(node));
        }
        let longest = remaining.iter().copied().max().unwrap_or(0);
        let mut path = Vec::new();
        let mut candidates: Vec<usize> = (0..needs.len()).collect();
        for left in (1..=longest).rev() {
            let next = candidates.iter().copied().find(|n| remaining[*n] == left);
            let Some(next) = next else { break };
            path.push(next);
            candidates = std::mem::take(&mut dependents[next]);
        }
        path
    }
}

impl Node {
    /// Why two tasks must never run at once, in words for people; `None` if they may.
    pub fn conflict(&self, other: &Self) -> Option<String> {
        let shared = self.resources.iter().find(|r| other.resources.contains(r));
        if let Some(resource) = shared {
            return Some(format!("both need the resource `{resource}`"));
        }
        let (mine, theirs) = overlapping_globs(&self.files, &other.files)?;
        Some(if mine == theirs {
            format!("both may write `{mine}`")
        } else {
            format!("`{mine}` and `{theirs}` may name the same file")
        })
    }
}

/// The first pair of globs, one of each list, that may match the same path; `None` only if no path can match both
/// lists. A glob without wildcards names a file, or a directory with all that is in it.
pub fn overlapping_globs<'a>(a: &'a [String], b: &'a [String]) -> Option<(&'a str, &'a str)> {
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
    pairs
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .find(|(a, b)| globs_overlap(a, b))
}

/// Compares what stands before the first wildcard only: two globs that differ there match no common path, and of
/// others it is assumed that they do.
fn globs_overlap(a: &str, b: &str) -> bool {
    let (a, a_is_literal) = literal_prefix(a);
    let (b, b_is_literal) = literal_prefix(b);
    let within = |path: &str, dir: &str| {
        dir.is_empty()
            || path
                .strip_prefix(dir)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match (a_is_literal, b_is_literal) {
        (true, true) => within(a, b) || within(b, a),
        (true, false) => a.starts_with(b) || within(b, a),
        (false, true) => b.starts_with(a) || within(a, b),
        (false, false) => a.starts_with(b) || b.starts_with(a),
    }
}

/// What stands before the first wildcard or escape, and whether that is all. `./` at the front and `/` at the end of a
/// literal mean nothing.
fn literal_prefix(glob: &str) -> (&str, bool) {
    let glob = glob.strip_prefix("./").unwrap_or(glob);
    match glob.find(['*', '?', '[', '{', '\\']) {
        Some(wildcard) => (&glob[..wildcard], false),
        None => (glob.trim_end_matches('/'), true),
    }
}

/// The nodes, each behind those that it needs. A graph without cycles has all its nodes in it.
fn topological(needs: &[Vec<usize>]) -> Vec<usize> {
    let mut dependents = vec![Vec::new(); needs.len()];
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    for (node, needs) in needs.iter().enumerate() {
        needs.iter().for_each(|need| dependents[*need].push(node));
    }
    let mut order: Vec<usize> = (0..needs.len()).filter(|n| open[*n] == 0).collect();
    let mut next = 0;
    while let Some(&node) = order.get(next) {
        next += 1;
        for &dependent in &dependents[node] {
            open[dependent] -= 1;
            if open[dependent] == 0 {
                order.push(dependent);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph of nodes `0, 1, ..` with the given needs.
    fn graph(needs: &[&[usize]]) -> Graph {
        let id = |n: usize| TaskId::parse(&n.to_string()).expect("a number is an id");
        let edge = |on: &usize| Edge {
            on: id(*on),
            implied: false,
        };
        let node = |(n, needs): (usize, &&[usize])| Node {
            id: id(n),
            name: n.to_string().into(),
            needs: needs.iter().map(edge).collect(),
            priority: 0,
            resources: Vec::new(),
            files: Vec::new(),
            max_attempts: 1,
            retry_from: None,
            kind: TaskKind::Change,
            declared: Declared::Pending,
            spec_hash: String::new(),
            gates: Gates::None,
            approval: None,
            evidence: None,
        };
        needs.iter().enumerate().map(node).collect()
    }

    #[test]
    fn a_diamond_with_a_forward_edge_has_its_levels_and_critical_path() {
        // 0 needs 3, which stands behind it; 1 and 2 need 0; 4 needs both; 5 stands alone.
        let graph = graph(&[&[3], &[0], &[0], &[], &[1, 2], &[]]);
        assert_eq!(graph.levels(), [vec![3, 5], vec![0], vec![1, 2], vec![4]]);
        assert_eq!(graph.remaining(), [3, 2, 2, 4, 1, 1]);
        assert_eq!(graph.critical_path(), [3, 0, 1, 4]);
    }

    #[test]
    fn an_empty_graph_has_no_levels_and_no_path() {
        let graph = Graph::default();
        assert!(graph.levels().is_empty() && graph.critical_path().is_empty());
    }

    #[test]
    fn globs_overlap_unless_they_differ_before_the_first_wildcard() {
        for (a, b, overlap) in [
            ("src/a.rs", "src/a.rs", true),
            ("src/a.rs", "./src/a.rs", true),
            ("src/a.rs", "src/b.rs", false),
            ("src", "src/a.rs", true),
            ("src/", "src/a.rs", true),
            ("src", "src2/a.rs", false),
            ("src/**", "src/a.rs", true),
            ("src/**", "src", true),
            ("src/ui/*.ts", "src/api/**", false),
            ("src/*.ts", "src/ui/**", true),
            ("**/*.md", "docs/a.md", true),
            ("src/a*", "src", true),
            ("src/a*", "sr", false),
            ("", "a", true),
        ] {
            assert_eq!(globs_overlap(a, b), overlap, "{a} {b}");
            assert_eq!(globs_overlap(b, a), overlap, "{b} {a}");
        }
    }

    #[test]
    fn tasks_with_a_common_resource_or_file_conflict() {
        let nodes = graph(&[&[], &[]]).nodes;
        let mut nodes: Vec<Node> = nodes.iter().map(|node| Node::clone(node)).collect();
        assert_eq!(nodes[0].conflict(&nodes[1]), None);
        nodes[0].files = vec!["src/**".to_owned()];
        nodes[1].files = vec!["docs".to_owned(), "src/a.rs".to_owned()];
        let files = nodes[0].conflict(&nodes[1]);
        assert_eq!(
            files.as_deref(),
            Some("`src/**` and `src/a.rs` may name the same file")
        );
        nodes[0].resources = vec!["db".to_owned()];
        nodes[1].resources = vec!["port".to_owned(), "db".to_owned()];
        let resource = nodes[0].conflict(&nodes[1]);
        assert_eq!(resource.as_deref(), Some("both need the resource `db`"));
    }
}

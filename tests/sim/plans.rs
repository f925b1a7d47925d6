//! Random plans, and what people and agents make of them while they run.

use std::collections::BTreeSet;
use std::sync::Arc;

use orch::engine::event::{Author, PlanRevision};
use orch::ids::TaskId;
use orch::plan::graph::{Declared, Edge, Gates, Graph, Looks, Node, RetryFrom, TaskKind, When};

use crate::rng::Rng;
use crate::world::service::profile;

/// The plan's text as it stands: a graph, and how many times it was changed.
pub(crate) struct Plan {
    pub graph: Graph,
    /// Whether nothing lands without a gate that must pass.
    pub is_gated: bool,
    version: u64,
    next_number: u64,
    /// Tasks whose status in the text is a person's word, or an agent's.
    said: BTreeSet<TaskId>,
}

impl Plan {
    pub(crate) fn random(rng: &mut Rng) -> Self {
        let mut plan = Self {
            graph: Graph::default(),
            is_gated: false,
            version: 0,
            next_number: 0,
            said: BTreeSet::new(),
        };
        let tasks = match rng.below(600) {
            0 => 41 + rng.below(160),
            1..20 => 13 + rng.below(28),
            _ => 1 + rng.below(12).min(rng.below(12)),
        };
        // The book of laws follows every path through a plan; with few edges there are not too many.
        let edges_max = if tasks > 40 { 1 } else { 3 };
        for _ in 0..tasks {
            let mut node = plan.new_node(rng, edges_max);
            node.declared = match rng.below(100) {
                0..6 => Declared::Completed,
                6..9 => Declared::Failed,
                9..14 => Declared::Skipped,
                _ => Declared::Pending,
            };
            plan.said.insert(node.id.clone());
            plan.insert(rng, node);
        }
        plan
    }

    /// Whether the status of a task is what somebody but orch has written.
    pub(crate) fn is_said(&self, id: &TaskId) -> bool {
        self.said.contains(id)
    }

    /// Only the first tasks, without what leads to others.
    pub(crate) fn cut(&mut self, tasks: usize) {
        self.graph.nodes.truncate(tasks);
        let left: Vec<TaskId> = self
            .graph
            .nodes
            .iter()
            .map(|node| node.id.clone())
            .collect();
        for node in &mut self.graph.nodes {
            Arc::make_mut(node)
                .needs
                .retain(|edge| left.contains(&edge.on));
        }
    }

    pub(crate) fn revision(&self, by: Author) -> PlanRevision {
        let ids = self.graph.nodes.iter().map(|node| &node.id);
        PlanRevision {
            text_sha256: format!("plan {}", self.version),
            by,
            graph: self.as_judged(),
            profiles: Arc::new(ids.map(|id| (id.clone(), profile(id).into())).collect()),
            checked: Arc::default(),
        }
    }

    fn as_judged(&self) -> Graph {
        let mut graph = self.graph.clone();
        if self.is_gated {
            let nodes = graph.nodes.iter_mut();
            nodes.for_each(|node| Arc::make_mut(node).gates = Gates::Required);
        }
        graph
    }

    /// An agent adds tasks, and may call one off.
    pub(crate) fn extend(&mut self, rng: &mut Rng) {
        for _ in 0..=rng.below(2) {
            let node = self.new_node(rng, 3);
            self.insert(rng, node);
        }
        if rng.percent(20) {
            let at = rng.below(self.graph.nodes.len());
            self.node(at).declared = Declared::Skipped;
            self.said.insert(self.graph.nodes[at].id.clone());
        }
        self.version += 1;
    }

    /// A person changes something.
    pub(crate) fn edit(&mut self, rng: &mut Rng) {
        let at = rng.below(self.graph.nodes.len());
        match rng.below(8) {
            0 | 1 => {
                let node = self.new_node(rng, 3);
                self.insert(rng, node);
            }
            2 if self.graph.nodes.len() > 1 => {
                let gone = self.graph.nodes.remove(at).id.clone();
                for node in &mut self.graph.nodes {
                    Arc::make_mut(node).needs.retain(|edge| edge.on != gone);
                }
            }
            3 if rng.percent(50) => {
                self.node(at).gates = *rng.pick(&[Gates::None, Gates::Optional, Gates::Required]);
            }
            3 => self.node(at).needs.clear(),
            6 | 7 => self.turn_round(at),
            4 => {
                self.node(at).declared = *rng.pick(&[
                    Declared::Pending,
                    Declared::Completed,
                    Declared::Failed,
                    Declared::Skipped,
                ]);
                self.said.insert(self.graph.nodes[at].id.clone());
            }
            _ => {
                self.node(at).spec_hash = format!("{:x}", rng.next());
                self.node(at).max_attempts = 1 + u32::try_from(rng.below(4)).expect("small");
            }
        }
        self.version += 1;
    }

    /// orch writes what has settled.
    pub(crate) fn write(&mut self, id: &TaskId, declared: Declared) {
        if let Some(node) = self.graph.nodes.iter_mut().find(|node| node.id == *id)
            && node.declared != declared
        {
            Arc::make_mut(node).declared = declared;
            self.said.remove(id);
            self.version += 1;
        }
    }

    /// Turns the edge between a task and the first that it needs. Where the one has started and the other has not, the
    /// old edge and the new one close a circle, although each revision is free of them.
    fn turn_round(&mut self, at: usize) {
        if self.graph.nodes[at].needs.is_empty() {
            return;
        }
        let edge = self.node(at).needs.remove(0);
        let id = self.graph.nodes[at].id.clone();
        if !self.reaches(&id, &edge.on) {
            let needed = self.graph.nodes.iter_mut().find(|node| node.id == edge.on);
            let implied = edge.implied;
            let needed = Arc::make_mut(needed.expect("checked"));
            needed.needs.push(Edge { on: id, implied });
        }
    }

    fn node(&mut self, at: usize) -> &mut Node {
        Arc::make_mut(&mut self.graph.nodes[at])
    }

    fn reaches(&self, from: &TaskId, to: &TaskId) -> bool {
        let node = self.graph.node(from).expect("checked");
        from == to || node.needs.iter().any(|edge| self.reaches(&edge.on, to))
    }

    fn insert(&mut self, rng: &mut Rng, node: Node) {
        let at = rng.below(self.graph.nodes.len() + 1);
        self.graph.nodes.insert(at, node.into());
    }

    fn new_node(&mut self, rng: &mut Rng, edges_max: usize) -> Node {
        let number = self.next_number;
        self.next_number += 1;
        let edges = if self.graph.nodes.is_empty() {
            0
        } else {
            rng.below(edges_max + 1)
        };
        let mut needs: Vec<Edge> = Vec::new();
        for _ in 0..edges {
            let on = rng.pick(&self.graph.nodes).id.clone();
            if needs.iter().all(|edge| edge.on != on) {
                let implied = rng.percent(40);
                needs.push(Edge { on, implied });
            }
        }
        let claims = |rng: &mut Rng, chance, of: &[&str]| match rng.percent(chance) {
            true => vec![(*rng.pick(of)).to_owned()],
            false => Vec::new(),
        };
        Node {
            id: TaskId::parse(&format!("t{number}")).expect("a good id"),
            name: format!("task {number}").into(),
            needs,
            priority: *rng.pick(&[0, 0, 0, 5, -3]),
            resources: claims(rng, 20, &["db", "gpu"]),
            files: claims(rng, 20, &["src/a/**", "src/a/x.rs", "src/b/**", "docs/**"]),
            max_attempts: 1 + u32::try_from(rng.below(3)).expect("small"),
            retry_from: *rng.pick(&[
                None,
                None,
                Some(RetryFrom::Base),
                Some(RetryFrom::Candidate),
            ]),
            kind: *rng.pick(&[
                TaskKind::Change,
                TaskKind::Change,
                TaskKind::Change,
                TaskKind::Report,
            ]),
            declared: Declared::Pending,
            spec_hash: format!("{:x}", rng.next()),
            approval: match rng.below(100) {
                0..4 => Some(When::Before),
                4..10 => Some(When::After),
                _ => None,
            },
            evidence: rng.percent(5).then(|| Looks {
                every_ms: 60_000,
                for_ms: rng.percent(50).then_some(600_000),
            }),
            gates: *rng.pick(&[
                Gates::None,
                Gates::None,
                Gates::Optional,
                Gates::Required,
                Gates::Required,
            ]),
        }
    }
}

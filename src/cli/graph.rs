//! `orch graph [PLAN]`: what follows what, in levels, with the critical path.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use serde::Serialize;

use super::check;
use crate::error::{Error, OrKind, Result};
use crate::ids::TaskId;
use crate::plan::graph::{Declared, Edge, Graph, Node, TaskKind};
use crate::plan::{Plan, Strictness};

/// Version of the JSON form.
const FORMAT_VERSION: u32 = 1;

/// How the graph is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum GraphFormat {
    /// Levels, one task a line.
    #[default]
    Ascii,
    /// A Mermaid flowchart.
    Mermaid,
    /// A Graphviz digraph.
    Dot,
    /// For programs.
    Json,
}

/// Prints the graph of a plan to `out`, and what is wrong with the plan to `talk`.
///
/// # Errors
/// A usage error if the plan cannot be read or does not check; an environment error if nothing can be printed.
pub fn graph(
    path: &Path,
    format: GraphFormat,
    color: bool,
    out: &mut dyn Write,
    talk: &mut dyn Write,
) -> Result<()> {
    let checked = check::read(path, Strictness::AsWritten)?;
    let Some(plan) = &checked.plan else {
        write!(talk, "{}", checked.render(color)).or_environment()?;
        return Err(Error::usage(format!(
            "the plan `{}` does not check",
            checked.name
        )));
    };
    let view = View::new(&plan.graph);
    let printed = match format {
        GraphFormat::Ascii => ascii(plan, &view, out),
        GraphFormat::Mermaid => mermaid(&view, out),
        GraphFormat::Dot => dot(&view, out),
        GraphFormat::Json => json(&view, out),
    };
    printed.or_environment()
}

/// A graph with what is computed from it.
struct View<'g> {
    nodes: &'g [Arc<Node>],
    index: HashMap<&'g TaskId, usize>,
    levels: Vec<Vec<usize>>,
    remaining: Vec<u32>,
    critical_path: Vec<usize>,
}

impl<'g> View<'g> {
    fn new(graph: &'g Graph) -> Self {
        Self {
            nodes: &graph.nodes,
            index: graph.nodes.iter().map(|n| &n.id).zip(0..).collect(),
            levels: graph.levels(),
            remaining: graph.remaining(),
            critical_path: graph.critical_path(),
        }
    }

    /// The edges as indices: what is needed, by what, and the edge.
    fn edges(&self) -> impl Iterator<Item = (usize, usize, &'g Edge)> {
        let nodes = self.nodes.iter().enumerate();
        let edges = nodes.flat_map(|(to, node)| node.needs.iter().map(move |edge| (to, edge)));
        edges.filter_map(|(to, edge)| Some((*self.index.get(&edge.on)?, to, edge)))
    }

    /// The pairs of adjacent tasks on the critical path.
    fn critical_edges(&self) -> HashSet<(usize, usize)> {
        let path = &self.critical_path;
        path.iter()
            .copied()
            .zip(path.iter().copied().skip(1))
            .collect()
    }
}

fn ascii(plan: &Plan, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let critical: HashSet<usize> = view.critical_path.iter().copied().collect();
    for (level, tasks) in view.levels.iter().enumerate() {
        writeln!(out, "level {}", level + 1)?;
        for &task in tasks {
            let node = &view.nodes[task];
            let mark = if critical.contains(&task) { '*' } else { ' ' };
            write!(out, "  {mark} {}  {}", node.id, on_one_line(&node.name))?;
            if node.declared != Declared::Pending {
                write!(out, "  [{}]", node.declared.as_str())?;
            }
            if !node.needs.is_empty() {
                write!(out, "  <- {}", needs(&node.needs))?;
            }
            writeln!(out)?;
        }
    }
    if view.nodes.is_empty() {
        return writeln!(out, "no tasks");
    }
    let path: Vec<&str> = view
        .critical_path
        .iter()
        .map(|t| view.nodes[*t].id.as_str())
        .collect();
    writeln!(
        out,
        "\n* critical path, {} of {} tasks: {}",
        path.len(),
        plan.tasks.len(),
        path.join(" -> ")
    )?;
    if view.edges().any(|(_, _, edge)| edge.implied) {
        writeln!(
            out,
            "~ implied by document order: after that task and all that it follows"
        )?;
    }
    Ok(())
}

/// `1.1, ~1.2`: implied edges are marked.
fn needs(edges: &[Edge]) -> String {
    let edge = |edge: &Edge| match edge.implied {
        true => format!("~{}", edge.on),
        false => edge.on.to_string(),
    };
    let edges: Vec<String> = edges.iter().map(edge).collect();
    edges.join(", ")
}

/// Nodes are numbered, since ids are not identifiers of these languages.
fn mermaid(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "flowchart TD")?;
    for (at, node) in view.nodes.iter().enumerate() {
        // Mermaid reads HTML entities, and has no other escape.
        let label = on_one_line(&format!("{} {}", node.id, node.name));
        let label = label
            .replace('&', "&amp;")
            .replace('"', "&quot;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        writeln!(out, "  t{at}[\"{label}\"]")?;
    }
    for (from, to, edge) in view.edges() {
        let arrow = if edge.implied { "-.->" } else { "-->" };
        writeln!(out, "  t{from} {arrow} t{to}")?;
    }
    if !view.critical_path.is_empty() {
        let path: Vec<String> = view.critical_path.iter().map(|t| format!("t{t}")).collect();
        writeln!(out, "  classDef critical stroke-width:3px")?;
        writeln!(out, "  class {} critical", path.join(","))?;
    }
    Ok(())
}

fn dot(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let critical = view.critical_edges();
    let on_path: HashSet<usize> = view.critical_path.iter().copied().collect();
    writeln!(out, "digraph plan {{\n  node [shape=box];")?;
    for (at, node) in view.nodes.iter().enumerate() {
        let label = on_one_line(&format!("{} {}", node.id, node.name));
        let label = label.replace('\\', "\\\\").replace('"', "\\\"");
        let width = if on_path.contains(&at) {
            ", penwidth=3"
        } else {
            ""
        };
        writeln!(out, "  t{at} [label=\"{label}\"{width}];")?;
    }
    for (from, to, edge) in view.edges() {
        let style = if edge.implied { "dashed" } else { "solid" };
        let width = if critical.contains(&(from, to)) {
            ", penwidth=3"
        } else {
            ""
        };
        writeln!(out, "  t{from} -> t{to} [style={style}{width}];")?;
    }
    writeln!(out, "}}")
}

#[derive(Serialize)]
struct GraphReport<'a> {
    version: u32,
    tasks: Vec<TaskReport<'a>>,
    levels: Vec<Vec<&'a TaskId>>,
    critical_path: Vec<&'a TaskId>,
}

#[derive(Serialize)]
struct TaskReport<'a> {
    id: &'a TaskId,
    name: &'a str,
    status: Declared,
    kind: TaskKind,
    priority: i64,
    needs: &'a [Edge],
    /// Tasks on the longest path that begins with this one.
    remaining: u32,
}

fn json(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let ids = |tasks: &Vec<usize>| tasks.iter().map(|t| &view.nodes[*t].id).collect();
    let tasks = view.nodes.iter().zip(&view.remaining);
    let report = GraphReport {
        version: FORMAT_VERSION,
        tasks: tasks
            .map(|(node, remaining)| TaskReport {
                id: &node.id,
                name: &node.name,
                status: node.declared,
                kind: node.kind,
                priority: node.priority,
                needs: &node.needs,
                remaining: *remaining,
            })
            .collect(),
        levels: view.levels.iter().map(ids).collect(),
        critical_path: ids(&view.critical_path),
    };
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}

/// Control characters, line breaks among them, as blanks.
fn on_one_line(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.trim().chars().map(visible).collect()
}

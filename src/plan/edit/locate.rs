//! Where sections and tasks stand in a document. Deliberately knows less than the schema: a text that is edited has
//! been checked before, and what is not understood here is refused, never guessed.

use std::collections::HashMap;

use super::anchors::Anchors;
use super::{EditError, Place};
use crate::plan::syntax::{Document, Node, NodeKind};

/// The places of a plan's parts.
pub(crate) struct Located<'d> {
    /// The top-level mapping.
    pub(crate) root: &'d Node<'d>,
    /// The value of `sections`.
    pub(crate) list: &'d Node<'d>,
    /// In document order.
    pub(crate) sections: Vec<SectionAt<'d>>,
    /// Section and position in it of each task.
    tasks_by_id: HashMap<&'d str, (usize, usize)>,
    sections_by_id: HashMap<&'d str, usize>,
}

/// A section.
pub(crate) struct SectionAt<'d> {
    pub(crate) id: &'d str,
    pub(crate) node: &'d Node<'d>,
    /// The value of `tasks`, if the key is there.
    pub(crate) list: Option<&'d Node<'d>>,
    pub(crate) tasks: Vec<TaskAt<'d>>,
}

/// A task.
pub(crate) struct TaskAt<'d> {
    pub(crate) id: &'d str,
    pub(crate) node: &'d Node<'d>,
}

impl<'d> Located<'d> {
    /// Finds the parts of a plan.
    ///
    /// # Errors
    /// Anything on the way to a task that is not what plans have there: a missing or repeated id, an alias or a merge
    /// key in place of a section or task.
    pub(crate) fn of(document: &'d Document<'d>, anchors: &Anchors<'d>) -> Result<Self, EditError> {
        let root = document
            .root
            .as_ref()
            .filter(|root| matches!(root.kind, NodeKind::Mapping { .. }))
            .ok_or_else(|| EditError::unsupported(0, "the plan is not a mapping"))?;
        let list = root.get("sections").ok_or_else(|| {
            EditError::unsupported(root.span().start, "the plan has no `sections`")
        })?;
        let mut sections = Vec::new();
        let mut tasks_by_id = HashMap::new();
        let mut sections_by_id = HashMap::new();
        for node in items(list, "`sections`")? {
            let id = id(node, "section", anchors)?;
            if sections_by_id.insert(id, sections.len()).is_some() {
                let what = format!("section `{id}` stands here a second time");
                return Err(EditError::unsupported(node.span().start, what));
            }
            let list = node.get("tasks");
            let nodes = list.map_or(Ok(&[][..]), |list| items(list, "`tasks`"))?;
            let mut tasks = Vec::with_capacity(nodes.len());
            tasks_by_id.reserve(nodes.len());
            for node in nodes {
                let id = self::id(node, "task", anchors)?;
                let place = (sections.len(), tasks.len());
                if tasks_by_id.insert(id, place).is_some() {
                    let what = format!("task `{id}` stands here a second time");
                    return Err(EditError::unsupported(node.span().start, what));
                }
                tasks.push(TaskAt { id, node });
            }
            sections.push(SectionAt {
                id,
                node,
                list,
                tasks,
            });
        }
        Ok(Self {
            root,
            list,
            sections,
            tasks_by_id,
            sections_by_id,
        })
    }

    /// The mapping of a section, or with a second position of a task of it.
    pub(crate) fn mapping(&self, (section, task): Place) -> &'d Node<'d> {
        let section = &self.sections[section];
        task.map_or(section.node, |task| section.tasks[task].node)
    }

    /// Section and position in it of the task with this id.
    pub(crate) fn place(&self, id: &str) -> Option<(usize, usize)> {
        self.tasks_by_id.get(id).copied()
    }

    /// The position of the section with this id.
    pub(crate) fn section(&self, id: &str) -> Option<usize> {
        self.sections_by_id.get(id).copied()
    }
}

fn items<'d>(list: &'d Node<'d>, what: &str) -> Result<&'d [Node<'d>], EditError> {
    match &list.kind {
        NodeKind::Sequence { items, .. } => Ok(items),
        NodeKind::Scalar { .. } if is_null(list) => Ok(&[]),
        _ => {
            let what = format!("{what} is not written as a list");
            Err(EditError::unsupported(list.span().start, what))
        }
    }
}

fn id<'d>(node: &'d Node<'d>, what: &str, anchors: &Anchors<'d>) -> Result<&'d str, EditError> {
    let refuse = |problem: &str| {
        let what = format!("a {what} {problem}");
        Err(EditError::unsupported(node.span().start, what))
    };
    match &node.kind {
        NodeKind::Alias { name } => return refuse(&format!("is the alias `*{name}`")),
        NodeKind::Mapping { entries, .. } => {
            if entries.iter().any(|(key, _)| key.as_scalar() == Some("<<")) {
                return refuse("takes keys from elsewhere by the merge key `<<`");
            }
        }
        _ => return refuse("is not a mapping"),
    }
    let id = node.get("id").map(|id| anchors.resolve(id));
    match id.and_then(Node::as_scalar) {
        Some(id) if !id.is_empty() => Ok(id),
        _ => refuse("has no `id`"),
    }
}

/// Whether a value says nothing.
pub(crate) fn is_null(node: &Node<'_>) -> bool {
    match &node.kind {
        NodeKind::Scalar { value, style } => {
            super::scalar::resolve(value, *style) == super::scalar::Resolved::Null
        }
        _ => false,
    }
}

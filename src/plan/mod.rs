//! The plan as a document: schema, checks, graph, edits.

pub mod graph;
pub mod schema;
pub mod syntax;

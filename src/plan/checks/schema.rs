//! `json_schema` of an output: a file of the repository, or the schema itself, which is judged where it is written.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::diagnostic::Diagnostic;
use crate::plan::reader::{Fields, Reader};
use crate::plan::syntax::{Node, NodeKind, ScalarStyle};

/// What an output must fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// The path of a file of the repository, which is read as it was before the task changed anything.
    File(String),
    /// The schema.
    Inline(Value),
}

/// The schema that an output names or has in it.
pub(super) fn read<'t>(reader: &mut Reader<'t>, fields: &Fields<'t>) -> Option<Schema> {
    let node = fields.get("json_schema")?;
    if node.as_scalar().is_some() {
        let path = reader.text(fields, "json_schema")?;
        return super::path(reader, &path).map(Schema::File);
    }
    let schema = json(reader, node)?;
    match jsonschema::validator_for(&schema) {
        Ok(_) => Some(Schema::Inline(schema)),
        Err(error) => {
            let place = match error.instance_path().as_str() {
                "" => String::new(),
                path => format!(" at {path}"),
            };
            let message = format!("`json_schema` is no JSON schema{place}: {error}");
            let problem = Diagnostic::error("json-schema", message).at(node.span());
            reader
                .push(problem.help("other files cannot be referred to; `$defs` of the schema can"));
            None
        }
    }
}

/// A value as JSON has it.
fn json<'t>(reader: &mut Reader<'t>, node: &'t Node<'t>) -> Option<Value> {
    let node = reader.resolve(node);
    match &node.kind {
        NodeKind::Scalar { value, style } => Some(match style {
            ScalarStyle::Plain if node.tag().is_none() => {
                serde_yaml::from_str(value).unwrap_or_else(|_| Value::from(&**value))
            }
            ScalarStyle::Plain
            | ScalarStyle::SingleQuoted
            | ScalarStyle::DoubleQuoted
            | ScalarStyle::Literal
            | ScalarStyle::Folded => Value::from(&**value),
        }),
        NodeKind::Sequence { items, .. } => {
            let items = items.iter().map(|item| json(reader, item));
            items.collect::<Option<Vec<_>>>().map(Value::from)
        }
        NodeKind::Mapping { entries, .. } => {
            let mut object = Map::new();
            for (key, value) in entries {
                let key = reader.resolve(key);
                let Some(name) = key.as_scalar() else {
                    reader.wrong_type(key, "a key of `json_schema`", "a text");
                    return None;
                };
                object.insert(name.to_owned(), json(reader, value)?);
            }
            Some(Value::from(object))
        }
        NodeKind::Alias { .. } => None,
    }
}

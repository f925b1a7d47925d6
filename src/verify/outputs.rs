//! Whether a tree holds what its task must leave.

use anyhow::{Context, bail};
use serde_json::Value;

use crate::plan::checks::{Output, Schema, Want};

/// Misfits of one output that are named.
const MISFITS_MAX: usize = 10;

/// Longest part of a misfit that is told: it quotes the value.
const MISFIT_CHARS_MAX: usize = 200;

/// What is missing or wrong, one sentence each. `read` gives the bytes of a file of the tree, if it is there; `before`
/// those that it had before the task changed anything.
///
/// # Errors
/// If a file cannot be read, or a schema that people gave cannot be used.
pub fn missing(
    outputs: &[Output],
    mut read: impl FnMut(&str) -> anyhow::Result<Option<Vec<u8>>>,
    mut before: impl FnMut(&str) -> anyhow::Result<Option<Vec<u8>>>,
) -> anyhow::Result<Vec<String>> {
    let mut missing = Vec::new();
    for output in outputs {
        let found = read(&output.path)?;
        let text = found.as_deref().map(String::from_utf8_lossy);
        for want in &output.wants {
            let path = &output.path;
            match (want, &text) {
                (Want::Exists(true) | Want::JsonSchema(_), None) => {
                    missing.push(format!("`{path}` is not there"));
                }
                (Want::Exists(false), Some(_)) => {
                    missing.push(format!("`{path}` is there and must not be"));
                }
                (Want::Contains(part), Some(text)) if !text.contains(part) => {
                    missing.push(format!("`{path}` does not contain {part:?}"));
                }
                (Want::NotContains(part), Some(text)) if text.contains(part) => {
                    missing.push(format!("`{path}` contains {part:?}"));
                }
                (Want::JsonSchema(schema), Some(text)) => {
                    let schema = schema_of(schema, &mut before)
                        .with_context(|| format!("the output `{path}` cannot be judged"))?;
                    missing.extend(misfits(path, text, &schema)?);
                }
                (Want::Contains(_), None) => missing.push(format!("`{path}` is not there")),
                (Want::Exists(_) | Want::Contains(_) | Want::NotContains(_), _) => {}
            }
        }
    }
    Ok(missing)
}

fn schema_of(
    schema: &Schema,
    before: &mut impl FnMut(&str) -> anyhow::Result<Option<Vec<u8>>>,
) -> anyhow::Result<Value> {
    let path = match schema {
        Schema::Inline(schema) => return Ok(schema.clone()),
        Schema::File(path) => path,
    };
    let Some(bytes) = before(path)? else {
        bail!("its schema `{path}` is not there on the target");
    };
    serde_json::from_slice(&bytes).with_context(|| format!("its schema `{path}` is not JSON"))
}

/// Where a text does not fit a schema.
fn misfits(path: &str, text: &str, schema: &Value) -> anyhow::Result<Vec<String>> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return Ok(vec![format!("`{path}` is not JSON: {error}")]),
    };
    let validator = jsonschema::validator_for(schema)
        .map_err(|error| anyhow::anyhow!("the schema of `{path}` is none: {error}"))?;
    let misfit = |error: jsonschema::ValidationError<'_>| {
        let place = match error.instance_path().as_str() {
            "" => "at the top".to_owned(),
            place => format!("at {place}"),
        };
        let what: String = error.to_string().chars().take(MISFIT_CHARS_MAX).collect();
        format!("`{path}` does not fit its schema {place}: {what}")
    };
    Ok(validator
        .iter_errors(&value)
        .take(MISFITS_MAX)
        .map(misfit)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_condition_that_does_not_hold_is_named() {
        let output = |path: &str, want| Output {
            path: path.to_owned(),
            wants: vec![want],
        };
        let read = |path: &str| Ok((path == "a").then(|| b"one two".to_vec()));
        for (output, holds) in [
            (output("a", Want::Exists(true)), true),
            (output("b", Want::Exists(true)), false),
            (output("a", Want::Exists(false)), false),
            (output("b", Want::Exists(false)), true),
            (output("a", Want::Contains("two".to_owned())), true),
            (output("a", Want::Contains("three".to_owned())), false),
            (output("b", Want::Contains("two".to_owned())), false),
            (output("a", Want::NotContains("two".to_owned())), false),
            (output("b", Want::NotContains("two".to_owned())), true),
        ] {
            let missing = missing(std::slice::from_ref(&output), read, read).expect("readable");
            assert_eq!(missing.is_empty(), holds, "{output:?}: {missing:?}");
        }
    }

    #[test]
    fn what_does_not_fit_its_schema_is_named_by_its_place() {
        let schema = json!({
            "type": "object",
            "required": ["items"],
            "properties": {"items": {"items": {"properties": {"price": {"minimum": 0}}}}}
        });
        let judged = |text: &str, schema: Schema| {
            let output = Output {
                path: "a.json".to_owned(),
                wants: vec![Want::JsonSchema(schema)],
            };
            let file = b"{\"type\": \"object\"}".to_vec();
            let before = |path: &str| Ok((path == "s.json").then(|| file.clone()));
            missing(&[output], |_| Ok(Some(text.as_bytes().to_vec())), before)
        };
        let inline = || Schema::Inline(schema.clone());
        let none: [String; 0] = [];
        assert_eq!(
            judged(r#"{"items": [{"price": 1}]}"#, inline()).expect("judged"),
            none
        );
        let wrong = judged(r#"{"items": [{"price": 1}, {"price": -1}]}"#, inline());
        let wrong = wrong.expect("judged");
        assert!(wrong[0].contains("at /items/1/price"), "{wrong:?}");
        let wrong = judged("{}", inline()).expect("judged");
        assert!(wrong[0].contains("at the top"), "{wrong:?}");
        let wrong = judged("{", inline()).expect("judged");
        assert!(wrong[0].contains("is not JSON"), "{wrong:?}");
        let file = |path: &str| Schema::File(path.to_owned());
        assert_eq!(judged("{}", file("s.json")).expect("judged"), none);
        assert_eq!(judged("[]", file("s.json")).expect("judged").len(), 1);
        let error = format!("{:#}", judged("{}", file("t.json")).expect_err("no schema"));
        assert!(
            error.contains("`t.json` is not there on the target"),
            "{error}"
        );
    }
}

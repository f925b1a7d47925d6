//! Whether a tree holds what its task must leave.

use crate::plan::checks::{Output, Want};

/// What is missing or wrong, one sentence each. `read` gives the bytes of a file of the tree, if it is there.
///
/// # Errors
/// If a file cannot be read.
pub fn missing<E>(
    outputs: &[Output],
    mut read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>,
) -> Result<Vec<String>, E> {
    let mut missing = Vec::new();
    for output in outputs {
        let found = read(&output.path)?;
        let text = found.as_deref().map(String::from_utf8_lossy);
        for want in &output.wants {
            let path = &output.path;
            match (want, &text) {
                (Want::Exists(true), None) => missing.push(format!("`{path}` is not there")),
                (Want::Exists(false), Some(_)) => {
                    missing.push(format!("`{path}` is there and must not be"));
                }
                (Want::Contains(part), Some(text)) if !text.contains(part) => {
                    missing.push(format!("`{path}` does not contain {part:?}"));
                }
                (Want::NotContains(part), Some(text)) if text.contains(part) => {
                    missing.push(format!("`{path}` contains {part:?}"));
                }
                (Want::Contains(_), None) => missing.push(format!("`{path}` is not there")),
                (Want::Exists(_) | Want::Contains(_) | Want::NotContains(_), _) => {}
            }
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_condition_that_does_not_hold_is_named() {
        let output = |path: &str, want| Output {
            path: path.to_owned(),
            wants: vec![want],
        };
        let read = |path: &str| -> Result<Option<Vec<u8>>, ()> {
            Ok((path == "a").then(|| b"one two".to_vec()))
        };
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
            let missing = missing(std::slice::from_ref(&output), read).expect("readable");
            assert_eq!(missing.is_empty(), holds, "{output:?}: {missing:?}");
        }
    }
}

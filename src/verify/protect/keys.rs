//! What stands where in a manifest that was read as data.

use serde_json::Value;

/// What stands at a path of keys, parted by `/`; `*` is any key or index.
pub(super) fn values<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found = vec![value];
    for key in path.split('/') {
        found = found
            .into_iter()
            .flat_map(|value| -> Vec<&Value> {
                match (key, value) {
                    ("*", Value::Array(items)) => items.iter().collect(),
                    ("*", Value::Object(entries)) => entries.values().collect(),
                    (key, value) => value.get(key).into_iter().collect(),
                }
            })
            .collect();
    }
    found
}

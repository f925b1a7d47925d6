//! Manifests of which a part decides which tests run and how, beside parts that tasks change all the time: the scripts
//! of `package.json`, the test targets of `Cargo.toml`, the tools' tables of `pyproject.toml`. Compared as data, so that
//! neither layout nor spelling makes a difference.

use serde_json::Value;

use super::keys::values;
use super::sources;

/// A kind of manifest.
struct Kind {
    name: &'static str,
    read: fn(&[u8]) -> Option<Value>,
    /// What decides, by paths of keys.
    deciding: &'static [(&'static str, Rule)],
}

/// Which difference counts.
#[derive(Clone, Copy)]
enum Rule {
    /// Any.
    Any,
    /// Of lists, what goes or excludes: more of it means more tests.
    Less,
    /// Of scripts, those that were there, and new ones that run by themselves.
    Scripts,
}

use Rule::{Any, Less, Scripts};

const KINDS: [Kind; 5] = [
    Kind {
        name: "package.json",
        read: json,
        deciding: &[
            ("scripts", Scripts),
            ("config", Any),
            ("workspaces", Less),
            ("overrides", Any),
            ("resolutions", Any),
            ("pnpm", Any),
            ("patchedDependencies", Any),
            ("trustedDependencies", Any),
            ("jest", Any),
            ("vitest", Any),
            ("mocha", Any),
            ("ava", Any),
            ("tap", Any),
            ("nyc", Any),
            ("c8", Any),
            ("wireit", Any),
            ("babel", Any),
            ("eslintConfig", Any),
            ("eslintIgnore", Any),
            ("prettier", Any),
            ("stylelint", Any),
            ("xo", Any),
            ("husky", Any),
            ("lint-staged", Any),
        ],
    },
    Kind {
        name: "Cargo.toml",
        read: toml_value,
        deciding: &[
            ("test", Any),
            ("lib/test", Any),
            ("lib/harness", Any),
            ("lib/doctest", Any),
            ("lib/path", Any),
            ("bin/*/test", Any),
            ("bin/*/harness", Any),
            ("package/build", Any),
            ("package/autotests", Any),
            ("package/workspace", Any),
            ("profile/test", Any),
            ("profile/dev", Any),
            ("lints", Any),
            ("patch", Any),
            ("replace", Any),
            ("workspace/members", Less),
            ("workspace/default-members", Any),
            ("workspace/exclude", Any),
            ("workspace/lints", Any),
        ],
    },
    Kind {
        name: "pyproject.toml",
        read: toml_value,
        deciding: &[
            ("build-system", Any),
            ("project/entry-points/pytest11", Any),
            ("tool/pytest", Any),
            ("tool/tox", Any),
            ("tool/nox", Any),
            ("tool/coverage", Any),
            ("tool/mypy", Any),
            ("tool/pyright", Any),
            ("tool/basedpyright", Any),
            ("tool/ruff", Any),
            ("tool/pylint", Any),
            ("tool/flake8", Any),
            ("tool/black", Any),
            ("tool/isort", Any),
            ("tool/bandit", Any),
            ("tool/uv/override-dependencies", Any),
            ("tool/uv/constraint-dependencies", Any),
            ("tool/uv/build-constraint-dependencies", Any),
            ("tool/uv/index", Any),
            ("tool/uv/index-url", Any),
            ("tool/uv/extra-index-url", Any),
            ("tool/uv/find-links", Any),
            ("tool/poetry/source", Any),
            ("tool/pdm/source", Any),
            ("tool/pdm/resolution", Any),
            ("tool/hatch/envs", Any),
            ("tool/poe", Any),
            ("tool/taskipy", Any),
            ("tool/pdm/scripts", Any),
        ],
    },
    Kind {
        name: "composer.json",
        read: json,
        deciding: &[
            ("scripts", Any),
            ("config", Any),
            ("repositories", Any),
            ("replace", Any),
        ],
    },
    Kind {
        name: "deno.json",
        read: json,
        deciding: &[
            ("tasks", Scripts),
            ("test", Any),
            ("lint", Any),
            ("exclude", Any),
            ("compilerOptions", Any),
        ],
    },
];

/// Scripts that package managers run unasked.
const BY_THEMSELVES: [&str; 9] = [
    "preinstall",
    "install",
    "postinstall",
    "prepublish",
    "preprepare",
    "prepare",
    "postprepare",
    "dependencies",
    "test",
];

fn json(bytes: &[u8]) -> Option<Value> {
    serde_json::from_slice(bytes).ok()
}

fn toml_value(bytes: &[u8]) -> Option<Value> {
    let table: toml::Table = toml::from_str(std::str::from_utf8(bytes).ok()?).ok()?;
    serde_json::to_value(table).ok()
}

/// The deciding part of a manifest called `name` that differs, if it is one. A manifest that cannot be read, or is gone,
/// differs as a whole.
pub(super) fn changed(name: &str, base: Option<&[u8]>, new: Option<&[u8]>) -> Option<String> {
    let kind = KINDS
        .iter()
        .find(|kind| kind.name.eq_ignore_ascii_case(name))?;
    let whole = || Some("all of it".to_owned());
    let before = match base.map(kind.read) {
        Some(Some(value)) => value,
        Some(None) => return whole(),
        None => Value::Null,
    };
    let Some(after) = new.and_then(kind.read) else {
        return whole();
    };
    let differs = |(path, rule): &&(&'static str, Rule)| {
        let (before, after) = (values(&before, path), values(&after, path));
        match rule {
            Any => before != after,
            Less => is_less(&before, &after),
            Scripts => before.first() != after.first() && scripts_differ(&before, &after),
        }
    };
    match kind.deciding.iter().find(differs) {
        Some((path, _)) => Some(format!("`{}`", path.replace('/', "."))),
        None => sources::moved(kind.name, &before, &after),
    }
}

fn is_less(before: &[&Value], after: &[&Value]) -> bool {
    let nothing = Vec::new();
    let (before, after) = match (before.first(), after.first()) {
        (Some(Value::Array(before)), Some(Value::Array(after))) => (before, after),
        // Where there was no list, only what it leaves out is less.
        (None, Some(Value::Array(after))) => (&nothing, after),
        (before, after) => return before != after,
    };
    let excludes = |item: &&Value| item.as_str().is_some_and(|text| text.starts_with('!'));
    before.iter().any(|item| !after.contains(item))
        || after
            .iter()
            .filter(excludes)
            .any(|item| !before.contains(item))
}

fn scripts_differ(before: &[&Value], after: &[&Value]) -> bool {
    let none = serde_json::Map::new();
    let table = |found: &[&Value]| match found.first() {
        Some(Value::Object(entries)) => Some((*entries).clone()),
        Some(_) => None,
        None => Some(none.clone()),
    };
    let (Some(before), Some(after)) = (table(before), table(after)) else {
        return true;
    };
    let is_kept = |(name, text): (&String, &Value)| after.get(name) == Some(text);
    let hooks_in = |name: &&String| {
        let around = name.strip_prefix("pre").or(name.strip_prefix("post"));
        BY_THEMSELVES.contains(&name.as_str())
            || around.is_some_and(|rest| before.contains_key(rest))
    };
    let mut added = after.keys().filter(|name| !before.contains_key(*name));
    !before.iter().all(is_kept) || added.any(|name| hooks_in(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_decide_and_dependencies_do_not() {
        let base = r#"{"name": "a", "scripts": {"test": "jest", "build": "tsc"}, "dependencies": {"x": "1"},
            "workspaces": ["packages/a"]}"#;
        let with = |from: &str, to: &str| base.replace(from, to);
        for (new, expected) in [
            (with(r#""x": "1""#, r#""x": "2", "y": "1""#), None),
            (with(r#""name": "a""#, r#""version": "2""#), None),
            (with("\"tsc\"}", r#""tsc", "css": "sass"}"#), None),
            (
                with("[\"packages/a\"", "[\"packages/a\", \"packages/b\""),
                None,
            ),
            (with("\"jest\"", "\"true\""), Some("`scripts`")),
            (with(r#", "build": "tsc""#, ""), Some("`scripts`")),
            (
                with("\"tsc\"}", r#""tsc", "pretest": "exit 0"}"#),
                Some("`scripts`"),
            ),
            (
                with("\"tsc\"}", r#""tsc", "postinstall": "x"}"#),
                Some("`scripts`"),
            ),
            (
                with("\"name\": \"a\"", r#""jest": {"testMatch": []}"#),
                Some("`jest`"),
            ),
            (with("\"packages/a\"", ""), Some("`workspaces`")),
            (
                with("[\"packages/a\"", "[\"packages/a\", \"!packages/a\""),
                Some("`workspaces`"),
            ),
            ("{".to_owned(), Some("all of it")),
        ] {
            let found = changed("package.json", Some(base.as_bytes()), Some(new.as_bytes()));
            assert_eq!(found.as_deref(), expected, "{new}");
        }
        assert!(changed("package.json", Some(base.as_bytes()), None).is_some());
        assert!(changed("Package.JSON", None, Some(base.as_bytes())).is_some());
        assert!(changed("package.json", None, Some(b"{\"name\": \"a\"}")).is_none());
    }

    #[test]
    fn spellings_of_toml_do_not_hide_what_changed() {
        let base = "[package]\nname = \"a\"\n[dependencies]\nserde = \"1\"\n[workspace]\nmembers = [\"a\"]\n";
        for (new, offends) in [
            (
                base.replace("serde = \"1\"", "serde = \"2\"\nlog = \"0.4\""),
                false,
            ),
            (
                "package.name = \"a\"\ndependencies.serde = \"1\"\nworkspace.members = ['a']\n"
                    .to_owned(),
                false,
            ),
            (base.replace("[\"a\"]", "[\"a\", \"b\"]"), false),
            (base.replace("members = [\"a\"]", ""), true),
            (format!("{base}[[bin]]\nname = \"x\"\n"), false),
            (
                format!("{base}[[bench]]\nname = \"x\"\nharness = false\n"),
                false,
            ),
            (base.replace("[\"a\"]", "[]"), true),
            (
                base.replace("name = \"a\"", "name = \"a\"\nautotests = false"),
                true,
            ),
            (
                base.replace(
                    "[package]\nname = \"a\"",
                    "[package]\nname = \"a\"\n\"autotests\" = false",
                ),
                true,
            ),
            (format!("{base}[lib]\ntest = false\n"), true),
            (format!("{base}[[bin]]\nname = \"x\"\ntest = false\n"), true),
            (
                format!("{base}[[test]]\nname = \"x\"\npath = \"src/nothing.rs\"\n"),
                true,
            ),
            (format!("{base}[lints.clippy]\nall = \"allow\"\n"), true),
        ] {
            let found = changed("Cargo.toml", Some(base.as_bytes()), Some(new.as_bytes()));
            assert_eq!(found.is_some(), offends, "{new}");
        }
        assert!(changed("a.rs", Some(b"x"), Some(b"y")).is_none());
    }

    #[test]
    fn of_pyproject_the_tools_tables_decide() {
        let base = "[project]\nname = \"a\"\ndependencies = [\"x\"]\n[tool.pytest.ini_options]\ntestpaths = [\"tests\"]\n";
        for (new, offends) in [
            (base.replace("\"x\"", "\"x\", \"y>2\""), false),
            (base.replace("\"tests\"", "\"none\""), true),
            (
                format!("{base}[tool.ruff.lint]\nignore = [\"ALL\"]\n"),
                true,
            ),
            (format!("{base}[tool.uv]\ndev-dependencies = []\n"), false),
        ] {
            let found = changed(
                "pyproject.toml",
                Some(base.as_bytes()),
                Some(new.as_bytes()),
            );
            assert_eq!(found.is_some(), offends, "{new}");
        }
    }
}

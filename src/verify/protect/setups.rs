//! Set-ups of tests to which ordinary work adds: fixtures in a `conftest.py`, a path alias in a `tsconfig.json`. What comes
//! beside what is there, and decides nothing about the tests that are there, may come.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Entry, Protection, Trees};

/// Options of the TypeScript compiler that say for what it compiles and how modules are found, and turn no check off.
const FREE_OPTIONS: [&str; 12] = [
    "allowSyntheticDefaultImports",
    "downlevelIteration",
    "emitDecoratorMetadata",
    "esModuleInterop",
    "experimentalDecorators",
    "jsx",
    "jsxImportSource",
    "lib",
    "resolveJsonModule",
    "target",
    "types",
    "useDefineForClassFields",
];

/// Beginnings of aliases that are no names of packages.
const ALIASES: [&str; 3] = ["@/", "~", "#"];

impl Protection {
    /// Whether a set-up of tests has more than it had, and nothing that tests which are there ask for.
    pub(super) fn only_grows<E>(
        &self,
        name: &str,
        was: Option<&[u8]>,
        is: Option<&[u8]>,
        trees: &Trees<'_, E>,
    ) -> Result<bool, E> {
        let (Some(was), Some(is)) = (was, is) else {
            return Ok(false);
        };
        let is_config = |start: &str| name.starts_with(start) && name.ends_with(".json");
        if is_config("tsconfig") || is_config("jsconfig") {
            return Ok(grows(was, is));
        }
        if name != "conftest.py" {
            return Ok(false);
        }
        let Some(fixtures) = fixtures(was, is) else {
            return Ok(false);
        };
        if fixtures.is_empty() {
            return Ok(true);
        }
        for path in self.tests_among(trees)? {
            let is_python = path.extension().is_some_and(|ext| ext == "py");
            if is_python
                && let Some(Entry::File { bytes, .. }) = (trees.base)(&path)?
                && !fixtures.is_disjoint(&asked_for(&bytes))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The names that a changed `conftest.py` gives to fixtures, or takes from other modules, if it has nothing else beside
/// what was there.
fn fixtures(base: &[u8], new: &[u8]) -> Option<BTreeSet<String>> {
    let texts = [base, new].map(String::from_utf8_lossy);
    let (was, is) = (chunks(&texts[0]), chunks(&texts[1]));
    let mut was = was.iter().peekable();
    let mut names = BTreeSet::new();
    for chunk in &is {
        if was.next_if_eq(&chunk).is_some() {
            continue;
        }
        names.extend(
            fixture(chunk)
                .map(BTreeSet::from)
                .or_else(|| imported(chunk))?,
        );
    }
    was.peek().is_none().then_some(names)
}

/// The names of fixtures that a Python file may ask for: what its functions take, and what it says in texts.
fn asked_for(text: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(text);
    let taken = text
        .split("def ")
        .skip(1)
        .filter_map(|rest| {
            rest.split_once('(')?
                .1
                .split_once("):")
                .or(rest.split_once(')'))
        })
        .map(|(parameters, _)| parameters);
    let said = text.split(['"', '\'']).skip(1).step_by(2);
    taken.chain(said).flat_map(words).collect()
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
}

/// What stands at the left margin of a Python file, each with what belongs to it; comments and blank lines aside.
fn chunks(text: &str) -> Vec<String> {
    let mut chunks: Vec<String> = Vec::new();
    let mut is_decorated = false;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let belongs = line.starts_with([' ', '\t', ')', ']', '}']) || is_decorated;
        match chunks.last_mut().filter(|_| belongs) {
            Some(chunk) => {
                chunk.push('\n');
                chunk.push_str(line);
            }
            None => chunks.push(line.to_owned()),
        }
        // A decorator belongs to what follows at the margin.
        let starts = !line.starts_with([' ', '\t']);
        is_decorated = match starts {
            true => line.starts_with('@') || (is_decorated && line.starts_with([')', ']', '}'])),
            false => is_decorated,
        };
    }
    chunks
}

/// The name of a fixture that only those have who ask for it.
fn fixture(chunk: &str) -> Option<[String; 1]> {
    let (decorator, rest) = chunk
        .split_once("\ndef ")
        .or(chunk.split_once("\nasync def "))?;
    let is_one = decorator.starts_with("@pytest.fixture") && !decorator.contains("\n@");
    let is_free = ["autouse", "name"]
        .iter()
        .all(|word| !decorator.contains(word));
    // A text that is left open would take in what follows.
    let is_closed = ["\"\"\"", "'''"]
        .iter()
        .all(|mark| chunk.matches(mark).count() % 2 == 0);
    let name = rest.split('(').next()?.trim().to_owned();
    (is_one && is_free && is_closed && !name.starts_with("pytest_")).then_some([name])
}

/// The names that an import brings.
fn imported(chunk: &str) -> Option<BTreeSet<String>> {
    let plain = chunk.replace(['(', ')', '\n'], " ");
    let list = match plain.strip_prefix("from ") {
        Some(rest) => rest.split_once(" import ")?.1.to_owned(),
        None => plain.strip_prefix("import ")?.to_owned(),
    };
    let reaches_in = ["_pytest", "pytest_", "pluggy", ";", "*"];
    if reaches_in.iter().any(|word| plain.contains(word)) {
        return None;
    }
    let last = |item: &str| words(item).last();
    Some(list.split(',').filter_map(last).collect())
}

/// Whether a `tsconfig.json` has more beside what was there, and checks as much.
fn grows(base: &[u8], new: &[u8]) -> bool {
    let read = |text: &[u8]| -> Option<Value> {
        let text = std::str::from_utf8(text).ok()?;
        jsonc_parser::parse_to_serde_value(text, &jsonc_parser::ParseOptions::default()).ok()
    };
    let (Some(mut base), Some(mut new)) = (read(base), read(new)) else {
        return false;
    };
    for free in FREE_OPTIONS {
        for side in [&mut base, &mut new] {
            if let Some(Value::Object(options)) = side.get_mut("compilerOptions") {
                options.remove(free);
            }
        }
    }
    let more = |key: &str, may_come: fn(&Value) -> bool| {
        let [was, is] = [&base, &new].map(|side| side.get(key).cloned());
        match (was, is) {
            (None, None) => true,
            (None, Some(Value::Array(_))) if key == "include" => false,
            (was, Some(Value::Array(is))) => {
                let was = was
                    .as_ref()
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default();
                was.iter().all(|item| is.contains(item))
                    && is.iter().all(|item| was.contains(item) || may_come(item))
            }
            (was, is) => was == is,
        }
    };
    let is_more = more("include", |_| true) && more("references", |_| true);
    let has_aliases = aliases(&base, &new);
    for side in [&mut base, &mut new] {
        if let Some(keys) = side.as_object_mut() {
            keys.remove("include");
            keys.remove("references");
        }
        if let Some(Value::Object(options)) = side.get_mut("compilerOptions") {
            options.remove("paths");
        }
    }
    is_more && has_aliases && base == new
}

/// Whether the aliases are those that were there, and others that are no packages' names.
fn aliases(base: &Value, new: &Value) -> bool {
    let of = |side: &Value| {
        let paths = side.pointer("/compilerOptions/paths");
        paths
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let (was, is) = (of(base), of(new));
    let is_free = |name: &str| ALIASES.iter().any(|start| name.starts_with(start));
    was.iter().all(|(name, to)| is.get(name) == Some(to))
        && is
            .keys()
            .all(|name| was.contains_key(name) || is_free(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "\"\"\"Set-up.\"\"\"\nimport os\n\nimport pytest\n\n\n@pytest.fixture\ndef db(tmp_path):\n    # opened\n    yield open(tmp_path)\n\n\ndef pytest_configure(config):\n    pass\n";

    #[test]
    fn a_fixture_that_nobody_has_unasked_may_come() {
        let cases: &[(&str, &str, Option<&[&str]>)] = &[
            (
                "\n\ndef pytest",
                "\n\n@pytest.fixture(scope=\"module\")\ndef user(db):\n    return db\n\n\ndef pytest",
                Some(&["user"]),
            ),
            (
                "import os\n",
                "import os\nfrom app.models import (\n    User,\n    Group as G,\n)\nimport a.b\n",
                Some(&["G", "User", "b"]),
            ),
            (
                "\n\ndef pytest",
                "\n\n@pytest.fixture(\n    params=[1],\n)\nasync def one(request):\n    return 1\n\n\ndef pytest",
                Some(&["one"]),
            ),
            ("# opened", "# opened for writing", Some(&[])),
            ("import os\n", "", None),
            ("yield open(tmp_path)", "yield None", None),
            ("    pass\n", "    config.option.maxfail = 1\n", None),
            (
                "\n\ndef pytest",
                "\n\n@pytest.fixture(autouse=True)\ndef user():\n    pass\n\n\ndef pytest",
                None,
            ),
            (
                "\n\ndef pytest",
                "\n\n@pytest.fixture(name=\"db\")\ndef user():\n    pass\n\n\ndef pytest",
                None,
            ),
            (
                "\n\ndef pytest",
                "\n\ndef pytest_collection_modifyitems(items):\n    items.clear()\n\n\ndef pytest",
                None,
            ),
            (
                "\n\ndef pytest",
                "\n\n@pytest.fixture\ndef pytest_runtest_call():\n    pass\n\n\ndef pytest",
                None,
            ),
            ("import os\n", "import os\nos._exit(0)\n", None),
            (
                "\n\ndef pytest",
                "\n\n@pytest.fixture\ndef user():\n    \"\"\"\n\n\ndef pytest",
                None,
            ),
            (
                "import os\n",
                "import os\ncollect_ignore = [\"a.py\"]\n",
                None,
            ),
            (
                "import os\n",
                "import os\nfrom _pytest import runner\n",
                None,
            ),
        ];
        for (from, to, expected) in cases {
            assert!(BASE.contains(from), "{from}");
            let new = BASE.replacen(from, to, 1);
            let found = fixtures(BASE.as_bytes(), new.as_bytes());
            let expected = expected.map(|names| names.iter().map(|n| (*n).to_owned()).collect());
            assert_eq!(found, expected, "{new}");
        }
    }

    #[test]
    fn what_tests_ask_for_is_found_in_parameters_and_texts() {
        let text = b"@pytest.mark.usefixtures(\"db\", 'clean')\ndef test_a(user, tmp_path: Path = None,\n    more):\n    other = 1\n";
        let found = asked_for(text);
        for name in ["db", "clean", "user", "tmp_path", "more"] {
            assert!(found.contains(name), "{name}: {found:?}");
        }
        assert!(!found.contains("other"), "{found:?}");
    }

    #[test]
    fn a_tsconfig_may_have_more_and_must_check_as_much() {
        let base = "{\n  // as generated\n  \"compilerOptions\": {\n    \"strict\": true,\n    \"target\": \"ES2020\",\n    \"paths\": { \"@/*\": [\"./src/*\"] },\n  },\n  \"include\": [\"src\"],\n  \"exclude\": [\"dist\"]\n}\n";
        for (from, to, expected) in [
            ("ES2020", "ES2022", true),
            (
                "\"strict\": true",
                "\"jsx\": \"react-jsx\", \"strict\": true",
                true,
            ),
            ("[\"src\"]", "[\"src\", \"tests\"]", true),
            ("\"@/*\":", "\"~/*\": [\"./more/*\"], \"@/*\":", true),
            ("// as generated", "", true),
            (
                "\"include\"",
                "\"references\": [{\"path\": \"./b\"}], \"include\"",
                true,
            ),
            ("\"strict\": true", "\"strict\": false", false),
            (
                "\"strict\": true",
                "\"strict\": true, \"skipLibCheck\": true",
                false,
            ),
            ("\"src\"]", "]", false),
            ("\"dist\"", "\"dist\", \"src/broken\"", false),
            ("\"@/*\":", "\"vitest\": [\"./fake\"], \"@/*\":", false),
            ("./src/*", "./fake/*", false),
            (
                "\"include\"",
                "\"extends\": \"./loose.json\", \"include\"",
                false,
            ),
            ("}\n", "", false),
        ] {
            assert!(base.contains(from), "{from}");
            let new = base.replacen(from, to, 1);
            assert_eq!(grows(base.as_bytes(), new.as_bytes()), expected, "{new}");
        }
        let all = "{\"compilerOptions\": {}}";
        let some = "{\"compilerOptions\": {}, \"include\": [\"a\"]}";
        assert!(
            !grows(all.as_bytes(), some.as_bytes()),
            "without it, everything is checked"
        );
    }
}

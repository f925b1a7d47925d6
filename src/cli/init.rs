//! `orch init`: a first plan, and settings that fit what lies in the repository. Overwrites nothing.

use std::path::Path;

use anyhow::Context;

use super::args::InitArgs;
use super::out::Out;
use super::propose::{Found, Proposal};
use super::{locate, propose};
use crate::error::{Error, OrKind, Result};

/// How dependencies are installed, by the lock file that says which.
const SETUPS: [(&str, &str); 10] = [
    ("Cargo.lock", "cargo fetch --locked"),
    ("package-lock.json", "npm ci"),
    ("pnpm-lock.yaml", "pnpm install --frozen-lockfile"),
    ("yarn.lock", "yarn install --frozen-lockfile"),
    ("bun.lock", "bun install --frozen-lockfile"),
    ("uv.lock", "uv sync --locked"),
    ("poetry.lock", "poetry install"),
    (
        "requirements.txt",
        "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
    ),
    ("Gemfile.lock", "bundle install"),
    ("go.sum", "go mod download"),
];

/// The settings of yarn from version 2 on, which names the option otherwise.
const YARN_SETTINGS: &str = ".yarnrc.yml";
const YARN_SETUP: &str = "yarn install --immutable";

/// Directories whose lock files are of no project that is worked on.
const NO_PROJECTS: [&str; 12] = [
    "build",
    "dist",
    "doc",
    "docs",
    "examples",
    "fixtures",
    "node_modules",
    "target",
    "test",
    "tests",
    "third_party",
    "vendor",
];

/// Where the first plan is written, unless a person says where.
const PLAN_PATH: &str = ".claude/plans/plan.yaml";

/// Where settings stand.
const SETTINGS: &str = "orch.yaml";

/// `orch init`.
pub(super) fn init(args: &InitArgs, out: &mut Out<'_>) -> Result<u8> {
    let root = &locate::place()?.root;
    let plan = match &args.plan {
        Some(given) => given.clone(),
        None => locate::from_here(root.join(PLAN_PATH))?,
    };
    if plan.exists() {
        return Err(Error::usage(format!("{} is there already", plan.display()))
            .hint(format!("orch check {}", plan.display()))
            .hint("orch init --plan OTHER.yaml"));
    }
    write_new(&plan, PLAN)?;
    out.print(&format!("wrote {}\n", plan.display()))?;
    if root.join(SETTINGS).exists() {
        out.print(&format!("left {SETTINGS} as it is\n"))?;
    } else {
        let places = places(root)?;
        let (mut text, found) = settings(root, &places);
        let mut gates = propose::found(root)?;
        if gates.main.is_empty() {
            gates.main = propose::found_in(root, &places)?;
        }
        text.push_str(&verify(&gates));
        write_new(&root.join(SETTINGS), &text)?;
        let because = if found.is_empty() {
            String::new()
        } else {
            format!(", with a setup for {}", found.join(", "))
        };
        out.print(&format!("wrote {SETTINGS}{because}\n"))?;
        for gate in &gates.main {
            let Proposal { run, because, .. } = gate;
            out.print(&format!("  proposed as a gate: `{run}` ({because})\n"))?;
        }
        if gates.main.is_empty() {
            out.print("  found no command that could judge commits: until `verify` has one, they land unverified\n")?;
        }
    }
    out.print(&format!(
        "\nNext:\n  edit {0}\n  orch check {0}\n  orch run --plan {0} --dry-run\n  orch run --plan {0} --rehearse     without agents, in a throwaway clone\n  orch run --plan {0}\n",
        plan.display()
    ))?;
    Ok(0)
}

/// The directories just below `root` that may be projects of their own, in order.
fn places(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).or_environment()? {
        let entry = entry.or_environment()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // So that it needs no quotes, neither in a shell nor in YAML.
        let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        let is_aside = NO_PROJECTS.contains(&name.as_str());
        if is_plain && !is_aside && entry.file_type().or_environment()?.is_dir() {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

fn write_new(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))
            .or_environment()?;
    }
    let mut file = std::fs::File::create_new(path)
        .with_context(|| format!("cannot write {}", path.display()))
        .or_environment()?;
    std::io::Write::write_all(&mut file, text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
        .or_environment()
}

/// The settings' text, and the lock files it was made for: those of `root`, then those of `places` below it.
fn settings(root: &Path, places: &[String]) -> (String, Vec<String>) {
    let mut found: Vec<(String, String)> = Vec::new();
    for place in std::iter::once("").chain(places.iter().map(String::as_str)) {
        let at = root.join(place);
        for (lock, command) in SETUPS
            .into_iter()
            .filter(|(lock, _)| at.join(lock).is_file())
        {
            let command = match lock {
                "yarn.lock" if at.join(YARN_SETTINGS).is_file() => YARN_SETUP,
                _ => command,
            };
            found.push(match place {
                "" => (lock.to_owned(), command.to_owned()),
                _ => (
                    format!("{place}/{lock}"),
                    format!("cd {place} && {command}"),
                ),
            });
        }
    }
    let mut text = String::from(
        "# Settings of orch for this repository; docs/settings.md of orch lists all of them.\n# They are read when a run starts: what an agent changes here counts from the next run on.\n\n# jobs: 3              # agents at once; without it 1, or 4 with --parallel\n",
    );
    if found.is_empty() {
        text.push_str("\n# Commands that make a fresh checkout usable, run in each slot:\n# setup:\n#   run: [make deps]\n");
    } else {
        text.push_str("\n# Makes a fresh checkout usable; runs in each slot, and again when one of these files changed.\nsetup:\n  run:\n");
        for (_, command) in &found {
            text.push_str(&format!("    - {command}\n"));
        }
        text.push_str("  when_changed:\n");
        for (lock, _) in &found {
            text.push_str(&format!("    - {lock}\n"));
        }
    }
    (text, found.into_iter().map(|(lock, _)| lock).collect())
}

/// The gates that were found, for people to mend.
fn verify(found: &Found) -> String {
    let item = |p: &Proposal| format!("  - {{name: {}, run: {}}}", p.name, p.run);
    if found.main.is_empty() {
        return "\n# Commands that judge each commit before it lands; without a required one it lands `unverified`:\n# verify:\n#   - {name: test, run: make test}\n".to_owned();
    }
    let mut text = "\n# Gates: each commit is judged by these commands before it lands. Proposed from what lies here: read and mend them.\nverify:\n".to_owned();
    for proposal in &found.main {
        text.push_str(&item(proposal));
        text.push('\n');
    }
    for proposal in &found.beside {
        text.push_str(&format!("#{}\n", item(proposal)));
    }
    text
}

const PLAN: &str = "\
orch: 1

meta:
  name: My first plan
  max_attempts_default: 3

sections:
  - id: \"1\"
    name: First section
    tasks:
      - id: \"1.1\"
        name: Say what this task is about
        description: |
          What is to be done, and how one can tell that it is done.
          An agent gets this text, and nothing of what you know but did not write.
        # files: [\"src/**\"]      what the task may write; others wait when theirs overlap

      # A task follows those before it, unless it says what it depends on:
      - id: \"1.2\"
        name: Another one
        depends_on: [\"1.1\"]
        description: |
          ...
";

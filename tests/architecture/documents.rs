//! The documents and the code name the same things.

use clap::CommandFactory;
use orch::cli::args::Cli;
use orch::config;
use orch::doctor::{Check, Severity};

use crate::nothing;
use crate::source::{self, read};

/// Every exit code of `orch`.
const EXIT_CODES: [u8; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 70, 130];

/// Every page for people.
fn pages() -> Vec<(String, String)> {
    let docs = std::path::Path::new(source::ROOT).join("docs");
    let mut names: Vec<String> = std::fs::read_dir(docs)
        .expect("docs")
        .map(|e| format!("docs/{}", e.expect("an entry").file_name().display()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    names.push("README.md".to_owned());
    names.sort();
    names
        .into_iter()
        .map(|name| (read(&name), name))
        .map(|(text, name)| (name, text))
        .collect()
}

/// Long flags by command, the ones of every command and those of commands below it included.
fn flags(command: &clap::Command) -> Vec<String> {
    let longs = command.get_arguments().filter_map(clap::Arg::get_long);
    let below = command.get_subcommands().flat_map(flags);
    longs.map(|l| format!("--{l}")).chain(below).collect()
}

fn cli() -> clap::Command {
    let mut cli = Cli::command();
    cli.build();
    cli
}

#[test]
fn the_readme_has_a_line_for_every_command() {
    let readme = read("README.md");
    let cli = cli();
    let missing = cli
        .get_subcommands()
        .map(clap::Command::get_name)
        .filter(|name| *name != "help")
        .filter(|name| {
            !readme
                .lines()
                .any(|l| l.starts_with(&format!("| `orch {name}")))
        });
    nothing(missing.map(str::to_owned));
}

#[test]
fn the_help_of_every_command_has_an_example_of_it() {
    fn without(command: &clap::Command, typed: &str) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string);
        let has = help.is_some_and(|help| {
            help.split_once("Examples:")
                .is_some_and(|(_, examples)| examples.contains(typed))
        });
        let own = (!has).then(|| typed.to_owned());
        let below = command
            .get_subcommands()
            .filter(|below| below.get_name() != "help")
            .flat_map(|below| without(below, &format!("{typed} {}", below.get_name())));
        own.into_iter().chain(below).collect()
    }
    let cli = cli();
    let commands = cli.get_subcommands().filter(|c| c.get_name() != "help");
    nothing(commands.flat_map(|c| without(c, &format!("orch {}", c.get_name()))));
}

#[test]
fn the_readme_names_every_flag_of_run() {
    let readme = read("README.md");
    let cli = cli();
    let run = cli.find_subcommand("run").expect("run");
    let shown = run.get_arguments().filter(|a| !a.is_hide_set());
    let missing = shown
        .filter_map(clap::Arg::get_long)
        .filter(|long| !["help", "version", "directory"].contains(long))
        .filter(|long| !readme.contains(&format!("--{long}")));
    nothing(missing.map(str::to_owned));
}

#[test]
fn no_page_shows_a_command_or_a_flag_that_does_not_exist() {
    let cli = cli();
    let mut wrong = Vec::new();
    for (page, text) in pages() {
        for typed in text.split('`').skip(1).step_by(2).flat_map(str::lines) {
            let mut words = typed.trim_start_matches("$ ").split_whitespace();
            if words.next() != Some("orch") {
                continue;
            }
            let words: Vec<&str> = words.collect();
            let name = words
                .iter()
                .find(|w| !w.starts_with('-') && w.chars().all(char::is_lowercase));
            let Some(name) = name else { continue };
            let Some(command) = cli.find_subcommand(name) else {
                wrong.push(format!("{page}: {typed}: no command {name}"));
                continue;
            };
            let known = flags(command);
            let typed_flags = words
                .iter()
                .map(|w| w.trim_matches(['[', ']', '|', ',']))
                .filter(|w| w.starts_with("--"))
                .map(|w| w.split('=').next().unwrap_or(w));
            for flag in typed_flags.filter(|f| !known.iter().any(|k| k == f)) {
                wrong.push(format!("{page}: {typed}: no flag {flag}"));
            }
        }
    }
    nothing(wrong);
}

#[test]
fn every_exit_code_is_told() {
    let page = read("docs/exit-codes.md");
    let missing = EXIT_CODES
        .iter()
        .filter(|code| !page.contains(&format!("| {code} |")));
    nothing(missing.map(u8::to_string));
}

#[test]
fn every_finding_of_the_doctor_has_a_row() {
    let page = read("docs/doctor.md");
    let missing = Check::ALL.iter().filter(|check| {
        let severity = match check.severity() {
            Severity::Problem => "problem",
            Severity::Note => "note",
        };
        let row = format!("| `{}` | {severity} |", check.id());
        !page.lines().any(|line| line.starts_with(&row))
    });
    nothing(missing.map(|check| check.id().to_owned()));
}

#[test]
fn every_setting_has_a_line_with_its_default() {
    let page = read("docs/settings.md");
    let resolved = config::resolve(&config::Sources::default()).expect("defaults hold");
    let missing = resolved
        .settings
        .rows()
        .into_iter()
        .filter(|(key, ..)| !page.lines().any(|l| l.starts_with(&format!("| `{key}`"))));
    nothing(missing.map(|(key, ..)| key.to_owned()));
}

#[test]
fn every_key_of_a_plan_is_told() {
    let page = read("docs/plan-format.md");
    let keys = read("src/plan/keys.rs");
    let known: Vec<&str> = keys
        .lines()
        .filter_map(|l| l.trim().strip_prefix("(\"")?.split_once("\", "))
        .filter(|(_, class)| ["Read),", "Kept),", "Unbuilt),"].contains(class))
        .map(|(key, _)| key)
        .collect();
    assert!(known.len() > 40, "the table of keys was read");
    let missing = known
        .into_iter()
        .filter(|key| !page.contains(&format!("`{key}`")));
    nothing(missing.map(str::to_owned));
}

#[test]
fn every_kind_of_record_is_told() {
    let page = read("docs/ledger.md");
    let code = read("src/engine/record.rs");
    let (_, variants) = code.split_once("pub enum Record {").expect("the records");
    let (variants, _) = variants.split_once("\n}").expect("their end");
    let kinds = variants.lines().filter_map(|l| {
        let name = l.strip_prefix("    ")?;
        let name = &name[..name.find([' ', '(', ',']).unwrap_or(name.len())];
        name.starts_with(char::is_uppercase)
            .then(|| snake_case(name))
    });
    let missing = kinds.filter(|kind| !page.contains(&format!("| `{kind}` |")));
    nothing(missing);
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// Set to have pages written that are made from the code.
const WRITE: &str = "ORCH_WRITE_DOCS";

const FAILURES: &str = "docs/failures.md";

const FAILURES_HEAD: &str = "# How attempts end, and what follows

Made from the table in `src/engine/table.rs` by `ORCH_WRITE_DOCS=1 cargo test --test architecture`; what is changed here by
hand is lost.

An end is told from what the agent program states in fields, then from the texts of its error records. What a model said
or a tool printed never decides.

- **costs**: what the end costs the task. An *attempt* is one of `max_attempts`. A *streak* costs nothing up to three
  times in a row, a *conflict* nothing twice per task; then each costs an attempt.
- **next attempt**: when there is another one, as long as attempts are left.
- **from**: where it starts unless the plan's `retry` says otherwise: what this attempt left, or the target's tip.
- **goes on**: whether the same attempt goes on in its slot instead, where the agent program can do that: in its session, or
  in a new one if that had not begun.
- **breaker**: what the end tells the breaker: that the world works, nothing, a failure (several in a row, of several
  tasks, open it), or that every other attempt would end the same (opens it at once).
- **ladder**: whether a better model could mend it.
- **stops**: whether it ends a run in which nothing has worked since it was started or continued.

| end | | costs | next attempt | from | goes on | breaker | ladder | stops |
|---|---|---|---|---|---|---|---|---|
";

/// What the code says of each ending: the comment above it.
fn meanings() -> std::collections::BTreeMap<String, String> {
    let source = read("src/engine/ending.rs");
    let (_, block) = source.split_once("pub enum Ending {").expect("the endings");
    let (block, _) = block.split_once("\n}").expect("the end of the endings");
    let (mut meanings, mut comment) = (std::collections::BTreeMap::new(), Vec::new());
    for line in block.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            comment.push(text);
        } else if let Some(name) = line.strip_suffix(',') {
            meanings.insert(name.to_owned(), std::mem::take(&mut comment).join(" "));
        }
    }
    meanings
}

fn failures() -> String {
    use orch::engine::ending::Ending;
    use orch::engine::next::Charge;
    use orch::engine::table::{Retry, Signal};
    use orch::plan::graph::RetryFrom;
    let meanings = meanings();
    let mut page = FAILURES_HEAD.to_owned();
    for ending in Ending::ALL {
        let row = ending.row();
        let costs = match row.counts {
            Charge::Attempt => "an attempt",
            Charge::Streak => "a streak",
            Charge::Conflict => "a conflict",
            Charge::Nothing => "nothing",
        };
        let next = match row.retry {
            Retry::Never => "none: done",
            Retry::AtOnce => "at once",
            Retry::Backoff => "after a back-off",
            Retry::AfterLimit => "after the limit",
            Retry::AfterBreaker => "when the breaker lets it",
        };
        let from = match row.from {
            _ if row.is_done() => "",
            RetryFrom::Candidate => "candidate",
            RetryFrom::Base => "tip",
        };
        let breaker = match row.breaker {
            Signal::Works => "works",
            Signal::Nothing => "",
            Signal::Fails => "a failure",
            Signal::Opens => "opens it",
        };
        let yes = |is: bool| if is { "yes" } else { "" };
        let meaning = meanings
            .get(&format!("{ending:?}"))
            .unwrap_or_else(|| panic!("{ending:?} has no comment"));
        let cells = [
            ending.in_words(),
            meaning,
            costs,
            next,
            from,
            yes(row.continues),
            breaker,
            yes(row.ladder && !row.is_done()),
            yes(row.stops),
        ];
        page.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    page
}

#[test]
fn the_page_of_failures_is_the_table_of_the_engine() {
    let page = failures();
    if std::env::var_os(WRITE).is_some() {
        let path = std::path::Path::new(source::ROOT).join(FAILURES);
        std::fs::write(path, &page).expect("the page");
    }
    assert!(
        read(FAILURES) == page,
        "{FAILURES} is not what the code says: {WRITE}=1 cargo test --test architecture documents"
    );
}

//! What settings promise: who wins, who is named, what is refused.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

mod bounds;
mod keys;

const ORCH: &str = "orch.yaml";

fn own(text: &str) -> Sources<'_> {
    Sources {
        project: Some(Layer { name: ORCH, text }),
        ..Sources::default()
    }
}

fn settings(sources: &Sources<'_>) -> Settings {
    let resolved = resolve(sources).unwrap();
    assert_eq!(resolved.warnings, []);
    resolved.settings
}

/// `code: message` of everything that is wrong.
fn wrongs(sources: &Sources<'_>) -> Vec<String> {
    let problems = match resolve(sources) {
        Ok(resolved) => resolved.warnings,
        Err(problems) => problems,
    };
    let diagnostics = problems.iter().flat_map(|p| &p.diagnostics);
    diagnostics
        .map(|d| format!("{}: {}", d.code, d.message))
        .collect()
}

fn is_refused(sources: &Sources<'_>) -> bool {
    resolve(sources).is_err()
}

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |&(k, v): &(&str, &str)| (k.to_owned(), v.to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn the_highest_layer_decides_and_is_named() {
    let env = vars(&[("ORCH_JOBS", "6"), ("ORCH_CLAUDE_ALLOW_ROOT", "true")]);
    let mut sources = Sources {
        flags: Flags {
            jobs: Some(7),
            ..Flags::default()
        },
        environment: Some(&env),
        plan: Some(PlanLayer {
            name: "plan.yaml",
            jobs: Some(5),
            runner: None,
            max_attempts: None,
            smoke: None,
            bounds: &[],
            merge: None,
        }),
        project: Some(Layer {
            name: ORCH,
            text: "# ours\nclaude:\n  allow_root: false\njobs: 4\nbuild_command: make\n",
        }),
        seed: Some(Layer {
            name: "seed.yaml",
            text: "build_command: pnpm build\ntest_command: pnpm test\n",
        }),
        user: Some(Layer {
            name: "user.yaml",
            text: "jobs: 2\ntest_command: mine\ntimeout: 10m\n",
        }),
        home: None,
    };
    let jobs = |sources: &Sources<'_>| {
        let jobs = settings(sources).jobs;
        (jobs.value, jobs.origin.to_string())
    };
    assert_eq!(jobs(&sources), (7, "--jobs".to_owned()));
    let rest = settings(&sources);
    assert_eq!(
        rest.claude_allow_root.origin.to_string(),
        "ORCH_CLAUDE_ALLOW_ROOT"
    );
    assert_eq!(rest.build_command.value.as_deref(), Some("make"));
    assert_eq!(rest.build_command.origin.to_string(), "orch.yaml:5");
    assert_eq!(rest.test_command.origin.to_string(), "seed.yaml:2");
    assert_eq!(rest.timeout.value, Duration::from_secs(600));
    assert_eq!(rest.timeout.origin.to_string(), "user.yaml:3");
    assert_eq!(rest.runner.origin, Origin::Default);

    sources.flags = Flags::default();
    assert_eq!(jobs(&sources), (6, "ORCH_JOBS".to_owned()));
    sources.environment = None;
    assert_eq!(jobs(&sources), (5, "plan.yaml, meta.jobs".to_owned()));
    sources.plan = None;
    assert_eq!(jobs(&sources), (4, "orch.yaml:4".to_owned()));
    sources.project = None;
    assert_eq!(jobs(&sources), (2, "user.yaml:1".to_owned()));
    sources.user = None;
    assert_eq!(jobs(&sources), (1, "default".to_owned()));
}

#[test]
fn parallel_means_four_jobs_unless_anything_says_a_number() {
    let flags = Flags {
        parallel: true,
        ..Flags::default()
    };
    let with = |sources: Sources<'_>| {
        let jobs = settings(&Sources { flags, ..sources }).jobs;
        (jobs.value, jobs.origin.to_string())
    };
    assert_eq!(with(Sources::default()), (4, "--parallel".to_owned()));
    assert_eq!(with(own("jobs: 1")), (1, "orch.yaml:1".to_owned()));
}

#[test]
fn every_key_and_its_variable_stand_in_the_documentation() {
    let docs = include_str!("../../docs/settings.md");
    for key in KEYS {
        assert!(docs.contains(&format!("`{}`", key.name)), "{}", key.name);
    }
    for word in layer::RESERVED {
        assert!(docs.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn values_that_cannot_be_meant_are_refused_with_their_place() {
    for text in [
        "jobs: 0",
        "jobs: -1",
        "jobs: +3",
        "jobs: 2.5",
        "jobs: many",
        "jobs: 9999",
        "jobs: 99999999999999999999",
        "jobs: [1]",
        "jobs: ''",
        "jobs: &a 3\nmax_attempts: *a",
        "max_attempts: 0",
        "timeout: 0",
        "timeout: -5m",
        "timeout: soon",
        "timeout: 8d",
        "kill_grace: 1h",
        "runner: codex",
        "runner: Claude",
        "model: -p",
        "model: 'a b'",
        "output_max: 1",
        "output_max: 1TiB",
        "output_max: MiB",
        "output_max: 99999999999GiB",
        "confinement: bwrap",
        "slots_dir: slots",
        "slots_dir: ~/slots",
        "agents_dir: ../agents",
        "agents_dir: /agents",
        "dev_server_port: 0",
        "dev_server_port: 65536",
        "ask_status: yes",
        "setup: npm ci",
        "setup: {run: npm ci}",
        "setup: {run: [' ']}",
        "setup: {run: [[x]]}",
        "setup: {when_changed: ['a[']}",
        "claude: {permission: plan}",
        "claude: {binary: bin/claude}",
        "claude: {tools: ['Bash,Read']}",
        "claude: {tools: ['--x']}",
        "claude: {max_retries: 1000}",
        "claude: bypass",
        "- jobs",
        "jobs",
    ] {
        let problems = resolve(&own(text)).unwrap_err();
        let d = &problems[0].diagnostics[0];
        assert_eq!(d.code, "wrong-value", "{text}: {}", d.message);
        assert!(d.span.is_some(), "{text}");
    }
}

#[test]
fn verify_commands_are_a_text_a_list_or_a_mapping_around_it() {
    for (text, names) in [
        ("verify: make check", vec!["make check"]),
        (
            "verify: [make lint, {name: test, run: make test}]",
            vec!["make lint", "test"],
        ),
        (
            "verify: {commands: [make check], clean: true}",
            vec!["make check"],
        ),
        (
            "build_command: make\ntest_command: make test",
            vec!["build", "test"],
        ),
        (
            "test_command: make test\nverify: make check",
            vec!["make check"],
        ),
        ("jobs: 1", vec![]),
    ] {
        let commands = settings(&own(text)).verify();
        let found: Vec<&str> = commands.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(found, names, "{text}");
        assert!(commands.iter().all(|command| command.required));
    }
    for text in [
        "verify: [{name: test}]",
        "verify: [{run: a, nmae: b}]",
        "verify: [{name: a, run: b}, {name: a, run: c}]",
        "verify: {commands: {run: a}}",
        "verify: ['']",
        "verify: [{run: a, fail_on: never}]",
        "verify: [{run: a, env: {ORCH_RUN: b}}]",
        "verify: {cache: always}",
    ] {
        assert!(is_refused(&own(text)), "{text}");
    }
}

#[test]
fn words_of_later_versions_are_refused_by_name() {
    assert_eq!(
        wrongs(&own("review:\n  - run: make check\njobs: 2\n")),
        ["reserved-key: `review` is not in this version of orch"]
    );
    assert!(
        layer::RESERVED
            .iter()
            .all(|word| is_refused(&own(&format!("{word}: 1"))))
    );
    let is_key = |word: &str| {
        KEYS.iter()
            .any(|key| key.name.split('.').next() == Some(word))
    };
    assert!(!layer::RESERVED.into_iter().any(is_key));
}

#[test]
fn misspelt_and_unknown_keys_are_refused_in_our_files() {
    let shown = resolve(&own(
        "jbos: 2\nclaude:\n  permissions: bypass\ncolour: red\n",
    ))
    .unwrap_err()[0]
        .render(false);
    let (shown, known) = shown.rsplit_once("known here: ").unwrap();
    assert!(known.split(", ").any(|key| key == "jobs"), "{known}");
    insta::assert_snapshot!(shown, @r"
    error[misspelt-key]: unknown key `jbos`
     --> orch.yaml:1:1
      |
    1 | jbos: 2
      | ^^^^
      |
      = help: did you mean `jobs`?

    error[misspelt-key]: unknown key `permissions` in `claude`
     --> orch.yaml:3:3
      |
    3 |   permissions: bypass
      |   ^^^^^^^^^^^
      |
      = help: did you mean `permission`?

    error[unknown-key]: unknown key `colour`
     --> orch.yaml:4:1
      |
    4 | colour: red
      | ^^^^^^
      |
      = help: 
    ");
}

#[test]
fn a_key_stands_once_and_at_its_level() {
    assert_eq!(
        wrongs(&own("jobs: 1\njobs: 2\n")),
        ["duplicate-key: `jobs` stands here twice"]
    );
    assert_eq!(
        wrongs(&own("allow_root: true\nclaude: {jobs: 3}\n? [a]\n: 1\n")),
        [
            "unknown-key: unknown key `allow_root`",
            "unknown-key: unknown key `jobs` in `claude`",
            "unknown-key: a key must be a word"
        ]
    );
}

#[test]
fn a_file_that_says_nothing_is_as_good_as_none() {
    for text in [
        "",
        "# jobs: 3\n",
        "---\n",
        "~",
        "claude:\n  # binary: x\n",
        "\u{feff}",
    ] {
        assert_eq!(
            settings(&own(text)),
            settings(&Sources::default()),
            "{text:?}"
        );
    }
}

#[test]
fn a_file_that_is_not_yaml_is_refused_even_if_nothing_of_it_would_be_used() {
    for text in ["jobs: [", "a: 1\n---\nb: 2\n", "jobs: 1\0"] {
        assert!(wrongs(&own(text))[0].starts_with("yaml: "), "{text:?}");
    }
    let flags = Flags {
        jobs: Some(3),
        ..Flags::default()
    };
    assert!(is_refused(&Sources {
        flags,
        ..own("jobs: none")
    }));
}

#[test]
fn the_seed_file_may_say_more_than_we_know_but_nothing_wrong() {
    let seed = |text| Sources {
        seed: Some(Layer { name: "seed", text }),
        ..Sources::default()
    };
    let known =
        seed("build_command: pnpm run build\nagents_dir: .claude/agents/\ndev_server_port: 3000\n");
    assert_eq!(settings(&known).dev_server_port.value, Some(3000));

    let more = seed("slack: {channel: x}\nbuild_comand: make\njobs: 4\nverify: true\n");
    assert_eq!(
        wrongs(&more),
        [
            "unknown-key: unknown key `slack`",
            "misspelt-key: unknown key `build_comand`",
            "unknown-key: unknown key `jobs`",
            "unknown-key: unknown key `verify`"
        ]
    );
    assert_eq!(resolve(&more).unwrap().settings.jobs.value, 1);
    assert!(is_refused(&seed("dev_server_port: http\n")));
}

#[test]
fn variables_are_settings_only_under_their_exact_name() {
    let env = vars(&[
        ("ORCH_CLAUDE_BINARY", "/opt/claude"),
        ("ORCH_MODEL", ""),
        ("ORCH_MARK", "of an agent around us"),
        ("ORCH_PORT_0", "4000"),
        ("JOBS", "nonsense"),
    ]);
    let resolved = settings(&Sources {
        environment: Some(&env),
        ..Sources::default()
    });
    assert_eq!(resolved.claude_binary.value, Path::new("/opt/claude"));
    assert_eq!(resolved.model.value, None);

    let env = vars(&[("ORCH_VERIFY", "make test")]);
    let resolved = settings(&Sources {
        environment: Some(&env),
        ..Sources::default()
    });
    assert_eq!(resolved.verify_commands.value[0].run, "make test");

    let env = vars(&[
        ("ORCH_JOB", "3"),
        ("ORCH_JOBS", "none"),
        ("ORCH_SETUP_RUN", "make"),
    ]);
    let sources = Sources {
        environment: Some(&env),
        ..Sources::default()
    };
    assert_eq!(
        wrongs(&sources),
        [
            "misspelt-key: `ORCH_JOB` is not a setting of orch",
            "wrong-value: `none` is not a number from 1 to 256",
            "wrong-value: a list can only be written in a settings file"
        ]
    );
    let names: Vec<String> = resolve(&sources)
        .unwrap_err()
        .into_iter()
        .map(|p| p.name)
        .collect();
    assert_eq!(names, ["ORCH_JOB", "ORCH_JOBS", "ORCH_SETUP_RUN"]);
}

#[test]
fn flags_have_the_limits_of_files() {
    let flags = Flags {
        jobs: Some(0),
        runner: Some("codex"),
        model: Some("--help"),
        parallel: false,
        require_verify: false,
        others: &[("--pause-at", "usage.pause_at", "101%")],
    };
    assert_eq!(
        wrongs(&Sources {
            flags,
            ..Sources::default()
        }),
        [
            "wrong-value: `0` is not a number from 1 to 256",
            "wrong-value: `codex` is not one of claude, command, rehearsal",
            "wrong-value: `--help` cannot be the name of a model",
            "wrong-value: `101%` is not a percentage from 0 to 100"
        ]
    );
}

//! The shapes, one function each.

use super::Shape;
use crate::fixture::gated;
use crate::runs::plan;

impl Shape {
    pub(crate) fn sequence() -> Self {
        Self::new(
            "sequence",
            plan(&[
                ("1", "max_attempts: 1\nrun: echo a > a.txt"),
                ("2", "max_attempts: 1\nrun: cat a.txt a.txt > b.txt"),
            ]),
        )
    }

    /// Three tasks that have nothing to do with each other, two at a time.
    pub(crate) fn parallel() -> Self {
        let task =
            |name: &str| format!("depends_on: []\nmax_attempts: 1\nrun: echo {name} > {name}.txt");
        Self {
            args: &["run", "-j", "2"],
            lands: &["1", "2", "3"],
            ..Self::new(
                "parallel",
                plan(&[("1", &task("a")), ("2", &task("b")), ("3", &task("c"))]),
            )
        }
    }

    /// Both start on the same tip and write the same file; the lines are sorted, so that their order does not tell.
    pub(crate) fn conflict() -> Self {
        let task = |mine: u32, other: u32| {
            let meet = gated(&mine.to_string(), &other.to_string(), "true");
            format!(
                "depends_on: []\nmax_attempts: 1\nrun: '{meet}; touch both; (cat both; echo {mine}) | sort > new; mv new both'"
            )
        };
        Self {
            args: &["run", "-j", "2"],
            ..Self::new("conflict", plan(&[("1", &task(1, 2)), ("2", &task(2, 1))]))
        }
    }

    /// An agent adds the second task to the plan.
    pub(crate) fn extension() -> Self {
        let text = "orch: 1
meta: {name: Scratch, runner: rehearsal}
sections:
  - id: s
    name: Work
    tasks:
      - id: '1'
        name: Task 1
        max_attempts: 1
        rehearse:
          write: {a.txt: 'a'}
          add_tasks:
            - id: '2'
              name: Task 2
              depends_on: ['1']
";
        Self::new("extension", text.to_owned())
    }

    /// The first task fails once, and its next attempt goes on from the files that it left.
    pub(crate) fn retry() -> Self {
        let fails_once = "max_attempts: 6\nrun: 'test -e tried.txt && echo a > a.txt || { echo x > tried.txt; exit 1; }'";
        Self {
            counts_vary: true,
            ..Self::new(
                "retry",
                plan(&[
                    ("1", fails_once),
                    ("2", "max_attempts: 1\nrun: cat a.txt tried.txt > b.txt"),
                ]),
            )
        }
    }

    /// Each landing is brought into the checkout.
    pub(crate) fn live() -> Self {
        Self {
            name: "live",
            args: &["run", "--live"],
            ..Self::sequence()
        }
    }

    /// The same, while the person's copy of the plan has an edit that is not committed.
    pub(crate) fn edited() -> Self {
        Self {
            name: "edited",
            edit: "\n# a person's remark\n",
            ..Self::live()
        }
    }

    /// The plan is a file that git does not know, so that its fields are written in place.
    pub(crate) fn outside() -> Self {
        Self {
            name: "outside",
            outside: true,
            ..Self::sequence()
        }
    }

    /// A required verify command judges each landing commit, and one that is not required is asked as well.
    pub(crate) fn verified() -> Self {
        Self {
            name: "verified",
            files: &[(
                "orch.yaml",
                "verify:\n  - {name: check, run: test -e a.txt || test ! -e b.txt}\n  - {name: lint, run: exit 1, required: false}\n",
            )],
            ..Self::sequence()
        }
    }

    /// What the first attempt of the first task leaves is red.
    pub(crate) fn red() -> Self {
        let red_once = "max_attempts: 6\nrun: 'test -e \"$GATE/tried\" && echo good > code.txt || { echo bad > code.txt; touch \"$GATE/tried\"; }'";
        Self {
            counts_vary: true,
            files: &[
                ("code.txt", "fine\n"),
                (
                    "orch.yaml",
                    "verify: [{name: check, run: '! grep bad code.txt'}]\n",
                ),
            ],
            ..Self::new(
                "red",
                plan(&[
                    ("1", red_once),
                    ("2", "max_attempts: 1\nrun: cat code.txt > b.txt"),
                ]),
            )
        }
    }

    /// Landings into the checkout, of a suite that is red already: only what is red anew counts.
    pub(crate) fn baseline() -> Self {
        Self {
            name: "baseline",
            args: &["run", "--live"],
            files: &[
                (
                    "suite.sh",
                    "echo 1..2\necho not ok 1 - old\ntest -e a.txt && test -e c.txt && echo not ok 2 - new || echo ok 2 - new\nexit 1\n",
                ),
                (
                    "orch.yaml",
                    "verify: [{name: suite, run: sh suite.sh, fail_on: new}]\n",
                ),
            ],
            ..Self::sequence()
        }
    }

    /// Three tasks side by side, whose landing commits are verified on top of one another.
    pub(crate) fn queue() -> Self {
        Self {
            name: "queue",
            files: &[(
                "orch.yaml",
                "verify:\n  parallel: 2\n  commands: [{name: check, run: test -e orch.yaml}]\n",
            )],
            ..Self::parallel()
        }
    }

    /// A person approves what the first task makes, and that the second one starts; each time orch has ended meanwhile.
    pub(crate) fn approved() -> Self {
        Self {
            approves: &["1", "2"],
            ..Self::new(
                "approved",
                plan(&[
                    ("1", "gate: approval\nmax_attempts: 1\nrun: echo a > a.txt"),
                    (
                        "2",
                        "gate: {when: before}\nmax_attempts: 1\nrun: cat a.txt a.txt > b.txt",
                    ),
                ]),
            )
        }
    }

    /// A person approves while orch waits for it.
    pub(crate) fn answered() -> Self {
        Self {
            args: &["run", "--wait"],
            approves: &["1"],
            ..Self::new(
                "answered",
                plan(&[
                    ("1", "gate: approval\nmax_attempts: 1\nrun: echo a > a.txt"),
                    ("2", "max_attempts: 1\nrun: cat a.txt a.txt > b.txt"),
                ]),
            )
        }
    }

    /// Both start on the same tip and write a file that follows from others; a person's command makes it anew.
    pub(crate) fn remade() -> Self {
        let task = |mine: u32, other: u32| {
            let meet = gated(&mine.to_string(), &other.to_string(), "true");
            format!(
                "depends_on: []\nmax_attempts: 1\nrun: '{meet}; echo {mine} > parts/{mine}; cat parts/* > lock'"
            )
        };
        Self {
            args: &["run", "-j", "2"],
            files: &[
                ("parts/0", "0\n"),
                ("lock", "0\n"),
                (
                    "orch.yaml",
                    "verify: 'cat parts/* | cmp - lock'\nmerge: {lock: 'run: cat parts/* > lock'}\n",
                ),
            ],
            ..Self::new("remade", plan(&[("1", &task(1, 2)), ("2", &task(2, 1))]))
        }
    }

    /// Both start on the same tip and write the same file, and a session brings it together.
    pub(crate) fn resolved() -> Self {
        let task = |mine: u32| {
            format!(
                "runner: claude\ndepends_on: []\nmax_attempts: 1\nverify: [{{name: has-{mine}, run: '[ $(wc -l < both) = 1 ] || grep -q {mine} both'}}]"
            )
        };
        let [one, two] = [("1", "2"), ("2", "1")].map(|(up, go)| gated(up, go, "true"));
        let work = format!(
            "case \"$prompt\" in
            '# A conflict:'*) grep -v '^[<=>|]' both | sort > new; mv new both;;
            *) if [ \"$ORCH_TASK\" = 1 ]; then {one}; else {two}; fi; echo \"$ORCH_TASK\" >> both;;
            esac"
        );
        Self {
            args: &["run", "-j", "2"],
            files: &[("both", "0\n")],
            agent: Some(work),
            ..Self::new("resolved", plan(&[("1", &task(1)), ("2", &task(2))]))
        }
    }

    /// The first task waits for evidence, which is there at the second look.
    pub(crate) fn evidence() -> Self {
        let looks = "external: {run: 'test -e \"$GATE/seen\" || { touch \"$GATE/seen\"; exit 1; }', every: 1s}";
        Self {
            args: &["run", "--wait"],
            ..Self::new(
                "evidence",
                plan(&[
                    (
                        "1",
                        &format!("{looks}\nmax_attempts: 1\nrun: echo a > a.txt"),
                    ),
                    ("2", "max_attempts: 1\nrun: cat a.txt a.txt > b.txt"),
                ]),
            )
        }
    }

    /// Hooks run around the run, after its tasks and never two at once; what has landed is judged at the end.
    pub(crate) fn crowned() -> Self {
        Self {
            name: "crowned",
            files: &[(
                "orch.yaml",
                r#"smoke: [{name: whole, run: test -e a.txt && test -e b.txt}]
hooks:
  before_run: echo "$ORCH_EVENT" >> "$GATE/told"
  after_task: exec 9> "$GATE/lock"; flock -n 9 || echo two >> "$GATE/told"; echo "$ORCH_EVENT $ORCH_TASK" >> "$GATE/told"
  after_run: exec 9> "$GATE/lock"; flock -n 9 || echo two >> "$GATE/told"; echo "$ORCH_EVENT" >> "$GATE/told"
"#,
            )],
            tells: &["before_run", "run_ended", "task_done 1", "task_done 2"],
            ..Self::sequence()
        }
    }

    /// The first attempt changes what agents are told, which is refused; the second task may change the gate's script.
    pub(crate) fn protected() -> Self {
        let refused_once = "max_attempts: 6\nrun: 'rm -f CLAUDE.md; test -e \"$GATE/tried\" && echo a > a.txt || { echo trust me > CLAUDE.md; touch \"$GATE/tried\"; }'";
        Self {
            counts_vary: true,
            files: &[
                ("check.sh", "test -e orch.yaml\n"),
                ("orch.yaml", "verify: [{name: check, run: sh check.sh}]\n"),
            ],
            ..Self::new(
                "protected",
                plan(&[
                    ("1", refused_once),
                    (
                        "2",
                        "allow_protected: [check.sh]\nmax_attempts: 1\nrun: echo 'test -e a.txt' > check.sh",
                    ),
                ]),
            )
        }
    }

    /// The first agent commits a file, lets the commit go and leaves a pipe; before its slot is used again, that is saved.
    pub(crate) fn saved() -> Self {
        let lets_go = "max_attempts: 1\nrun: 'echo mine > let-go.txt; git add let-go.txt; git -c user.name=A -c user.email=a@example.invalid commit -qm mine; git reset -q --hard HEAD~1; mkfifo pipe; echo a > a.txt'";
        Self {
            saves: "let-go.txt",
            ..Self::new(
                "saved",
                plan(&[
                    ("1", lets_go),
                    (
                        "2",
                        "max_attempts: 1\nrun: test ! -e pipe && cat a.txt a.txt > b.txt",
                    ),
                ]),
            )
        }
    }

    /// Somebody stops the run while its first agent works; a task that a person has done is believed.
    pub(crate) fn stopped() -> Self {
        let stops =
            "max_attempts: 1\nrun: 'touch \"$GATE/../repo/.claude/plans/.stop\"; echo a > a.txt'";
        Self {
            args: &["run", "--clear-stop"],
            stops: true,
            ..Self::new(
                "stopped",
                plan(&[
                    ("0", "status: completed\nrun: 'true'"),
                    ("1", stops),
                    ("2", "max_attempts: 1\nrun: cat a.txt a.txt > b.txt"),
                ]),
            )
        }
    }

    /// Any tasks, of which nothing is asserted but what they do.
    pub(crate) fn of_tasks(tasks: &[(&str, &str)]) -> Self {
        Self::new("tasks", plan(tasks))
    }

    /// Three tasks whose agents write for a while, two at a time.
    pub(crate) fn slow() -> Self {
        let task = |name: &str| {
            format!(
                "depends_on: []\nmax_attempts: 1\nrun: 'for i in 1 2 3 4 5 6; do echo {name} $i; sleep 0.05; echo $i >> {name}.txt; done'"
            )
        };
        Self {
            name: "slow",
            plan: plan(&[("1", &task("a")), ("2", &task("b")), ("3", &task("c"))]),
            ..Self::parallel()
        }
    }
}

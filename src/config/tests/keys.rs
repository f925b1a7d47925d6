//! Every key: that it is read, and what it is when nobody says anything.

use super::*;

#[test]
fn every_key_is_read_in_a_file() {
    let text = "
jobs: 3
runner: command
model: opus
timeout: 1h30m
stall_timeout: 20m
start_timeout: 5s
max_attempts: 5
backoff_base: 5
backoff_max: 120
circuit_breaker_threshold: 4
circuit_breaker_reset_timeout: 10m
limits: {on_limit: stop, margin: 30s}
usage:
  pause_at: 87.5%
max_duration: 8h
model_escalation:
  enabled: true
  ladder: [sonnet, opus, claude-best-5]
  starting_model: sonnet
  escalate_after: 1
  max_model: claude-opus-4-1
budget:
  quota_ceiling: 100
  max_budget_pct: 90%
  reserved_budget: 2.5
  default_reserve: $0.4
  overshoot: 0.000001
  attempt: {usd: 5, tokens: 1000000, sessions: 4}
  task: {usd: 10, tokens: 2000000, sessions: 8, time: 3h}
  run: {usd: 80, tokens: 9000000, sessions: 200, time: 40h}
  day: {usd: 120, tokens: 10000000, sessions: 300, time: 60h}
ask_status: false
unsupervised_max: 90
kill_grace: 500ms
output_max: 1GiB
confinement: none
keep_awake: false
slots_dir: ~/slots
setup:
  run: [npm ci, 'make deps']
  when_changed:
    - package-lock.json
    - '**/*.lock'
verify:
  commands: [make check, {name: lint, run: make lint, required: false}]
  timeout: 10m
  clean: true
  env_probe: [rustc -V]
  parallel: 3
  cache: hermetic
  require: true
  require_base_files: true
approvals: {signed: true}
protect:
  add: [db]
  remove: ['**/CMakeLists.txt']
merge: {CHANGELOG.md: union, 'docs/**/news.md': union}
merge_resolver: false
agents_dir: ./.claude/agents/
build_command: make
test_command: make check
dev_server_command: make serve
dev_server_port: 3000
notify:
  - {on: [run_ended, task_failed], run: ./tell}
  - webhook: https://ann:pw@chat.example.org/hooks/s3cret
hooks: {before_run: ./up, after_task: ./tell, after_run: ./down}
smoke: [{name: paths, run: ./paths}]
commit: {sign_off: true}
gc: {keep_runs: 5, keep_days: 7}
claude:
  binary: /opt/claude
  permission: acceptEdits
  allow_root: true
  mcp: tools/mcp.json
  tools: [Bash, mcp__db__query]
  max_retries: 0
x-note: [anything]
";
    let sources = Sources {
        home: Some(Path::new("/home/ann")),
        ..own(text)
    };
    let resolved = settings(&sources);
    let shown: Vec<String> = resolved
        .rows()
        .into_iter()
        .map(|(key, value, origin)| {
            assert!(matches!(origin, Origin::File { .. }), "{key}");
            format!("{key} = {value}")
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    jobs = 3
    runner = command
    model = opus
    timeout = 1 h 30 min
    stall_timeout = 20 min 00 s
    start_timeout = 5 s
    max_attempts = 5
    backoff_base = 5 s
    backoff_max = 2 min 00 s
    circuit_breaker_threshold = 4
    circuit_breaker_reset_timeout = 10 min 00 s
    limits.on_limit = stop
    limits.margin = 30 s
    usage.pause_at = 87.5%
    max_duration = 8 h 00 min
    model_escalation.enabled = true
    model_escalation.ladder = sonnet, opus, claude-best-5
    model_escalation.starting_model = sonnet
    model_escalation.escalate_after = 1
    model_escalation.max_model = claude-opus-4-1
    budget.quota_ceiling_usd = $100.00
    budget.max_quota_percent = 90%
    budget.reserved_budget_usd = $2.50
    budget.default_reserve = $0.40
    budget.overshoot = $0.000001
    budget.attempt.usd = $5.00
    budget.attempt.tokens = 1000000
    budget.attempt.sessions = 4
    budget.task.usd = $10.00
    budget.task.tokens = 2000000
    budget.task.sessions = 8
    budget.task.time = 3 h 00 min
    budget.run.usd = $80.00
    budget.run.tokens = 9000000
    budget.run.sessions = 200
    budget.run.time = 40 h 00 min
    budget.day.usd = $120.00
    budget.day.tokens = 10000000
    budget.day.sessions = 300
    budget.day.time = 60 h 00 min
    ask_status = false
    unsupervised_max = 1 min 30 s
    kill_grace = 500 ms
    output_max = 1073741824
    confinement = none
    keep_awake = false
    slots_dir = /home/ann/slots
    setup.run = npm ci, make deps
    setup.when_changed = package-lock.json, **/*.lock
    verify.commands = make check, lint
    verify.timeout = 10 min 00 s
    verify.clean = true
    verify.env_probe = rustc -V
    verify.parallel = 3
    verify.cache = hermetic
    verify.require = true
    verify.require_base_files = true
    approvals.signed = true
    protect.add = db
    protect.remove = **/CMakeLists.txt
    merge = CHANGELOG.md: union, docs/**/news.md: union
    merge_resolver = false
    agents_dir = ./.claude/agents/
    build_command = make
    test_command = make check
    dev_server_command = make serve
    dev_server_port = 3000
    notify = run `./tell` on task_failed run_ended; webhook at chat.example.org on limit breaker gate task_failed run_ended
    hooks.before_run = ./up
    hooks.after_task = ./tell
    hooks.after_run = ./down
    smoke = paths
    commit.sign_off = true
    gc.keep_runs = 5
    gc.keep_days = 7
    claude.binary = /opt/claude
    claude.permission = accept-edits
    claude.allow_root = true
    claude.mcp = tools/mcp.json
    claude.tools = Bash, mcp__db__query
    claude.max_retries = 0
    ");
    assert_eq!(resolved.for_record()["jobs"], "3 (orch.yaml:2)");
}

#[test]
fn defaults_are_the_documented_ones() {
    let rows = settings(&Sources::default());
    let shown: Vec<String> = rows
        .rows()
        .into_iter()
        .map(|(key, value, _)| format!("{key} = {value}"))
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    jobs = 1
    runner = claude
    model = not set
    timeout = 1 h 00 min
    stall_timeout = 10 min 00 s
    start_timeout = 2 min 00 s
    max_attempts = 3
    backoff_base = 1 s
    backoff_max = 1 min 00 s
    circuit_breaker_threshold = 3
    circuit_breaker_reset_timeout = 5 min 00 s
    limits.on_limit = wait
    limits.margin = 1 min 00 s
    usage.pause_at = not set
    max_duration = not set
    model_escalation.enabled = false
    model_escalation.ladder = haiku, sonnet, opus
    model_escalation.starting_model = not set
    model_escalation.escalate_after = 2
    model_escalation.max_model = not set
    budget.quota_ceiling_usd = $0.00
    budget.max_quota_percent = 100%
    budget.reserved_budget_usd = $0.00
    budget.default_reserve = $1.00
    budget.overshoot = $0.50
    budget.attempt.usd = not set
    budget.attempt.tokens = not set
    budget.attempt.sessions = not set
    budget.task.usd = not set
    budget.task.tokens = not set
    budget.task.sessions = not set
    budget.task.time = not set
    budget.run.usd = not set
    budget.run.tokens = not set
    budget.run.sessions = not set
    budget.run.time = not set
    budget.day.usd = not set
    budget.day.tokens = not set
    budget.day.sessions = not set
    budget.day.time = not set
    ask_status = true
    unsupervised_max = 30 min 00 s
    kill_grace = 5 s
    output_max = 268435456
    confinement = none
    keep_awake = true
    slots_dir = not set
    setup.run = none
    setup.when_changed = none
    verify.commands = none
    verify.timeout = 30 min 00 s
    verify.clean = false
    verify.env_probe = none
    verify.parallel = 1
    verify.cache = run
    verify.require = false
    verify.require_base_files = false
    approvals.signed = false
    protect.add = none
    protect.remove = none
    merge = none
    merge_resolver = true
    agents_dir = .claude/agents
    build_command = not set
    test_command = not set
    dev_server_command = not set
    dev_server_port = not set
    notify = none
    hooks.before_run = not set
    hooks.after_task = not set
    hooks.after_run = not set
    smoke = none
    commit.sign_off = false
    gc.keep_runs = 20
    gc.keep_days = 30
    claude.binary = claude
    claude.permission = bypass
    claude.allow_root = false
    claude.mcp = none
    claude.tools = Bash, Edit, Read, Write, Grep, Glob
    claude.max_retries = 2
    ");
}

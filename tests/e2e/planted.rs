//! Every law of the independent checker finds what breaks it: records are altered behind orch's back, one at a time.

use rusqlite::Connection;

use crate::fixture::Fixture;
use crate::resolving::resolved;
use crate::runs::plan;
use crate::signatures::plant;

/// The records of a run that ended, which can be altered and brought back.
struct Records {
    ledger: Connection,
    bodies: Vec<(i64, String)>,
}

impl Records {
    fn of(f: &Fixture) -> Self {
        let ledger = Connection::open(f.repo().join(".git/orch/ledger.db")).expect("a ledger");
        ledger
            .execute_batch(
                "DROP TRIGGER IF EXISTS records_never_change; DROP TRIGGER IF EXISTS records_never_vanish",
            )
            .expect("no triggers");
        let bodies = {
            let mut rows = ledger
                .prepare("SELECT seq, body FROM records")
                .expect("records");
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
            rows.expect("records")
                .collect::<Result<_, _>>()
                .expect("records")
        };
        Self { ledger, bodies }
    }

    fn bring_back(&self) {
        let last = self.bodies.iter().map(|(seq, _)| *seq).max();
        let sql = "DELETE FROM records WHERE seq > ?1";
        self.ledger.execute(sql, [last]).expect("no more records");
        for (seq, body) in &self.bodies {
            let sql = "UPDATE records SET body = ?2 WHERE seq = ?1";
            self.ledger.execute(sql, (seq, body)).expect("a record");
        }
    }

    /// Says something else in the last record of a kind; `body` is made of the one that is there.
    fn alter_last(&self, kind: &str, body: &str) {
        let sql = format!(
            "UPDATE records SET body = {body} WHERE seq = (SELECT max(seq) FROM records WHERE kind = ?1)"
        );
        assert_eq!(self.ledger.execute(&sql, [kind]).expect("a record"), 1);
    }

    /// One more record, made of the first one of the run.
    fn add(&self, body: &str) {
        let sql = format!(
            "INSERT INTO records (run_id, at_ms, body) SELECT run_id, at_ms, {body} FROM records WHERE kind = 'run_started'"
        );
        assert_eq!(self.ledger.execute(&sql, []).expect("a record"), 1);
    }
}

fn landed() -> Fixture {
    let f = Fixture::with_plan(&plan(&[
        (
            "1",
            "verify: [{name: check, run: test ! -e red}]\nrun: echo a > a.txt",
        ),
        (
            "2",
            "verify: [{name: check, run: test ! -e red}]\nrun: echo b > b.txt",
        ),
    ]));
    f.orch(["run"]).exits(0);
    f.orch(["audit"]).exits(0);
    f
}

#[test]
fn a_record_that_says_something_else_than_what_was_promised_is_found() {
    let f = landed();
    let records = Records::of(&f);
    let begin = f.git(["rev-parse", "main~2"]).trim().to_owned();
    let nowhere = "d".repeat(40);
    let quoted = |text: &str| format!("\"{text}\"");
    let cases = [
        (
            "landed",
            "$.generation",
            "3".to_owned(),
            ["generation", "says generation 3"],
        ),
        (
            "landed",
            "$.commit",
            quoted(&begin),
            ["once", "it has two receipts"],
        ),
        (
            "landed",
            "$.commit",
            quoted(&nowhere),
            ["object", "is gone from the repository"],
        ),
        (
            "landed",
            "$.ticket.attempt",
            "7".to_owned(),
            ["trailer", "instead of `7`"],
        ),
        (
            "landed",
            "$.verified",
            "false".to_owned(),
            ["verified", "called unverified"],
        ),
        (
            "landing_intended",
            "$.onto",
            quoted(&begin),
            ["parent", "names another tip"],
        ),
        (
            "landing_intended",
            "$.ticket.task",
            quoted("2"),
            ["intent", "without a recorded intent"],
        ),
        (
            "run_started",
            "$.revision.graph.nodes[1].id",
            quoted("3"),
            ["evidence", "nothing says that this task is"],
        ),
        (
            "run_started",
            "$.revision.graph.nodes[1].id",
            quoted("3"),
            ["plan", "no revision of the plan has the task"],
        ),
        (
            "verified",
            "$.result.tree",
            quoted(&begin),
            ["verified", "its gates were asked about the tree"],
        ),
        (
            "verified",
            "$.result.gates[0].result",
            quoted("failed"),
            ["verified", "no record vouches for it"],
        ),
        (
            "verified",
            "$.result.gates[0].command",
            quoted("00"),
            ["asked", "asks for exactly these commands"],
        ),
        (
            "verified",
            "$.result.gates[0].argv[3]",
            quoted("true"),
            ["asked", "asks for exactly these commands"],
        ),
        (
            "verified",
            "$.result.gates[0].name",
            quoted("else"),
            ["asked", "asks for exactly these commands"],
        ),
        (
            "verified",
            "$.result.gates[0].reused",
            "true".to_owned(),
            ["asked", "no record of the run says so"],
        ),
        (
            "baselined",
            "$.result.gates[0].command",
            quoted("00"),
            ["asked", "judged the untouched target"],
        ),
        (
            "collected",
            "$.scope.rules.allow_protected",
            quoted("all"),
            ["asked", "judged by other rules"],
        ),
        (
            "run_started",
            "$.revision.checked.sets[0].limits.files",
            "0".to_owned(),
            ["asked", "beyond its limits"],
        ),
        (
            "run_started",
            "$.revision.checked.sets[0].limits.lines",
            "0".to_owned(),
            ["asked", "beyond its limits"],
        ),
        (
            "run_started",
            "$.revision.checked.sets[0].outputs",
            "[{\"path\": \"c.txt\", \"wants\": [{\"exists\": true}]}]".to_owned(),
            ["asked", "`c.txt` is not there"],
        ),
        (
            "run_started",
            "$.revision.checked.sets[0].red_green",
            "true".to_owned(),
            ["asked", "were to fail without its change"],
        ),
    ];
    for (kind, place, value, told) in cases {
        plant(&f, kind, place, &value);
        let audit = f.orch(["audit"]).exits(1);
        told.into_iter()
            .fold(audit, |audit, words| audit.says(words));
        records.bring_back();
    }
    f.orch(["audit"]).exits(0);
}

#[test]
fn fewer_tests_and_an_unverified_landing_where_that_is_asked_for_are_found() {
    let f = landed();
    let records = Records::of(&f);
    let counts = |n| format!("{{\"passed\": {n}, \"failed\": 0, \"skipped\": 0}}");
    plant(&f, "baselined", "$.result.gates[0].counts", &counts(5));
    plant(&f, "verified", "$.result.gates[0].counts", &counts(5));
    f.orch(["audit"]).exits(0);
    plant(&f, "verified", "$.result.gates[0].counts", &counts(3));
    f.orch(["audit"])
        .exits(1)
        .says("`check` ran 3 tests, and 5 on what it was built on");
    records.bring_back();
    plant(
        &f,
        "run_started",
        "$.settings.\"verify.require\"",
        "\"true (orch.yaml)\"",
    );
    f.orch(["audit"]).exits(0);
    plant(&f, "landed", "$.verified", "false");
    f.orch(["audit"])
        .exits(1)
        .says("it landed unverified, in a run in which nothing should");
}

#[test]
fn an_agents_edit_that_changes_what_judges_is_found() {
    let f = landed();
    let records = Records::of(&f);
    let edit = |change: &str| {
        records.add(&format!(
            "json_object('kind', 'plan_accepted', 'revision',
             json_set(json_extract(body, '$.revision'), '$.by', json('{{\"agent\": \"1\"}}'){change}))"
        ));
    };
    edit("");
    f.orch(["audit"]).exits(0);
    records.bring_back();
    edit(", '$.checked.sets[0].verify', json('[]')");
    f.orch(["audit"])
        .exits(1)
        .says("the agent of 1 changed by what its work is judged");
}

#[test]
fn blame_behind_others_and_refs_that_went_too_early_are_found() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "verify: test ! -e red\nmax_attempts: 1\nrun: echo a > red",
    )]));
    f.orch(["run"]).exits(1);
    f.orch(["audit"]).exits(0);
    let records = Records::of(&f);
    let tip = f.git(["rev-parse", "main"]).trim().to_owned();
    plant(&f, "building", "$.behind", &format!("\"{tip}\""));
    f.orch(["audit"])
        .exits(1)
        .says("it was blamed behind")
        .says("blame");
    records.bring_back();
    records.add(
        "json_object('kind', 'salvaged', 'salvage', json_object('run', run_id, 'task', '1', 'attempt', 1, 'number', 1,
         'commit', '0000000000000000000000000000000000000001', 'of', 'files', 'place', 'repository'))",
    );
    f.orch(["audit"])
        .exits(1)
        .says("salvage/")
        .says("does not lead to it, or it cannot be read");
    records.bring_back();
    records.add("json_object('kind', 'discarded', 'refs', json('[\"refs/orch/x\"]'), 'directory', json('false'))");
    f.orch(["audit"])
        .exits(1)
        .says("refs were removed of a run that had not completed");
}

#[test]
fn a_resolved_conflict_that_is_not_what_it_is_called_is_found() {
    let f = resolved();
    f.orch(["audit"]).exits(0);
    let records = Records::of(&f);
    plant(&f, "resolving", "$.resolving.attempt", "7");
    f.orch(["audit"])
        .exits(1)
        .says("resolved task 2")
        .says("a conflict of attempt 7, of which this is no candidate");
    records.bring_back();
    plant(&f, "resolving", "$.resolving.files", "[\"other\"]");
    f.orch(["audit"])
        .exits(1)
        .says("merge task 2")
        .says("git leaves conflicts in `list`, and the record of what was settled names `other`");
    records.bring_back();
    // The gate of the task with whose work it was in conflict.
    records.alter_last("verified", "json_remove(body, '$.result.gates[1]')");
    f.orch(["audit"])
        .exits(1)
        .says("resolved task 2")
        .says("a gate that judged what landed of that was not asked");
    records.bring_back();
    f.orch(["audit"]).exits(0);
}

#[test]
fn protected_paths_that_changed_without_the_bases_own_gate_files_are_found() {
    let f = Fixture::with_plan(&plan(&[(
        "1",
        "verify: [{name: check, run: sh check.sh}]\nallow_protected: [check.sh]\nrun: echo '# more' >> check.sh",
    )]));
    f.write("check.sh", "test -e README.md\n");
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Add a check"]);
    f.orch(["run"]).exits(0);
    f.orch(["audit"]).exits(0);
    let records = Records::of(&f);
    records.alter_last("verified", "json_remove(body, '$.result.gates[1]')");
    f.orch(["audit"])
        .exits(1)
        .says("asked task 1")
        .says("it changes protected paths, and its gates were not asked with the base's own");
}

#[test]
fn a_word_that_was_taken_over_and_that_no_earlier_run_has_is_found() {
    let f = Fixture::with_plan(&plan(&[("1", "run: touch a")]));
    f.write(
        "orch.yaml",
        "verify: {commands: [{name: check, run: test -e README.md}], cache: hermetic, env_probe: [echo one]}\n",
    );
    f.git(["add", "-A"]);
    f.git(["commit", "-qm", "Settings"]);
    f.orch(["run"]).exits(0);
    f.git(["reset", "-q", "--hard", "main~1"]);
    f.git(["update-ref", "-d", "refs/heads/orch/plan"]);
    f.orch(["run"]).exits(0);
    f.orch(["audit"]).exits(0);
    let records = Records::of(&f);
    let said = "no record of this run or an earlier one says so";
    for (kind, of) in [("baselined", "asked"), ("verified", "asked task 1")] {
        // Asked in another environment, it would not have counted.
        let body = "json_set(body, '$.result.environment.probes.\"echo one\"', 'two')";
        records.alter_last(kind, body);
        f.orch(["audit"]).exits(1).says(of).says(said);
        records.bring_back();
    }
    plant(&f, "verified", "$.result.gates[0].reused", "true");
    f.orch(["audit"]).exits(1).says(said);
}

//! The binary from end to end with the real `claude` program, against a fake service on loopback.
//!
//! The program is named by `ORCH_TEST_CLAUDE` (an absolute path; `tests/claude/install` fetches the pinned release).
//! Without it these tests are skipped with a note, or fail if `ORCH_TEST_REQUIRE_CLAUDE=1`.

#[path = "../fake_api/mod.rs"]
mod fake_api;
#[allow(dead_code, reason = "shared with the tests with scripted agents")]
#[path = "../e2e/fixture.rs"]
mod fixture;
mod site;

mod extension;
mod limits;
mod plans;
mod prompts;
mod resolving;
mod slots;
mod statuses;
mod troubles;

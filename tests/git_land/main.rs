//! Candidates, merges, landings and publishing, each promise against real git.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on may say so by a panic"
)]

mod commits;
mod landing;
mod merging;
mod publishing;
mod repo;
mod targets;

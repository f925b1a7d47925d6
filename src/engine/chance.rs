//! Spreading things out in time without a random number: what a run draws for a task follows from their names, so that a
//! replay draws the same.

use crate::ids::{RunId, TaskId};

/// A number from 0 to `most`, drawn by `run` for `task` the `n`th time. Different draws are as good as independent.
pub(super) fn up_to(most: u64, run: &RunId, task: &TaskId, n: u32) -> u64 {
    let bytes = [run.as_str(), "/", task.as_str(), "/"].map(str::as_bytes);
    let number = n.to_le_bytes();
    let all = bytes.into_iter().flatten().chain(&number);
    // FNV-1a, then the finisher of SplitMix64: neighbouring numbers end far from each other.
    let mut mixed = all.fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    match most.checked_add(1) {
        Some(count) => mixed % count,
        None => mixed,
    }
}

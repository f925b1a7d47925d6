//! `orch du`: what orch takes on the disk.

use serde_json::json;

use super::args::{DuArgs, Format};
use super::out::Out;
use super::{asked, locate, site};
use crate::driver::gc::disk_bytes;
use crate::error::{OrKind, Result};
use crate::git::pins;
use crate::git::slot::{LodgingKind, lodgings};
use crate::report::table;

/// One line of the answer.
struct Part {
    kind: &'static str,
    name: String,
    bytes: u64,
}

/// `orch du`.
pub(super) fn du(args: &DuArgs, out: &mut Out<'_>) -> Result<u8> {
    let repo = locate::repository()?;
    let state = locate::place()?.state;
    let settings = asked::settings_of(repo.worktree(), out)?;
    let slots = site::slots_dir(&settings)?;
    let mut parts = Vec::new();
    let mut ledger = 0;
    for suffix in ["", "-wal", "-shm"] {
        let mut path = state.ledger().into_os_string();
        path.push(suffix);
        ledger += disk_bytes(path.as_ref()).or_environment()?;
    }
    parts.push(Part {
        kind: "ledger",
        name: state.ledger().display().to_string(),
        bytes: ledger,
    });
    parts.push(Part {
        kind: "runs",
        name: state.runs().display().to_string(),
        bytes: disk_bytes(&state.runs()).or_environment()?,
    });
    for lodging in lodgings(&repo, &slots).or_environment()? {
        if lodging.kind != LodgingKind::Foreign {
            parts.push(Part {
                kind: "slot",
                name: lodging.path.display().to_string(),
                bytes: disk_bytes(&lodging.path).or_environment()?,
            });
        }
    }
    parts.push(Part {
        kind: "objects",
        name: "held by refs/orch/ alone, about".to_owned(),
        bytes: pins::held_alone(&repo).or_environment()?,
    });
    let total: u64 = parts.iter().map(|part| part.bytes).sum();
    let text = match args.format {
        Format::Json => {
            let rows: Vec<_> = parts
                .iter()
                .map(|part| {
                    json!({
                        "kind": part.kind,
                        "name": part.name,
                        "bytes": part.bytes,
                        "is_estimate": part.kind == "objects",
                    })
                })
                .collect();
            let value = json!({"parts": rows, "bytes": total});
            serde_json::to_string_pretty(&value).or_bug()? + "\n"
        }
        Format::Text => {
            let mut rows: Vec<Vec<String>> = parts
                .iter()
                .map(|part| {
                    vec![
                        for_people(part.bytes),
                        part.kind.to_owned(),
                        part.name.clone(),
                    ]
                })
                .collect();
            rows.push(vec![for_people(total), "all".to_owned(), String::new()]);
            table::render(&["size", "of", "where"], &rows, out.paint)
        }
    };
    out.print(&text).map(|()| 0)
}

/// Bytes with a unit, to one decimal.
pub(super) fn for_people(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes.saturating_mul(10) / 1024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::for_people;

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        let told = [0, 1023, 1024, 1536, 10 << 20, 3 << 40].map(for_people);
        assert_eq!(
            told,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "3.0 TiB"]
        );
    }
}

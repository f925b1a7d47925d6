//! `orch agents list`: the roles that tasks can name.

use serde_json::json;

use super::args::Format;
use super::{Out, locate};
use crate::agent::role::{self, Role, Source};
use crate::error::{OrKind, Result};
use crate::report::table;

/// `orch agents list`.
pub(super) fn list(format: Format, out: &mut Out<'_>) -> Result<u8> {
    let root = locate::place()?.root;
    let settings = super::asked::settings_of(&root, out)?;
    let roles = role::list(&root.join(&settings.agents_dir.value)).or_usage()?;
    let text = match format {
        Format::Json => {
            let rows: Vec<_> = roles
                .iter()
                .map(|(name, role)| match role {
                    Ok(r) => json!({"name": name, "description": r.description, "model": r.model, "tools": r.tools, "source": source(r)}),
                    Err(error) => json!({"name": name, "error": error.to_string()}),
                })
                .collect();
            serde_json::to_string_pretty(&rows).or_bug()? + "\n"
        }
        Format::Text => {
            let rows: Vec<Vec<String>> = roles
                .iter()
                .map(|(name, role)| match role {
                    Ok(r) => {
                        let tools = r
                            .tools
                            .as_ref()
                            .map_or_else(|| "as set".to_owned(), |t| t.join(" "));
                        vec![
                            name.clone(),
                            r.model.clone().unwrap_or_default(),
                            source(r),
                            tools,
                            r.description.clone(),
                        ]
                    }
                    Err(error) => vec![
                        name.clone(),
                        String::new(),
                        "unusable".to_owned(),
                        String::new(),
                        error.to_string(),
                    ],
                })
                .collect();
            table::render(&["role", "model", "from", "tools", "for"], &rows, out.paint)
        }
    };
    out.print(&text).map(|()| 0)
}

fn source(role: &Role) -> String {
    match &role.source {
        Source::BuiltIn => "built in".to_owned(),
        Source::File(path) => path.display().to_string(),
    }
}

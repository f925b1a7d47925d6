//! `orch agents list|show`: the roles that tasks can name.

use serde_json::json;

use super::args::Format;
use super::locate;
use super::out::Out;
use crate::agent::role::{self, Effort, Profile, Role, Source};
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
                    Ok(role) => front(role),
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
                            profile(r).to_owned(),
                            tools,
                            r.description.clone(),
                        ]
                    }
                    Err(error) => vec![
                        name.clone(),
                        String::new(),
                        "unusable".to_owned(),
                        String::new(),
                        String::new(),
                        error.to_string(),
                    ],
                })
                .collect();
            table::render(
                &["role", "model", "from", "permission", "tools", "for"],
                &rows,
                out.paint,
            )
        }
    };
    out.print(&text).map(|()| 0)
}

/// `orch agents show`.
pub(super) fn show(name: &str, format: Format, out: &mut Out<'_>) -> Result<u8> {
    let root = locate::place()?.root;
    let settings = super::asked::settings_of(&root, out)?;
    let role = role::load(&root.join(&settings.agents_dir.value), name)
        .or_usage()
        .map_err(|e| e.hint("orch agents list              shows the roles that tasks can name"))?;
    let text = match format {
        Format::Json => {
            let mut role_of = front(&role);
            role_of["text"] = json!(role.text);
            serde_json::to_string_pretty(&role_of).or_bug()? + "\n"
        }
        Format::Text => {
            let tools = role.tools.as_ref().map(|tools| tools.join(", "));
            let rows = [
                ("role", Some(role.name.clone())),
                ("for", Some(role.description.clone())),
                ("from", Some(source(&role))),
                ("model", role.model.clone()),
                ("effort", role.effort.map(|e| e.as_str().to_owned())),
                ("permission", Some(profile(&role).to_owned())),
                ("tools", tools),
            ];
            let mut text = String::new();
            for (key, value) in rows {
                let value = value.unwrap_or_else(|| "as set".to_owned());
                text.push_str(&format!("{key:<12}{value}\n"));
            }
            text + "\n" + &role.text + "\n"
        }
    };
    out.print(&text).map(|()| 0)
}

/// What a role says besides its text.
fn front(role: &Role) -> serde_json::Value {
    json!({
        "name": role.name, "description": role.description, "model": role.model, "tools": role.tools,
        "permission": role.profile.map(Profile::as_str), "effort": role.effort.map(Effort::as_str), "source": source(role),
    })
}

fn profile(role: &Role) -> &'static str {
    role.profile.map_or("as set", Profile::as_str)
}

fn source(role: &Role) -> String {
    match &role.source {
        Source::BuiltIn => "built in".to_owned(),
        Source::File(path) => path.display().to_string(),
    }
}

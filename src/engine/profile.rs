//! How a task is done, as far as the engine goes by it: what the shell makes of plan, roles and settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::TaskId;

/// Who does a task, and on whose account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// The runner and the account it works on, in words: `claude (API key)`. Tasks with the same one share its limits.
    pub entitlement: String,
    /// The role.
    pub agent: String,
    /// The model asked for; the agent program's own choice if none.
    pub model: Option<String>,
    /// Whether its sessions cost money and tokens.
    pub metered: bool,
    /// Whether it is a shell command, which is no session of an agent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_command: bool,
    /// Whether a session is asked to resolve conflicts that its work runs into.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resolves: bool,
}

/// How the tasks of a plan are done, by task. Shared: most are done alike.
pub type Profiles = Arc<BTreeMap<TaskId, Arc<Profile>>>;

/// Keeps each way of doing tasks once, with the tasks that are done so: a plan of thousands has a handful of them.
pub(super) mod alike {
    use std::fmt;

    use serde::de::{MapAccess, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    use super::{Alike, Arc, BTreeMap, Profile, Profiles, TaskId};

    pub(in crate::engine) fn serialize<S: Serializer>(
        profiles: &Profiles,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut alike: BTreeMap<&Profile, Vec<&TaskId>> = BTreeMap::new();
        for (task, profile) in profiles.iter() {
            alike.entry(profile).or_default().push(task);
        }
        serializer.collect_seq(alike.iter().map(|(how, tasks)| Alike { how, tasks }))
    }

    pub(in crate::engine) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Profiles, D::Error> {
        deserializer.deserialize_any(Either).map(Arc::new)
    }

    /// Once there was a profile for each task.
    struct Either;

    impl<'de> Visitor<'de> for Either {
        type Value = BTreeMap<TaskId, Arc<Profile>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("profiles with their tasks")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut profiles = BTreeMap::new();
            while let Some((task, how)) = map.next_entry()? {
                profiles.insert(task, how);
            }
            Ok(profiles)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut profiles = BTreeMap::new();
            while let Some(Alike { how, tasks }) = seq.next_element::<Alike<Arc<_>, Vec<_>>>()? {
                profiles.extend(tasks.into_iter().map(|task| (task, Arc::clone(&how))));
            }
            Ok(profiles)
        }
    }
}

/// A way of doing tasks, and those that are done so.
#[derive(Serialize, Deserialize)]
struct Alike<How, Tasks> {
    how: How,
    tasks: Tasks,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Kept(#[serde(with = "alike")] Profiles);

    fn profiles() -> Profiles {
        let by = |agent: &str| {
            Arc::new(Profile {
                agent: agent.to_owned(),
                ..Profile::default()
            })
        };
        let (coder, reviewer) = (by("coder"), by("reviewer"));
        let tasks = [("a", &coder), ("b", &reviewer), ("c", &coder)];
        let tasks = tasks.map(|(id, how)| (TaskId::parse(id).expect("an id"), Arc::clone(how)));
        Arc::new(tasks.into())
    }

    #[test]
    fn a_way_of_doing_tasks_is_kept_once_with_those_that_are_done_so() {
        let kept = Kept(profiles());
        let text = serde_json::to_string(&kept).expect("JSON");
        assert_eq!(text.matches("coder").count(), 1, "{text}");
        let back: Kept = serde_json::from_str(&text).expect("what was written");
        assert_eq!(back, kept);
        let [a, c] = ["a", "c"].map(|id| &back.0[id]);
        assert!(Arc::ptr_eq(a, c), "shared as before");
    }

    #[test]
    fn a_record_with_a_profile_for_each_task_is_read() {
        let each = serde_json::to_string(&*profiles()).expect("JSON");
        let back: Kept = serde_json::from_str(&each).expect("the older form");
        assert_eq!(back, Kept(profiles()));
    }
}

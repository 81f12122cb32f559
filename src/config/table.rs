//! A table of the file, opened with the list of keys it may hold.

use toml::de::DeTable;

use super::keys::{ChildType, Key, Keys, Standing, TABLES};
use super::report::{At, Report};
use super::value::{Role, Value};
use crate::suggest::nearest;

/// A table whose keys have been checked against the list; its values are handed out by name.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    /// Where complaints go.
    pub(crate) report: &'a Report<'a>,
    /// Where the table begins: its header or its opening brace.
    pub(crate) at: At,
    entries: &'a DeTable<'a>,
    keys: &'static Keys,
}

impl<'a> Table<'a> {
    /// Opens a table: every key that is unknown or not supported yet becomes an error.
    pub(crate) fn open(
        report: &'a Report<'a>,
        at: At,
        entries: &'a DeTable<'a>,
        keys: &'static Keys,
    ) -> Table<'a> {
        let table = Table::unchecked(report, at, entries, keys);
        for (name, at) in table.names() {
            if report.is_full() {
                break;
            }
            match table.listed(name) {
                None => table.unknown(name, at),
                Some(Key { standing: Standing::Later, .. }) => {
                    report.error(at, format!("`{name}` {} is not supported yet", keys.place), "leave it out");
                }
                Some(_) => {}
            }
        }
        table
    }

    /// A table of which only some keys are of interest: the others are not looked at.
    pub(crate) fn unchecked(
        report: &'a Report<'a>,
        at: At,
        entries: &'a DeTable<'a>,
        keys: &'static Keys,
    ) -> Table<'a> {
        Table { report, at, entries, keys }
    }

    /// Refuses the keys that belong to the other kind of child.
    pub(crate) fn check_owner(&self, child_type: ChildType) {
        for (name, at) in self.names() {
            let standing = self.listed(name).map(|key| key.standing);
            match (standing, child_type) {
                (Some(Standing::Process), ChildType::Supervisor) => self.report.error(
                    at,
                    format!("`{name}` belongs to a process, and this child is a supervisor"),
                    "take it out, or put it into a [[child]] with a command",
                ),
                (Some(Standing::Supervisor), ChildType::Worker | ChildType::Oneshot) => self.report.error(
                    at,
                    format!("`{name}` belongs to a supervisor, and this child is a process"),
                    "take it out, or put it into the [[child]] of type = \"supervisor\" that is its parent",
                ),
                _ => {}
            }
        }
    }

    /// The value of a key, if it is there. Asking for a key that is not in the list is a mistake of ours.
    pub(crate) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        debug_assert!(
            self.listed(key).is_some_and(|key| key.standing != Standing::Later),
            "no `{key}` is listed {}",
            self.keys.place
        );
        let (name, value) = self.entries.get_key_value(key)?;
        Some(Value::new(self.report, name.get_ref(), Role::OfKey, value))
    }

    /// Where a key stands; the table itself if it is not there.
    pub(crate) fn place_of(&self, key: &str) -> At {
        self.entries.get_key_value(key).map_or(self.at, |(name, _)| At(name.span().start))
    }

    /// Whether a key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn names(&self) -> impl Iterator<Item = (&'a str, At)> + use<'a> {
        self.entries.iter().map(|(name, _)| (name.get_ref().as_ref(), At(name.span().start)))
    }

    fn listed(&self, name: &str) -> Option<&'static Key> {
        self.keys.keys.iter().find(|key| key.name == name)
    }

    fn unknown(&self, name: &str, at: At) {
        let names = |keys: &'static Keys| keys.keys.iter().map(|key| key.name);
        let elsewhere = TABLES.iter().find(|keys| names(keys).any(|known| known == name));
        let near_elsewhere =
            || TABLES.iter().find_map(|keys| Some((nearest(name, names(keys))?, keys.place)));
        let hint = if let Some(keys) = elsewhere {
            format!("it belongs {}", keys.place)
        } else if let Some(near) = nearest(name, names(self.keys)) {
            format!("did you mean \"{near}\"?")
        } else if let Some((near, place)) = near_elsewhere() {
            format!("did you mean \"{near}\"? it belongs {place}")
        } else {
            let supported = self.keys.keys.iter().filter(|key| key.standing != Standing::Later);
            let known: Vec<_> = supported.map(|key| key.name).collect();
            format!("the keys here are {}", known.join(", "))
        };
        self.report.error(at, format!("unknown key {name:?} {}", self.keys.place), hint);
    }
}

//! `user` and `group`: looked up here, once, because a child on its way to exec can ask nobody.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::expand::Scope;
use super::project::{Account, Login};
use super::table::Table;
use super::value::Value;

/// Reads `user` and `group`; `None` without either, or if it is wrong.
pub(crate) fn account(table: &Table, scope: &Scope) -> Option<Account> {
    let user = table.get("user").map(|value| user(value, scope));
    let group = table.get("group").map(|value| group(value, scope));
    let own_user =
        || Who { uid: nix::unistd::geteuid(), gid: nix::unistd::getegid(), groups: None, login: None };
    let (who, gid) = match (user, group) {
        (None, None) => return None,
        (Some(user), None) => (user?, None),
        (Some(user), Some(group)) => (user?, Some(group?)),
        (None, Some(group)) => (own_user(), Some(group?)),
    };
    let gid = gid.unwrap_or(who.gid);
    let groups = who.groups.unwrap_or_else(|| vec![gid]);
    Some(Account {
        uid: who.uid.as_raw(),
        gid: gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
        login: who.login,
    })
}

struct Who {
    uid: Uid,
    gid: Gid,
    groups: Option<Vec<Gid>>,
    login: Option<Login>,
}

/// A name, or a number. A number nobody has is fine with a group of its own: of the same number.
fn user(value: Value, scope: &Scope) -> Option<Who> {
    let text = name_or_number(value, scope, "write a user's name in quotes, or a number")?;
    let found = match text.parse() {
        Ok(number) => User::from_uid(Uid::from_raw(number)),
        Err(_) => User::from_name(&text),
    };
    match (found, text.parse()) {
        (Ok(Some(user)), _) => {
            let name = CString::new(user.name.as_str()).ok()?;
            Some(Who {
                uid: user.uid,
                gid: user.gid,
                groups: getgrouplist(&name, user.gid).ok(),
                login: Some(Login { name: user.name, home: user.dir, shell: user.shell }),
            })
        }
        (_, Ok(number)) => {
            Some(Who { uid: Uid::from_raw(number), gid: Gid::from_raw(number), groups: None, login: None })
        }
        (Ok(None), Err(_)) => {
            value.wrong("is no user of this machine", "write a name of `getent passwd`, or a number");
            None
        }
        (Err(errno), Err(_)) => {
            value.wrong(&format!("cannot be looked up: {}", errno.desc()), "write the user's number");
            None
        }
    }
}

/// A group, by name or number.
pub(crate) fn group(value: Value, scope: &Scope) -> Option<Gid> {
    let text = name_or_number(value, scope, "write a group's name in quotes, or a number")?;
    if let Ok(number) = text.parse() {
        return Some(Gid::from_raw(number));
    }
    match Group::from_name(&text) {
        Ok(Some(group)) => return Some(group.gid),
        Ok(None) => value.wrong("is no group of this machine", "write a name of `getent group`, or a number"),
        Err(errno) => {
            value.wrong(&format!("cannot be looked up: {}", errno.desc()), "write the group's number");
        }
    }
    None
}

/// -1 is "nobody in particular" to the kernel: then nothing would change.
fn name_or_number(value: Value, scope: &Scope, hint: &str) -> Option<String> {
    if value.as_string().is_some() {
        let text = value.text(scope, hint)?;
        if text.is_empty() || text.parse() == Ok(u32::MAX) {
            value.wrong("is nobody", hint);
            return None;
        }
        return Some(text);
    }
    if value.is_integer() {
        return value.integer(0..=u32::MAX - 1).map(|number| number.to_string());
    }
    value.mistyped(hint);
    None
}

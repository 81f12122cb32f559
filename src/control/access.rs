//! Which requests a caller may make.

use super::api::{ApiError, ErrorCode, Request};

/// What a caller may do; each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Look: everything that changes nothing.
    Read,
    /// Start, stop, restart, signal and scale the children that the config file names.
    Operate,
    /// Everything: of the launcher's own user and of root.
    Own,
}

/// A group whose members may use the control socket (the key `control`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupAccess {
    /// Its number.
    pub gid: u32,
    /// What its members may do.
    pub allow: Access,
}

impl Access {
    /// The least that a request needs.
    pub(super) fn needed(request: &Request) -> Access {
        match request {
            Request::Tree
            | Request::Members
            | Request::Child(_)
            | Request::Why(_)
            | Request::Counts(_)
            | Request::Plan
            | Request::Events { .. }
            | Request::Logs(_)
            | Request::History
            | Request::Health
            | Request::About => Access::Read,
            Request::Start(_)
            | Request::Stop(_)
            | Request::Restart(_)
            | Request::Signal(..)
            | Request::Scale(..) => Access::Operate,
            // Whoever adds a child chooses a command that runs as the launcher's user.
            Request::Add(_)
            | Request::Remove(_)
            | Request::Reload(_)
            | Request::Down
            | Request::Upgrade(_) => Access::Own,
        }
    }

    /// # Errors
    /// `not_permitted`, with one sentence, if the request needs more.
    pub(super) fn check(self, request: &Request) -> Result<(), ApiError> {
        let needed = Access::needed(request);
        if self >= needed {
            return Ok(());
        }
        let sentence = match needed {
            Access::Own => "only the launcher's own user and root may do that",
            Access::Operate | Access::Read => {
                "your group may only read here; the key control of the config file allows that (allow = \"read\")"
            }
        };
        Err(ApiError::new(ErrorCode::NotPermitted, sentence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_includes_the_ones_before() {
        let name = || "a".to_owned();
        let of_class = [
            (Access::Read, Request::Tree),
            (Access::Read, Request::Events { since: None }),
            (Access::Operate, Request::Stop(name())),
            (Access::Operate, Request::Scale(name(), 2)),
            (Access::Own, Request::Down),
            (Access::Own, Request::Remove(name())),
        ];
        for (needed, request) in of_class {
            for access in [Access::Read, Access::Operate, Access::Own] {
                let checked = access.check(&request);
                assert_eq!(checked.is_ok(), access >= needed, "{access:?} {request:?}");
                assert!(checked.is_ok() || checked.is_err_and(|error| error.code == ErrorCode::NotPermitted));
            }
        }
    }
}

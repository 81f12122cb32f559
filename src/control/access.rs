//! Which requests a caller may make.

use super::api::{ApiError, ErrorCode, Request};
use super::route::Route;

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

impl Request {
    /// Whether it changes nothing.
    pub(crate) fn only_reads(&self) -> bool {
        Access::of_request(self) == Access::Read
    }
}

impl Access {
    /// The least that a route needs. It is known without the body, so that nothing is said of the body of a caller who
    /// may not send it.
    pub(super) fn needed(route: &Route) -> Access {
        match route {
            Route::Ps | Route::Logs(_) | Route::History => Access::Read,
            Route::Scale | Route::Signal(_) => Access::Operate,
            // Whoever adds a child chooses a command that runs as the launcher's user.
            Route::Add | Route::Reload | Route::Upgrade => Access::Own,
            Route::Ask(request) => Access::of_request(request),
        }
    }

    fn of_request(request: &Request) -> Access {
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
            Request::Add(_)
            | Request::Remove(_)
            | Request::Reload(_)
            | Request::Down
            | Request::Upgrade(_) => Access::Own,
        }
    }

    /// # Errors
    /// `not_permitted`, with one sentence, if the route needs more.
    pub(super) fn check(self, route: &Route) -> Result<(), ApiError> {
        let needed = Access::needed(route);
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
            (Access::Read, Route::Ask(Request::Tree)),
            (Access::Read, Route::Ask(Request::Events { since: None })),
            (Access::Operate, Route::Ask(Request::Stop(name()))),
            (Access::Operate, Route::Scale),
            (Access::Operate, Route::Signal(name())),
            (Access::Own, Route::Ask(Request::Down)),
            (Access::Own, Route::Ask(Request::Remove(name()))),
            (Access::Own, Route::Upgrade),
        ];
        for (needed, route) in of_class {
            for access in [Access::Read, Access::Operate, Access::Own] {
                let checked = access.check(&route);
                assert_eq!(checked.is_ok(), access >= needed, "{access:?} {route:?}");
                assert!(checked.is_ok() || checked.is_err_and(|error| error.code == ErrorCode::NotPermitted));
            }
        }
    }
}

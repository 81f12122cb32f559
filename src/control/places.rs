//! Places for requests that last.
//!
//! Readers of events and logs may stay for ever, so they never take the place of a verb that waits for a process to
//! start or stop, nor of anything that is answered at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::api::{ApiError, ErrorCode, Request};

/// The places of one class of callers; clones share them.
#[derive(Clone)]
pub(super) struct Places {
    streams: Arc<Semaphore>,
    waits: Arc<Semaphore>,
}

/// A place that is held, until it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl Places {
    /// So many for each kind of request that lasts.
    pub(super) fn new(each: usize) -> Places {
        Places { streams: Arc::new(Semaphore::new(each)), waits: Arc::new(Semaphore::new(each)) }
    }

    /// The place that this request needs; `None`: it is answered at once and needs none.
    ///
    /// # Errors
    /// All places of its kind are taken.
    pub(super) fn take(&self, request: &Request) -> Result<Option<Place>, ApiError> {
        let (places, taken) = match request {
            Request::Events { .. } | Request::Logs(_) => (
                &self.streams,
                "too many clients read events or logs already; end one of them, or try again later",
            ),
            Request::Start(_)
            | Request::Stop(_)
            | Request::Restart(_)
            | Request::Upgrade(_)
            | Request::Add(_)
            | Request::Remove(_)
            | Request::Scale(..)
            | Request::Plan
            | Request::Reload(_) => (&self.waits, "too many requests are waiting already; try again later"),
            Request::Tree
            | Request::Members
            | Request::Child(_)
            | Request::Why(_)
            | Request::Counts(_)
            | Request::Signal(..)
            | Request::Down
            | Request::History
            | Request::Health
            | Request::About => return Ok(None),
        };
        let place = Arc::clone(places).try_acquire_owned();
        place.map(Some).map_err(|_| ApiError::new(ErrorCode::Internal, taken))
    }
}

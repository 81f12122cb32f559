//! Requests that take several calls, one after the other: scaling, and what follows a reload.
//!
//! A series is part of the world: what was granted is brought to its end also when the supervisor process is killed on the
//! way.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::extras::Offer;
use crate::control::Deed;
use crate::rules::{Call, Refusal, Reply, Ticket};

/// Names a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeriesId(pub u64);

/// A series that is to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name.
    pub id: SeriesId,
    /// The calls.
    pub steps: VecDeque<SeriesStep>,
    /// What a refusal means for the rest.
    pub refusal: OnRefusal,
}

/// One call of a series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesStep {
    /// The call.
    pub call: Call,
    /// What it brings.
    pub offer: Offer,
}

/// What a refused call means for those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnRefusal {
    /// They are not made.
    End,
    /// They are made all the same.
    GoOn,
}

/// A series under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// The call that is not answered yet.
    pub(super) open: Option<Ticket>,
    steps: VecDeque<SeriesStep>,
    refusal: OnRefusal,
}

impl Plan {
    /// Of these calls.
    pub(super) fn new(id: SeriesId, refusal: OnRefusal, steps: impl IntoIterator<Item = SeriesStep>) -> Plan {
        Plan { id, steps: steps.into_iter().collect(), refusal }
    }
}

impl SeriesStep {
    /// A call that brings nothing.
    pub(super) fn plain(call: Call) -> SeriesStep {
        SeriesStep { call, offer: Offer::Nothing }
    }
}

impl Series {
    pub(super) fn begin(plan: Plan) -> Series {
        Series { open: None, steps: plan.steps, refusal: plan.refusal }
    }

    /// The call to make now; `None` while one is open.
    pub(super) fn due(&self) -> Option<&SeriesStep> {
        self.steps.front().filter(|_| self.open.is_none())
    }

    /// The call that was due is made.
    pub(super) fn made(&mut self, ticket: Ticket) {
        self.steps.pop_front();
        self.open = Some(ticket);
    }

    /// The open call is answered.
    pub(super) fn answered(&mut self, answer: &Result<Reply, Refusal>) {
        self.open = None;
        if self.refusal == OnRefusal::End
            && answer.as_ref().is_err_and(|refusal| *refusal != Refusal::NotFound)
        {
            self.steps.clear();
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.open.is_none() && self.steps.is_empty()
    }
}

/// What a call of a series does, in words for the one who asked; `None` where a later call of the series tells it.
pub(super) fn deed(call: &Call) -> Option<Deed> {
    match call {
        Call::StartChild(..) | Call::StartInstance(..) => Some(Deed::Added),
        Call::RestartChild(_) => Some(Deed::Started),
        Call::CycleChild(_) => Some(Deed::Restarted),
        Call::DeleteChild(_) => Some(Deed::Removed),
        Call::TerminateChild(_) | Call::Reload(_) => None,
    }
}

//! What a crowd did, in numbers: counted while it acts ([`Recorder`]), kept as a document that can be added to those of
//! other clients without losing anything ([`Report`]), and told as text or as a page. Nothing is told that was not
//! measured.

mod document;
mod fit;
mod page;
mod plots;
mod recorder;
mod text;

pub use document::{
    ClientReport, EngineUse, Latencies, MergeError, Outage, Report, Sample, Signatures, Storm, Traced,
    Verdict,
};
pub use fit::Fit;
pub use page::page;
pub use text::text;

pub(super) use document::VERSION;
pub(super) use recorder::Recorder;
pub(super) use text::grouped;

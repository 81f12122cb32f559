//! Response bodies that last: server-sent events (the `text/event-stream` of HTML), one JSON object each.
//!
//! A reader of the event stream so slow that events were lost for it is told how many by an event of the type `missed`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use super::places::Place;

/// Frames made ahead of a client that reads slowly. Whoever makes them waits then.
const AHEAD: usize = 16;

/// Ends when whoever makes its frames does, or when the client goes away.
pub(super) struct StreamBody {
    frames: mpsc::Receiver<Bytes>,
    _place: Place,
}

impl StreamBody {
    /// Of what `make` starts to send. It has to stop when nobody receives any more.
    pub(super) fn new(place: Place, make: impl FnOnce(mpsc::Sender<Bytes>) -> JoinHandle<()>) -> StreamBody {
        let (sink, frames) = mpsc::channel(AHEAD);
        // It ends by itself; nobody waits for it.
        drop(make(sink));
        StreamBody { frames, _place: place }
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.frames.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Events that are past, then those from `coming`, which was subscribed at the same instant: nothing between is lost. What
/// comes while the client reads slowly waits in the supervisor's own channel, which drops the oldest.
pub(super) async fn events(
    past: Vec<String>,
    mut coming: broadcast::Receiver<String>,
    sink: mpsc::Sender<Bytes>,
) {
    for json in past {
        if sink.send(frame(&json)).await.is_err() {
            return;
        }
    }
    loop {
        let event = tokio::select! {
            event = coming.recv() => event,
            () = sink.closed() => return,
        };
        let frame = match event {
            Ok(json) => frame(&json),
            // Of another type than the events, so that no reader takes it for one.
            Err(broadcast::error::RecvError::Lagged(count)) => {
                format!("event: missed\ndata: {count}\n\n").into()
            }
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if sink.send(frame).await.is_err() {
            return;
        }
    }
}

fn frame(json: &str) -> Bytes {
    format!("data: {json}\n\n").into()
}

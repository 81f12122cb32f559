//! The event stream as a response body: server-sent events (the `text/event-stream` of HTML), one JSON object each.
//!
//! A reader so slow that events were lost for it is told how many by an event of the type `missed`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};

/// Events formatted ahead of a client that reads slowly. Beyond that the supervisor's own channel drops the oldest.
const AHEAD: usize = 16;

/// Never ends by itself; ends when the supervisor does or when the client goes away.
pub(super) struct EventBody {
    frames: mpsc::Receiver<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl EventBody {
    /// Events that are past, then those from `coming`, which was subscribed at the same instant: nothing between is lost.
    pub(super) fn new(
        past: Vec<String>,
        coming: broadcast::Receiver<String>,
        permit: OwnedSemaphorePermit,
    ) -> EventBody {
        let (sink, frames) = mpsc::channel(AHEAD);
        tokio::spawn(pump(past, coming, sink));
        EventBody { frames, _permit: permit }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.frames.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

async fn pump(past: Vec<String>, mut coming: broadcast::Receiver<String>, sink: mpsc::Sender<Bytes>) {
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

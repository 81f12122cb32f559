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
    /// Events from `source`, which was subscribed before the response began: nothing between is lost.
    pub(super) fn new(source: broadcast::Receiver<String>, permit: OwnedSemaphorePermit) -> EventBody {
        let (sink, frames) = mpsc::channel(AHEAD);
        tokio::spawn(pump(source, sink));
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

async fn pump(mut source: broadcast::Receiver<String>, sink: mpsc::Sender<Bytes>) {
    loop {
        let event = tokio::select! {
            event = source.recv() => event,
            () = sink.closed() => return,
        };
        let frame = match event {
            Ok(json) => format!("data: {json}\n\n"),
            // Of another type than the events, so that no reader takes it for one.
            Err(broadcast::error::RecvError::Lagged(count)) => format!("event: missed\ndata: {count}\n\n"),
            Err(broadcast::error::RecvError::Closed) => return,
        };
        if sink.send(frame.into()).await.is_err() {
            return;
        }
    }
}

//! A connection that says something soon and takes what it is sent; otherwise it ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::limits::STALL_MAX;

/// What a client of HTTP/2 says first. Until it is clear whether it comes, nothing else watches the
/// clock: the server reads these bytes before it knows which HTTP it speaks.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection with patience. Holds `seat` as long as it lives, also after an upgrade.
pub(super) struct Patient<I, S> {
    io: I,
    /// How much of the preface came, and until when it must be clear; `None` when it is.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    stalled: Option<Pin<Box<Sleep>>>,
    _seat: S,
}

impl<I, S> Patient<I, S> {
    pub(super) fn new(io: I, seat: S, begin_max: Duration) -> Self {
        let preface = Some((0, Box::pin(tokio::time::sleep(begin_max))));
        Self { io, preface, stalled: None, _seat: seat }
    }

    fn saw(&mut self, bytes: &[u8]) {
        let Some((matched, _)) = &mut self.preface else { return };
        let rest = PREFACE.get(*matched..).unwrap_or_default();
        *matched += bytes.len();
        if !rest.starts_with(bytes) || *matched >= PREFACE.len() {
            self.preface = None;
        }
    }

    fn wrote(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + STALL_MAX)));
        match stalled.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<I: AsyncRead + Unpin, S: Unpin> AsyncRead for Patient<I, S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.io).poll_read(context, buffer) {
            Poll::Pending => match &mut this.preface {
                Some((_, until)) => {
                    until.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
                }
                None => Poll::Pending,
            },
            read => {
                this.saw(buffer.filled().get(before..).unwrap_or_default());
                read
            }
        }
    }
}

impl<I: AsyncWrite + Unpin, S: Unpin> AsyncWrite for Patient<I, S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.io).poll_write(context, bytes);
        this.wrote(context, poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.io).poll_write_vectored(context, parts);
        this.wrote(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

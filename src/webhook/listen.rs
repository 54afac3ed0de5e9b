//! The sockets that systemd listens on for us: TCP or unix streams, as `deployd-webhook.socket` says.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::select_all;
use listenfd::ListenFd;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// It was not started by its socket.
    #[error("no socket was handed over; start deployd-webhook.socket instead")]
    None,
    /// Neither TCP nor a unix stream.
    #[error("socket {0} is not for streams: {1}; write ListenStream= with an address and a port, or with a path")]
    Kind(usize, io::Error),
}

/// One of them.
#[derive(Debug)]
pub enum Listener {
    /// On an address and a port.
    Tcp(TcpListener),
    /// On a path.
    Unix(UnixListener),
}

/// Takes what systemd handed over.
pub fn take() -> Result<Vec<Listener>, ListenError> {
    let mut handed = ListenFd::from_env();
    let listeners: Result<Vec<Listener>, ListenError> = (0..handed.len())
        .map(|index| one(&mut handed, index).map_err(|error| ListenError::Kind(index, error)))
        .collect();
    listeners.and_then(|listeners| if listeners.is_empty() { Err(ListenError::None) } else { Ok(listeners) })
}

fn one(handed: &mut ListenFd, index: usize) -> io::Result<Listener> {
    // What is not of this kind is left at its place.
    if let Ok(Some(listener)) = handed.take_unix_listener(index) {
        listener.set_nonblocking(true)?;
        return Ok(Listener::Unix(UnixListener::from_std(listener)?));
    }
    let listener = handed.take_tcp_listener(index)?.ok_or(io::ErrorKind::NotFound)?;
    listener.set_nonblocking(true)?;
    Ok(Listener::Tcp(TcpListener::from_std(listener)?))
}

/// The next connection of any of them.
pub async fn accept(listeners: &[Listener]) -> io::Result<Stream> {
    let each = listeners.iter().map(|listener| Box::pin(listener.accept()));
    select_all(each).await.0
}

impl Listener {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => Ok(Stream::Tcp(listener.accept().await?.0)),
            Listener::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, data),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

//! One connection: one request, its head, its body and all of it within their times, and no second one.

use std::{convert::Infallible, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};

use super::{answer::Receiver, crowd::Guest, listen::Stream};

/// The largest head, in bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// The most headers.
const HEADERS: usize = 64;

/// Gives a connection its place, and a task of its own.
pub async fn begin(stream: Stream, receiver: &Arc<Receiver>) {
    let place = receiver.crowd.enter().await;
    tokio::spawn(serve(stream, Arc::clone(receiver), place));
}

/// Serves it until it has its answer, its time is over, or its place is given to somebody else.
pub async fn serve<S>(stream: S, receiver: Arc<Receiver>, (guest, ended): (Guest, oneshot::Receiver<()>))
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| {
        let answer = receiver.answer(request, &guest);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(receiver.times.head)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = tokio::time::timeout(receiver.times.whole, connection) => match served {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("a connection broke: {error}, ignoring"),
            Err(_) => tracing::debug!("a connection took too long and was ended"),
        },
        Ok(()) = ended => tracing::debug!("a slow connection was ended for want of room"),
    }
}

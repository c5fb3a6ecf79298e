//! Bodies of requests and answers that cost bounded memory and time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;

/// How long a request's body may take.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of the largest request body: a configuration file.
const BYTES_MAX: usize = crate::control::config::FILE_BYTES_MAX + (1 << 20);
/// Smaller answers fit into the buffers that every connection has.
const LARGE_BYTES: u64 = 64 << 10;

/// The request with its whole body.
///
/// # Errors
/// It is too large, too slow, or was cut off.
pub async fn received(request: Request) -> Result<Request, Refusal> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    let collected = tokio::time::timeout(TIME_MAX, Limited::new(body, BYTES_MAX).collect()).await;
    let too_slow = |_| {
        let seconds = TIME_MAX.as_secs();
        Refusal(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {seconds} s"))
    };
    let body = collected.map_err(too_slow)?.map_err(|error| match error.is::<LengthLimitError>() {
        true => Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is too large: at most {BYTES_MAX} bytes")),
        false => Refusal(StatusCode::BAD_REQUEST, "the body was cut off".to_owned()),
    })?;
    Ok(Request::from_parts(head, Body::from(body.to_bytes())))
}

/// The answer, which keeps its share of `kib` until it is read or given up; `None` if there is no room for it.
pub fn budgeted(response: Response, kib: &Arc<Semaphore>) -> Option<Response> {
    let Some(bytes) = response.body().size_hint().exact().filter(|bytes| *bytes > LARGE_BYTES) else {
        return Some(response);
    };
    // One that is larger than all there is may go alone.
    let share = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).min(u32::try_from(KIB_ALONE).unwrap_or(u32::MAX));
    let share = kib.clone().try_acquire_many_owned(share).ok()?;
    let (head, body) = response.into_parts();
    Some(Response::from_parts(head, Body::new(Budgeted { body, _share: share })))
}

/// KiB that the largest answers count as.
const KIB_ALONE: usize = 48 << 10;

struct Budgeted {
    body: Body,
    _share: OwnedSemaphorePermit,
}

impl HttpBody for Budgeted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body whose pages are made when they can be sent, so that a slow reader holds one at most.
pub struct Paged<I>(pub I);

impl<I: Iterator<Item = String> + Unpin> HttpBody for Paged<I> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.next().map(|page| Ok(Frame::data(Bytes::from(page)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![0; bytes]))
    }

    #[test]
    fn large_answers_share_what_there_is() {
        let kib = Arc::new(Semaphore::new(64 << 10));
        let small: Vec<_> = (0..5000).map(|_| budgeted(answer(1000), &kib).unwrap()).collect();
        assert_eq!((small.len(), kib.available_permits()), (5000, 64 << 10));
        let held: Vec<_> = (0..64).map(|_| budgeted(answer(1 << 20), &kib).unwrap()).collect();
        assert!(budgeted(answer(1 << 20), &kib).is_none());
        drop(held);
        assert!(budgeted(answer(80 << 20), &kib).is_some(), "larger than all there is");
    }

    #[tokio::test]
    async fn pages_are_made_one_after_the_other() {
        let mut made = 0;
        let pages = (0..3).map(|n| n.to_string()).inspect(|_| made += 1);
        let mut body = Paged(pages);
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(first, "0");
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!((rest, made), (Bytes::from("12"), 3));
    }
}

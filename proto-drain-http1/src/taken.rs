//! What a service over `http` types does with the exchanges of its connection: it takes a request
//! and answers it.
//!
//! For servers that keep track of a connection's persistence themselves, as hyper does. A
//! hand-written server asks [`apply`](crate::apply).

use drain_signal::DrainDecision;
use http::{Request, Response, StatusCode};
use http_body::Body;

use crate::exchange::Exchanges;
use crate::request::{AnsweredHead, says_close};
use crate::response::Leaving;

/// What the response to a request needs to know of it; see [`Exchanges::take`].
#[derive(Clone, Copy, Debug)]
pub struct TakenRequest {
    head: AnsweredHead,
}

impl TakenRequest {
    /// Whether it came over HTTP/1; over HTTP/2 it is none of this crate's exchanges.
    #[must_use]
    #[inline]
    pub fn is_http1(self) -> bool {
        self.head.is_http1()
    }

    /// Whether a response with this status makes a tunnel of an HTTP/1 connection: 101, or 2xx to
    /// CONNECT.
    #[must_use]
    #[inline]
    pub fn switches(self, status: StatusCode) -> bool {
        self.is_http1() && self.head.switches(status)
    }
}

/// For services of one layer; [`DrainService`](crate::DrainService) does all of it.
impl Exchanges {
    /// The service takes this request. [`respond`](Self::respond) or [`give_up`](Self::give_up)
    /// ends it.
    #[inline]
    pub fn take<B>(&self, request: &Request<B>, has_body: bool) -> TakenRequest {
        let head = AnsweredHead::of(request);
        if head.is_http1() {
            self.answer(has_body);
            if !has_body && says_close(request) {
                self.client_ends();
            }
        } else {
            // Streams of HTTP/2 are not this crate's exchanges.
            self.untrack();
        }
        TakenRequest { head }
    }

    /// [`leaving`](Self::leaving) with a response of this status. One that makes a tunnel is not
    /// asked about: it cannot inform its client, and the tunnel's slot is still to come.
    #[inline]
    pub fn leaving_with(
        &self,
        taken: TakenRequest,
        status: StatusCode,
        decision: &impl DrainDecision,
    ) -> Leaving {
        match taken.switches(status) {
            true => Leaving::No,
            false => self.leaving(decision),
        }
    }

    /// The head of this response is handed on: it says `connection: close` if the connection is
    /// `leaving`.
    #[inline]
    pub fn respond<B: Body>(
        &self,
        taken: TakenRequest,
        leaving: Leaving,
        response: &mut Response<B>,
    ) {
        let head = taken.head;
        if !head.is_http1() {
            return;
        }
        if head.switches(response.status()) {
            self.switch_to_tunnel();
        } else if leaving == Leaving::Yes {
            head.say_close(response);
        }
        if head.framed_by_close(response) {
            self.frame_by_close();
        }
        self.answered();
    }

    /// The request will never be answered.
    pub fn give_up(&self, taken: TakenRequest) {
        if taken.is_http1() {
            self.answered();
        }
    }
}

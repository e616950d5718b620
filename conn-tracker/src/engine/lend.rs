//! A closer is called with nothing locked (invariant 2): it is taken out of its entry for the call,
//! and put back.
//!
//! No request is lost: a close that comes while the closer is out with a drain is next; and a
//! request whose closer was replaced during the call is repeated with the new one, which belongs to
//! what the connection has become. A closer is called by one thread at a time.

use super::{entries::Out, shard::Shard};
use crate::{
    id::ConnId,
    info::{Closer, ConnRequest},
    labels::CloseReason,
    tracker::CloseError,
};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// So many closers are called with one request at most: one that sets another whenever it is called
/// would not come to an end.
const MOST_REPEATS: u32 = 16;

/// Asks the connection `id`, with nothing locked.
///
/// # Errors
///
/// [`CloseError`]; otherwise the reason is recorded, if there is one.
pub(crate) fn ask(
    shard: &Shard,
    id: ConnId,
    request: ConnRequest,
    reason: Option<CloseReason>,
) -> Result<(), CloseError> {
    let mut next = take(shard, id, request, reason)?;
    let (mut panic, mut repeats) = (None, 0);
    while let Some((closer, request)) = next {
        // After a panic it is put back nevertheless, and what came meanwhile is asked.
        let called = catch_unwind(AssertUnwindSafe(|| closer.ask(request)));
        panic = panic.or(called.err());
        repeats += 1;
        next = put_back(shard, id, closer, request, repeats < MOST_REPEATS);
    }
    match panic {
        Some(panic) => resume_unwind(panic),
        None => Ok(()),
    }
}

/// The closer, to be called with the request; `None` if a thread that calls it already sees to
/// that.
fn take(
    shard: &Shard,
    id: ConnId,
    request: ConnRequest,
    reason: Option<CloseReason>,
) -> Result<Option<(Closer, ConnRequest)>, CloseError> {
    let mut state = shard.lock();
    let found = state.entries.find_mut(id.entry(), id.generation());
    let (hot, cold) = found.ok_or(CloseError::NotFound { id })?;
    let is_drain = request == ConnRequest::Drain;
    match (hot.out(), &cold.closer) {
        (Out::In, None) => return Err(CloseError::NoCloser { id }),
        (Out::In, Some(closer)) if is_drain && !closer.drains() => {
            return Err(CloseError::CannotDrain { id });
        }
        _ => {}
    }
    if let Some(reason) = reason {
        hot.give_reason(reason);
    }
    match hot.out() {
        Out::In => {
            hot.set_out(if is_drain { Out::Drain } else { Out::Close });
            Ok(cold.closer.take().map(|closer| (closer, request)))
        }
        Out::Drain if !is_drain => {
            hot.set_out(Out::DrainThenClose);
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// Puts the closer back, or the one that has replaced it, unless there is something left to ask:
/// then that, and of which closer.
fn put_back(
    shard: &Shard,
    id: ConnId,
    closer: Closer,
    request: ConnRequest,
    may_repeat: bool,
) -> Option<(Closer, ConnRequest)> {
    let mut state = shard.lock();
    let Some((hot, cold)) = state.entries.find_mut(id.entry(), id.generation()) else {
        drop(state);
        // The connection has ended meanwhile.
        drop(closer);
        return None;
    };
    let (closer, old) = match cold.closer.take() {
        Some(new) => (new, Some(closer)),
        None => (closer, None),
    };
    let left = match hot.out() {
        Out::DrainThenClose => Some(ConnRequest::Close),
        _ if old.is_some() && may_repeat => Some(request),
        _ => None,
    };
    let next = match left {
        Some(request) => {
            if request == ConnRequest::Close {
                hot.set_out(Out::Close);
            }
            Some((closer, request))
        }
        None => {
            cold.closer = Some(closer);
            hot.set_out(Out::In);
            None
        }
    };
    drop(state);
    drop(old);
    next
}

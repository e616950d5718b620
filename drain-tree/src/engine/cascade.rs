//! The walk of a start: every node below is marked, parents first, before the start returns
//! (invariants 3 and 4).

use std::sync::Arc;
use std::time::Instant;

use super::callbacks::call;
use super::node::Node;
use super::sequence::Sequence;

/// Marks `from` and everything below it, unless that has been done; then calls the callbacks that
/// were stored there. A walk that begins at the sequence's origin marks all that there is.
pub(crate) fn mark(sequence: &Arc<Sequence>, from: &Arc<Node>, is_origin: bool, now: Instant) {
    if sequence.is_marked() {
        return;
    }
    let mut stored = vec![];
    let mut nodes = vec![Arc::clone(from)];
    while let Some(node) = nodes.pop() {
        let (callbacks, children) = node.join(sequence);
        if !callbacks.is_empty() {
            stored.push(callbacks);
        }
        nodes.extend(children);
    }
    if is_origin {
        sequence.set_marked();
    }
    for callbacks in stored {
        call(callbacks, sequence.remaining(now));
    }
}

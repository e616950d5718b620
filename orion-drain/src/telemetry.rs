//! What happens, for logs and traces: stable names for events and spans, and an id for every drain.

mod drain_id;

pub use drain_id::DrainId;

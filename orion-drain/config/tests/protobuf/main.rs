//! Listeners as messages of `envoy-types`: read as from a file, and refused in the same words.

mod convert;
mod descriptors;
mod messages;

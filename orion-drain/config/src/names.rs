//! Enumerations by Envoy's names; an unknown one is refused with the list of those that are
//! allowed.

use std::{fmt, marker::PhantomData};

use drain_signal::DrainStrategy;
use drain_tree::DrainType;
use drain_tree::TrafficDirection;
use serde::{Deserializer, Serializer, de};

/// An enumeration with a protobuf name and number for each value.
pub(super) trait Named: Copy + PartialEq + 'static {
    const NAMES: &'static [(&'static str, u64, Self)];
}

impl Named for DrainType {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("DEFAULT", 0, Self::Default),
        ("MODIFY_ONLY", 1, Self::ModifyOnly),
    ];
}

impl Named for TrafficDirection {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("UNSPECIFIED", 0, Self::Unspecified),
        ("INBOUND", 1, Self::Inbound),
        ("OUTBOUND", 2, Self::Outbound),
    ];
}

/// Lower case, as on Envoy's command line and in Orion's `listener_manager` block.
impl Named for DrainStrategy {
    const NAMES: &'static [(&'static str, u64, Self)] = &[
        ("gradual", 0, Self::Gradual),
        ("immediate", 1, Self::Immediate),
    ];
}

struct Allowed<T>(PhantomData<T>);

impl<T: Named> fmt::Display for Allowed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if T::NAMES.len() == 1 {
            "only "
        } else {
            "one of "
        })?;
        for (at, (name, ..)) in T::NAMES.iter().enumerate() {
            write!(f, "{}`{name}`", if at > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl<T: Named> de::Visitor<'_> for Allowed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        // Envoy's parser of protobuf JSON takes them in any case.
        let found = T::NAMES
            .iter()
            .find(|(name, ..)| name.eq_ignore_ascii_case(text));
        found
            .map(|(.., value)| *value)
            .ok_or_else(|| E::custom(format_args!("unknown value `{text}`, expected {self}")))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        let found = T::NAMES.iter().find(|(_, known, _)| *known == number);
        found
            .map(|(.., value)| *value)
            .ok_or_else(|| E::custom(format_args!("unknown value `{number}`, expected {self}")))
    }
}

pub(super) fn serialize<T: Named, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match T::NAMES.iter().find(|(.., known)| known == value) {
        Some((name, ..)) => serializer.serialize_str(name),
        None => Err(serde::ser::Error::custom(
            "a value that the configuration has no name for",
        )),
    }
}

pub(super) fn deserialize<'de, T: Named, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(Allowed(PhantomData))
}

/// For `skip_serializing_if`: a field that was not written stays unwritten.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

//! Durations as protobuf writes them (`600s`, `0.25s`); human ones (`10m`) are read as well.

use std::{fmt, time::Duration};

use serde::{
    Deserializer, Serializer,
    de::{self, Error as _},
};

/// The longest duration that protobuf knows, ten thousand years.
const LONGEST: Duration = Duration::from_secs(315_576_000_000);
const EXPECTED: &str = "a duration such as `600s`, `0.25s` or `10m`";

/// Reads a duration: seconds with up to nine decimals and the suffix `s`, or a human form such as
/// `10m` or `1h 30m`.
///
/// Source: [protobuf's JSON mapping](https://protobuf.dev/programming-guides/json/).
///
/// # Errors
///
/// Text that is neither, negative durations, and durations over protobuf's maximum of 315576000000
/// s.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use orion_drain_config::{format_duration, parse_duration};
///
/// assert_eq!(parse_duration("0.25s"), Ok(Duration::from_millis(250)));
/// assert_eq!(parse_duration("10m"), Ok(Duration::from_secs(600)));
/// assert_eq!(format_duration(Duration::from_millis(250)), "0.25s");
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let refuse = || DurationError {
        text: text.to_owned(),
    };
    let parsed = match text.strip_suffix('s').and_then(protobuf_seconds) {
        Some(duration) => duration,
        None if text.trim() == text => humantime::parse_duration(text).map_err(|_| refuse())?,
        None => return Err(refuse()),
    };
    if parsed > LONGEST {
        Err(refuse())
    } else {
        Ok(parsed)
    }
}

/// `12`, `0.25`; nothing else, so that `10m` and `5ms` fall through to the human reader.
fn protobuf_seconds(digits: &str) -> Option<Duration> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || fraction.len() > 9
        || digits.ends_with('.')
        || !all_digits(whole)
        || !all_digits(fraction)
    {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanos))
}

/// Writes a duration as protobuf's JSON mapping does, with no more decimals than it needs: `600s`,
/// `0.25s`.
pub fn format_duration(duration: Duration) -> String {
    let fraction = format!("{:09}", duration.subsec_nanos());
    match fraction.trim_end_matches('0') {
        "" => format!("{}s", duration.as_secs()),
        fraction => format!("{}.{fraction}s", duration.as_secs()),
    }
}

/// A text that is no duration.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {EXPECTED}")]
pub struct DurationError {
    /// The text.
    pub text: String,
}

struct DurationVisitor;

impl<'de> de::Visitor<'de> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse_duration(text).map_err(E::custom)
    }

    /// The message itself, `{ seconds: 60, nanos: 0 }`, which Envoy's parser takes as well.
    fn visit_map<A: de::MapAccess<'de>>(self, mut fields: A) -> Result<Duration, A::Error> {
        let mut duration = Duration::ZERO;
        while let Some(key) = fields.next_key::<String>()? {
            let number: u64 = fields.next_value_seed(Part)?;
            duration += match key.as_str() {
                "seconds" => Duration::from_secs(number),
                "nanos" if number < 1_000_000_000 => Duration::from_nanos(number),
                _ => return Err(A::Error::custom("expected `seconds` and `nanos`")),
            };
            if duration > LONGEST {
                return Err(A::Error::custom("over 315576000000 seconds"));
            }
        }
        Ok(duration)
    }
}

/// A number of seconds or nanoseconds.
struct Part;

impl<'de> de::DeserializeSeed<'de> for Part {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        let number = super::numbers::signed(deserializer)?;
        u64::try_from(number)
            .ok()
            .filter(|number| *number <= LONGEST.as_secs())
            .ok_or_else(|| D::Error::custom("expected a number from 0 to 315576000000"))
    }
}

pub(super) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

/// The same for a field that may be absent; a message's presence is kept, as protobuf does.
pub(super) mod option {
    use std::time::Duration;

    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn protobuf_and_human_durations_are_read() {
        for (text, nanos) in [
            ("600s", 600_000_000_000),
            ("0s", 0),
            ("0.25s", 250_000_000),
            ("0.250s", 250_000_000),
            ("1.000000001s", 1_000_000_001),
            ("10m", 600_000_000_000),
            ("1h 30m", 5_400_000_000_000),
            ("250ms", 250_000_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_nanos(nanos)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in [
            "",
            "s",
            "5",
            ".5s",
            "5.s",
            "-1s",
            "1e3s",
            "1.0000000001s",
            " 5s",
            "5s ",
            "315576000001s",
            "soon",
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.to_string().contains("`0.25s`"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_exactly(secs in 0_u64..315_576_000_000, nanos in 0_u32..1_000_000_000) {
            let duration = Duration::new(secs, nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}

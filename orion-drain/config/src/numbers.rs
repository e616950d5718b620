//! Whole numbers as protobuf's JSON mapping reads them: `80`, `80.0` or `"80"`, within the bounds
//! of their field. `0600` is octal, as in YAML 1.1, which Envoy reads; YAML 1.2 makes a text of it.

use std::{fmt, marker::PhantomData};

use serde::{Deserializer, de};

/// An unsigned number of a field.
pub(super) trait Number: TryFrom<u64> {
    const MAX: u64;
}

impl Number for u16 {
    const MAX: u64 = Self::MAX as u64;
}

impl Number for u32 {
    const MAX: u64 = Self::MAX as u64;
}

struct Within<N>(PhantomData<N>);

impl<N: Number> Within<N> {
    fn number<E: de::Error>(self, number: u64) -> Result<N, E> {
        N::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }
}

impl<N: Number> de::Visitor<'_> for Within<N> {
    type Value = N;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from 0 to {}", N::MAX)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<N, E> {
        self.number(number)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<N, E> {
        // Exact: no bound here is over 2^53.
        if number.fract() == 0.0 && (0.0..=N::MAX as f64).contains(&number) {
            self.number(number as u64)
        } else {
            Err(E::invalid_value(de::Unexpected::Float(number), &self))
        }
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<N, E> {
        let number = match digits.strip_prefix('0') {
            Some(octal) if !octal.is_empty() => u64::from_str_radix(octal, 8),
            _ => digits.parse(),
        };
        match number {
            Ok(number) => self.number(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Str(digits), &self)),
        }
    }
}

pub(super) fn deserialize<'de, N: Number, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<N, D::Error> {
    deserializer.deserialize_any(Within(PhantomData))
}

/// For a field that may be absent.
pub(super) fn option<'de, N: Number, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<N>, D::Error> {
    deserialize(deserializer).map(Some)
}

struct Real;

impl de::Visitor<'_> for Real {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E>(self, number: f64) -> Result<f64, E> {
        Ok(number)
    }

    fn visit_u64<E>(self, number: u64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_i64<E>(self, number: i64) -> Result<f64, E> {
        Ok(number as f64)
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<f64, E> {
        let number = digits
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| E::invalid_value(de::Unexpected::Str(digits), &self))
    }
}

/// A number that need not be whole, in quotes or not.
pub(super) fn real<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    deserializer.deserialize_any(Real)
}

struct Signed;

impl de::Visitor<'_> for Signed {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number of 64 bits")
    }

    fn visit_i64<E>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<i64, E> {
        i64::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: de::Error>(self, digits: &str) -> Result<i64, E> {
        digits
            .parse()
            .map_err(|_| E::invalid_value(de::Unexpected::Str(digits), &self))
    }
}

/// A number that may be below 0, in quotes or not.
pub(super) fn signed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    deserializer.deserialize_any(Signed)
}

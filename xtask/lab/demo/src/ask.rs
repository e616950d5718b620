//! What the HTTP clients ask for, and how they know that an answer is complete and correct.

use std::time::Duration;

use bytes::Bytes;

use super::pattern::{self, Checksum};
use super::record::How;

/// One request, whatever version of HTTP carries it.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) body: Bytes,
    /// How long the answer takes by design.
    pub(crate) takes: Duration,
    expect: Expect,
}

#[derive(Debug, Clone)]
enum Expect {
    /// `version N`, from the listener itself.
    Version,
    /// Length and checksum of the request body, then the body again.
    Echo,
    /// That much of a pattern.
    Pattern { seed: u64, length: usize },
}

impl Ask {
    /// Which version of the listener is this?
    pub(crate) fn version() -> Self {
        Self::get("/version".to_owned(), Duration::ZERO, Expect::Version)
    }

    /// A body of up to 4 KiB, there and back.
    pub(crate) fn echo() -> Self {
        let body = pattern::bytes(fastrand::u64(..), 0, fastrand::usize(..4096)).into();
        let path = "/echo".to_owned();
        Self {
            method: "POST",
            path,
            body,
            takes: Duration::ZERO,
            expect: Expect::Echo,
        }
    }

    /// A body of known bytes that arrives in `chunks` pieces over that time.
    pub(crate) fn trickle(takes: Duration, chunks: usize) -> Self {
        let (seed, size) = (fastrand::u64(..), fastrand::usize(1..2048));
        let pause = takes.as_millis() as usize / chunks;
        let path = format!("/stream?seed={seed}&chunks={chunks}&size={size}&ms={pause}");
        Self::get(
            path,
            takes,
            Expect::Pattern {
                seed,
                length: size * chunks,
            },
        )
    }

    /// An answer of known bytes whose head already comes late.
    pub(crate) fn slow(takes: Duration) -> Self {
        let (seed, size) = (fastrand::u64(..), fastrand::usize(1..2048));
        let path = format!("/slow?seed={seed}&size={size}&ms={}", takes.as_millis());
        Self::get(path, takes, Expect::Pattern { seed, length: size })
    }

    /// The `n`th request of a busy client: a bit of everything.
    pub(crate) fn busy(n: u64) -> Self {
        match n % 4 {
            0 => Self::version(),
            3 => Self::trickle(Duration::from_millis(40), 4),
            _ => Self::echo(),
        }
    }

    fn get(path: String, takes: Duration, expect: Expect) -> Self {
        Self {
            method: "GET",
            path,
            body: Bytes::new(),
            takes,
            expect,
        }
    }

    /// Checks a whole body; the listener's version if it says so.
    pub(crate) fn check(&self, body: &[u8]) -> Result<Option<u32>, How> {
        let right = match &self.expect {
            Expect::Version => return version_in(body).map(Some),
            Expect::Echo => {
                let head = echo_head(&self.body);
                body.strip_prefix(head.as_bytes())
                    .is_some_and(|rest| rest == self.body)
            }
            Expect::Pattern { seed, length } => {
                body.len() == *length && pattern::mismatch(*seed, 0, body).is_none()
            }
        };
        if right {
            Ok(None)
        } else {
            Err(How::Wrong(format!(
                "body of {} bytes for {} {}",
                body.len(),
                self.method,
                self.path
            )))
        }
    }
}

/// What the echo upstream puts before the echoed body.
pub(crate) fn echo_head(body: &[u8]) -> String {
    format!("{} {}\n", body.len(), Checksum::of(body))
}

fn version_in(body: &[u8]) -> Result<u32, How> {
    let text = String::from_utf8_lossy(body);
    let number = text
        .strip_prefix("version ")
        .and_then(|number| number.trim_end().parse().ok());
    number.ok_or_else(|| How::Wrong(format!("not a version: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_right_only_with_its_length_its_checksum_and_every_byte() {
        let ask = Ask {
            body: Bytes::from_static(b"hello"),
            ..Ask::echo()
        };
        let answer = [echo_head(b"hello").as_bytes(), b"hello"].concat();
        assert_eq!(ask.check(&answer), Ok(None));
        assert!(ask.check(&answer[..answer.len() - 1]).is_err());
        assert!(ask.check(&[answer.as_slice(), b"!"].concat()).is_err());
    }

    #[test]
    fn a_version_is_read_back_as_it_is_written() {
        assert_eq!(
            Ask::version().check(rig::version_text(12).as_bytes()),
            Ok(Some(12))
        );
        assert!(Ask::version().check(b"no healthy upstream").is_err());
    }
}

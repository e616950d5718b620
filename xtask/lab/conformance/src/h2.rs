//! HTTP/2 frames as they come in, noted one by one.

use bytes::BytesMut;
use rig::h2::{Frame, NO_LIMIT, flag, kind, status};

use super::wire::What;

/// What a client says its windows are: large enough that none is ever full.
pub(crate) const WINDOW: u32 = 1 << 24;

/// Whether this ends a stream's response as it should end.
pub(crate) fn is_end(what: &What, of: u32) -> bool {
    match what {
        What::Headers { stream, end, .. } | What::Data { stream, end, .. } => *stream == of && *end,
        _ => false,
    }
}

/// Takes whole frames off the front; what must be answered, as bytes. `Err`: it is no HTTP/2.
pub(crate) fn read(from: &mut BytesMut, mut add: impl FnMut(What)) -> Result<Vec<u8>, usize> {
    let mut answers = Vec::new();
    while let Some(frame) = Frame::take(from)? {
        answers.extend(frame.ack().unwrap_or_default());
        let (stream, end) = (frame.stream, frame.has(flag::END_STREAM));
        let word = |at| frame.word(at).unwrap_or(0);
        match frame.kind {
            kind::HEADERS => {
                let status = status(&frame.content().unwrap_or_default());
                add(What::Headers {
                    stream,
                    status,
                    end,
                });
            }
            kind::DATA => {
                let bytes = frame.payload.to_vec();
                add(What::Data { stream, bytes, end });
            }
            kind::GOAWAY => add(What::GoAway {
                last: word(0) & NO_LIMIT,
                code: word(4),
            }),
            kind::RST_STREAM => add(What::StreamReset {
                stream,
                code: word(0),
            }),
            _ => {}
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rig::h2::put;

    #[test]
    fn frames_are_noted_in_their_order_and_pings_answered() {
        let mut bytes = Vec::new();
        put(
            &mut bytes,
            kind::GOAWAY,
            0,
            0,
            &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        );
        let flags = flag::END_HEADERS | flag::END_STREAM;
        put(&mut bytes, kind::HEADERS, flags, 5, &[0x20, 0x88]);
        put(&mut bytes, kind::PING, 0, 0, &[1; 8]);
        let mut seen = Vec::new();
        let answers =
            read(&mut BytesMut::from(&bytes[..]), |what| seen.push(what)).expect("frames");
        let goaway = What::GoAway {
            last: NO_LIMIT,
            code: 0,
        };
        assert_eq!(seen[0], goaway);
        assert!(is_end(&seen[1], 5));
        assert_eq!(answers[3..5], [kind::PING, flag::ACK]);
    }
}

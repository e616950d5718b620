//! Messages are read back as they were written, and nothing else is a message.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use proptest::prelude::*;

use super::*;

fn address() -> impl Strategy<Value = ListenAddress> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|at| ListenAddress::Socket(at.into())),
        any::<([u8; 16], u16)>().prop_map(|at| ListenAddress::Socket(at.into())),
        prop::collection::vec(1..=u8::MAX, 1..108)
            .prop_map(|path| ListenAddress::Unix(OsString::from_vec(path).into())),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<(u64, (u64, u64), u32, u64, u32)>().prop_map(
            |(owner, namespace, epoch, uptime, features)| {
                Message::Hello(Hello {
                    owner,
                    namespace,
                    epoch,
                    uptime,
                    features,
                })
            }
        ),
        (
            prop::collection::vec((address(), any::<bool>()), 0..=BATCH),
            any::<bool>()
        )
            .prop_map(|(sockets, more)| Message::Sockets {
                more: more && !sockets.is_empty(),
                sockets
            }),
        (
            prop::collection::vec(any::<u32>(), 0..=NUMBERS),
            any::<bool>()
        )
            .prop_map(|(taken, more)| {
                Message::Drain {
                    more: more && !taken.is_empty(),
                    taken,
                }
            }),
        Just(Message::Draining),
        Just(Message::Terminate),
        any::<u32>().prop_map(|pid| Message::Busy { pid }),
        Just(Message::Goodbye),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_and_not_before_it_is_whole(message in message(), more in any::<Vec<u8>>()) {
        let frame = message.encode();
        for part in 0..frame.len() {
            prop_assert!(Message::decode(&frame[..part]).expect("so far it is right").is_none());
        }
        let both = [&frame[..], &more].concat();
        let (read, length, fds) = Message::decode(&both).expect("it is right").expect("it is whole");
        prop_assert_eq!(length, frame.len());
        prop_assert_eq!(fds, match &message {
            Message::Sockets { sockets, .. } => sockets.len(),
            Message::Draining => 2,
            _ => 0,
        });
        prop_assert_eq!(read, message);
    }

    #[test]
    fn whatever_comes_is_a_message_or_an_error(bytes in any::<Vec<u8>>(), kind in 0..9_u8, fds in any::<u8>()) {
        let mut frame = MAGIC.to_vec();
        frame.extend(VERSION.to_be_bytes());
        frame.extend([kind, fds]);
        frame.extend((bytes.len() as u32).to_be_bytes());
        frame.extend(&bytes);
        for bytes in [&frame, &bytes] {
            if let Ok(Some((message, length, _))) = Message::decode(bytes) {
                let written = message.encode();
                match message {
                    // There may be more behind it that this process does not know.
                    Message::Hello(_) => {
                        prop_assert_eq!(&written[HEADER..], &bytes[HEADER..written.len()]);
                    }
                    _ => prop_assert_eq!(written, &bytes[..length]),
                }
            }
        }
    }
}

#[test]
fn another_version_is_refused_with_both_named_and_a_long_message_before_it_has_come() {
    let mut frame = Message::Terminate.encode();
    frame[5] = 9;
    let error = Message::decode(&frame[..6])
        .expect_err("another version")
        .to_string();
    assert_eq!(
        error,
        "the other process speaks version 9 of the handover protocol, this one version 1"
    );
    let mut frame = Message::Terminate.encode();
    frame[8] = 1;
    assert!(Message::decode(&frame).is_err());
    assert!(Message::decode(b"GET / HTTP/1.1").is_err());
}

#[test]
fn who_promises_more_and_says_nothing_is_hung_up_on() {
    let sockets = Vec::new();
    let taken = Vec::new();
    for message in [
        Message::Sockets {
            sockets,
            more: true,
        },
        Message::Drain { taken, more: true },
    ] {
        assert!(Message::decode(&message.encode()).is_err(), "{message:?}");
    }
}

#[test]
fn as_many_sockets_as_can_be_taken_can_be_named() {
    let taken: Vec<u32> = (0..MOST_SOCKETS as u32).collect();
    let mut named = Vec::new();
    let messages = Message::drain(&taken);
    for (index, message) in messages.iter().enumerate() {
        let (read, ..) = Message::decode(&message.encode())
            .expect("it is right")
            .expect("it is whole");
        let Message::Drain { taken, more } = read else {
            panic!("{read:?}")
        };
        assert_eq!(more, index + 1 < messages.len());
        named.extend(taken);
    }
    assert_eq!(named, taken);
}

//! A copy between any two transports: short reads and writes, waits, ends and failures at any
//! moment, and the steps of a drain at any poll. Every byte is accounted for, and the copy ends.

use crate::support;

use drain_signal::{CloseCause, DrainEvent, DrainReason, DrainStrategy, drive};
use proptest::prelude::*;
use proto_drain_tcp::{Bytes, CopyOptions, DrainCopy, TcpDrainPolicy};
use std::{
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
    vec,
};
use support::drain;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, advance},
};

const DRAIN_TIME: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
enum Does {
    Move(usize),
    Wait,
    End,
    Fail(io::ErrorKind),
}

fn script() -> impl Strategy<Value = Vec<Does>> {
    let failure = prop_oneof![
        Just(io::ErrorKind::ConnectionReset),
        Just(io::ErrorKind::BrokenPipe)
    ];
    let does = prop_oneof![
        12 => (1_usize..400).prop_map(Does::Move),
        6 => Just(Does::Wait),
        1 => Just(Does::End),
        1 => failure.prop_map(Does::Fail),
    ];
    prop::collection::vec(does, 0..40)
}

fn options() -> impl Strategy<Value = CopyOptions> {
    let policy = prop_oneof![
        Just(TcpDrainPolicy::UntilDeadline),
        Just(TcpDrainPolicy::CheckOnData),
        Just(TcpDrainPolicy::AtSlot),
        (0_u64..200).prop_map(|quiet| TcpDrainPolicy::WhenQuiet(Duration::from_millis(quiet))),
    ];
    let millis = || (0_u64..300).prop_map(Duration::from_millis);
    (policy, millis(), millis(), 0_u64..1000, 1_usize..300).prop_map(
        |(policy, quiet, linger, bytes, chunk)| {
            let options = CopyOptions::new().with_policy(policy);
            let options = options.with_finish_quiet(quiet);
            options.with_linger(linger, bytes).with_chunk(chunk)
        },
    )
}

/// How many bytes were read from a side, and how many it has taken.
#[derive(Debug, Clone, Default)]
struct Counts(Arc<[AtomicU64; 2]>);

impl Counts {
    fn get(&self) -> [u64; 2] {
        [0, 1].map(|of| self.0[of].load(Ordering::Relaxed))
    }
}

/// Does what its scripts say; behind their end it has nothing to say and takes nothing.
struct Scripted {
    reads: vec::IntoIter<Does>,
    writes: vec::IntoIter<Does>,
    has_ended: bool,
    counts: Counts,
}

impl Scripted {
    fn new(reads: Vec<Does>, writes: Vec<Does>, counts: &Counts) -> Self {
        Self {
            reads: reads.into_iter(),
            writes: writes.into_iter(),
            has_ended: false,
            counts: counts.clone(),
        }
    }

    /// The part of `most` bytes that moves; nothing at an end.
    fn moves(&mut self, of: usize, most: usize, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        let script = [&mut self.reads, &mut self.writes];
        match script.into_iter().nth(of).and_then(Iterator::next) {
            Some(Does::Move(bytes)) => {
                let moved = bytes.min(most);
                self.counts.0[of].fetch_add(moved as u64, Ordering::Relaxed);
                Poll::Ready(Ok(moved))
            }
            Some(Does::End) => Poll::Ready(Ok(0)),
            Some(Does::Fail(kind)) => Poll::Ready(Err(kind.into())),
            Some(Does::Wait) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }
}

impl AsyncRead for Scripted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_ended {
            return Poll::Ready(Ok(()));
        }
        let moved = std::task::ready!(self.moves(0, buf.remaining(), cx))?;
        self.has_ended = moved == 0;
        buf.put_slice(&vec![0; moved]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.moves(1, bytes.len(), cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.moves(1, 0, cx).map_ok(drop)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.moves(1, 0, cx).map_ok(drop)
    }
}

fn assert_accounted(bytes: Bytes, from: &Counts, to: &Counts) {
    let Bytes {
        delivered,
        undelivered,
        discarded,
        ..
    } = bytes;
    assert_eq!(delivered + undelivered + discarded, from.get()[0], "read");
    assert_eq!(delivered, to.get()[1], "written");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_transports_and_any_moments(
        scripts in [script(), script(), script(), script()],
        options in options(),
        polls in [0_usize..12, 0_usize..12, 0_usize..12],
    ) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (client, upstream) = (Counts::default(), Counts::default());
            let [client_reads, client_writes, upstream_reads, upstream_writes] = scripts;
            let copy = DrainCopy::new(
                Scripted::new(client_reads, client_writes, &client),
                Scripted::new(upstream_reads, upstream_writes, &upstream),
            );
            let (trigger, signal) = drain();
            let watch = signal.watch().unwrap();
            let mut driven = pin!(drive(copy.with_options(options), watch));
            let mut cx = Context::from_waker(Waker::noop());
            let start = Instant::now().into_std();
            let event = DrainEvent::new(start, DRAIN_TIME, DrainReason::ListenerModify);
            let mut draining = None;
            let mut trigger = Some(trigger);
            let mut closed = None;
            // Before the slot, before the last second, before the deadline, and behind it.
            let moments = [Duration::ZERO, DRAIN_TIME - Duration::from_millis(900), DRAIN_TIME];
            for (nth, polls) in polls.into_iter().chain([100]).enumerate() {
                for _ in 0..polls {
                    if closed.is_none() {
                        if let Poll::Ready(ready) = driven.as_mut().poll(&mut cx) {
                            closed = Some(ready);
                        }
                        advance(Duration::from_millis(20)).await;
                    }
                }
                let Some(moment) = moments.get(nth) else { break };
                if let Some(trigger) = trigger.take() {
                    let event = event.clone().with_strategy(DrainStrategy::Immediate);
                    draining = Some(trigger.start(event));
                }
                if let Some(draining) = &draining {
                    while draining.advance(start + *moment).more {}
                }
            }
            let closed = closed.expect("it ends soon after the deadline");
            assert_ne!(closed.cause, CloseCause::Overdue);
            let report = closed.output.expect("there is always a report");
            assert_accounted(report.client_to_upstream, &client, &upstream);
            assert_accounted(report.upstream_to_client, &upstream, &client);
        });
    }
}

//! In a drain, on paused time: when each policy closes, and that nothing taken is lost without
//! being reported.

use crate::support;

use drain_signal::{
    CloseCause, CloseSteps, DrainDecision, DrainEvent, DrainReason, GracefulClose, drive,
};
use proto_drain_tcp::{CopyOptions, CopyReport, DrainCopy, DrainPoint, Ended, TcpDrainPolicy};
use std::{
    collections::BTreeSet,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use support::{begin, drain, read_all};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    task::JoinHandle,
    time::{Instant, interval, sleep},
};

const DRAIN_TIME: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

type Ending = JoinHandle<(CopyReport, CloseCause, Instant)>;

/// A driven copy with a client and an upstream, and the drain that will come over it.
fn copy(
    options: CopyOptions,
) -> (
    DuplexStream,
    DuplexStream,
    drain_signal::DrainTrigger,
    Ending,
) {
    let (client, near) = duplex(1024);
    let (far, upstream) = duplex(1024);
    let (trigger, signal) = drain();
    let copy = drive(
        DrainCopy::new(near, far).with_options(options),
        signal.watch().unwrap(),
    );
    let ending = tokio::spawn(async move {
        let closed = copy.await;
        (
            closed.output.expect("there is always a report"),
            closed.cause,
            Instant::now(),
        )
    });
    (client, upstream, trigger, ending)
}

fn policy(policy: TcpDrainPolicy) -> CopyOptions {
    CopyOptions::new().with_policy(policy)
}

/// Echoes until the peer's end.
fn echo(stream: DuplexStream) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(stream);
        tokio::io::copy(&mut read, &mut write).await.unwrap_or(0)
    })
}

#[tokio::test(start_paused = true)]
async fn a_quiet_connection_is_left_alone_until_shortly_before_the_deadline() {
    let (mut client, upstream, trigger, ending) = copy(CopyOptions::new());
    echo(upstream);
    let start = begin(trigger, DRAIN_TIME);

    sleep(DRAIN_TIME / 2).await;
    client.write_all(b"ping").await.unwrap();
    client.read_exact(&mut [0; 4]).await.unwrap();

    assert_eq!(read_all(client).await, b"");
    let (report, cause, _) = ending.await.unwrap();
    assert!(matches!(report.ended, Ended::Finishing), "{report:?}");
    assert!(report.is_lossless());
    assert_eq!(cause, CloseCause::Finished);
    let took = start.elapsed();
    assert!(took >= DRAIN_TIME - SECOND && took < DRAIN_TIME, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_speaks_twenty_times_a_second_is_closed_between_two_messages() {
    let (mut client, upstream, trigger, ending) = copy(CopyOptions::new());
    echo(upstream);
    begin(trigger, DRAIN_TIME);

    let mut answer = [0; 4];
    loop {
        // A client sees FIN before it writes.
        let pause = SECOND / 20 - SECOND / 1000;
        if let Ok(end) = tokio::time::timeout(pause, client.read(&mut answer)).await {
            assert_eq!(end.unwrap(), 0, "bytes that nothing asked for");
            break;
        }
        client.write_all(b"ping").await.unwrap();
        let answered = client.read_exact(&mut answer).await;
        answered.expect("the answer to a message that was under way");
    }
    let (report, ..) = ending.await.unwrap();
    assert!(matches!(report.ended, Ended::Finishing), "{report:?}");
    assert!(report.is_lossless(), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_is_cut_at_the_deadline_with_everything_taken_delivered() {
    let (mut client, upstream, trigger, ending) = copy(CopyOptions::new());
    let start = begin(trigger, DRAIN_TIME);
    let sent = tokio::spawn(async move {
        let mut tick = interval(Duration::from_millis(10));
        let mut sent = 0;
        let mut fin = [0];
        loop {
            tokio::select! {
                _ = tick.tick() => match client.write(b"0123456789").await {
                    Ok(written) => sent += written as u64,
                    Err(_) => return sent,
                },
                read = client.read(&mut fin) => { assert_eq!(read.unwrap(), 0); return sent; }
            }
        }
    });
    let heard = read_all(upstream).await;
    assert_eq!(start.elapsed(), DRAIN_TIME);
    let (report, cause, _) = ending.await.unwrap();
    assert!(matches!(report.ended, Ended::AtDeadline), "{report:?}");
    assert_eq!(cause, CloseCause::Aborted);
    assert_eq!(report.client_to_upstream.delivered, heard.len() as u64);
    let up = report.client_to_upstream;
    assert_eq!(
        sent.await.unwrap(),
        up.delivered + up.discarded,
        "every byte is accounted for"
    );
    assert_eq!(up.undelivered, 0);
}

#[tokio::test(start_paused = true)]
async fn quiet_copies_do_not_all_close_in_one_moment() {
    let (trigger, signal) = drain();
    let mut copies = Vec::new();
    for _ in 0..100 {
        let (client, near) = duplex(64);
        let (far, upstream) = duplex(64);
        let copy = drive(DrainCopy::new(near, far), signal.watch().unwrap());
        copies.push(tokio::spawn(async move {
            let (_report, fin) = tokio::join!(copy, async {
                read_all(client).await;
                drop(upstream);
                Instant::now()
            });
            fin
        }));
    }
    let start = begin(trigger, DRAIN_TIME);
    let mut moments = BTreeSet::new();
    for copy in copies {
        moments.insert(copy.await.unwrap().duration_since(start).as_millis());
    }
    assert!(
        moments.len() > 40,
        "{} different milliseconds for 100 closes",
        moments.len()
    );
    assert!(
        moments.iter().all(|ms| (59_000..60_000).contains(ms)),
        "{moments:?}"
    );
    // Over the first three quarters of the last second.
    let (first, last) = (moments.first().unwrap(), moments.last().unwrap());
    assert!((500..=800).contains(&(last - first)), "{moments:?}");
}

#[tokio::test(start_paused = true)]
async fn a_longer_quiet_time_of_the_end_leaves_a_talk_with_shorter_pauses_to_the_deadline() {
    let options = CopyOptions::new().with_finish_quiet(SECOND / 10);
    let (mut client, upstream, trigger, ending) = copy(options);
    echo(upstream);
    let start = begin(trigger, DRAIN_TIME);
    loop {
        let mut answer = [0; 4];
        // No pause ends with the drain.
        let pause = SECOND / 20 + SECOND / 1000;
        if let Ok(end) = tokio::time::timeout(pause, client.read(&mut answer)).await {
            assert_eq!(end.unwrap(), 0, "bytes that nothing asked for");
            break;
        }
        client.write_all(b"ping").await.unwrap();
        client.read_exact(&mut answer).await.unwrap();
    }
    assert_eq!(start.elapsed(), DRAIN_TIME);
    let (report, ..) = ending.await.unwrap();
    assert!(matches!(report.ended, Ended::AtDeadline), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn when_quiet_closes_after_the_quiet_time_and_not_before_the_slot() {
    let (client, _upstream, trigger, ending) = copy(policy(TcpDrainPolicy::WhenQuiet(5 * SECOND)));
    sleep(20 * SECOND).await;
    let start = begin(trigger, DRAIN_TIME);
    assert_eq!(read_all(client).await, b"");
    let took = start.elapsed();
    assert!(
        took >= 5 * SECOND && took < 5 * SECOND + Duration::from_millis(10),
        "{took:?}"
    );
    assert!(matches!(ending.await.unwrap().0.ended, Ended::Signaled));
}

#[tokio::test(start_paused = true)]
async fn when_quiet_waits_while_something_moves() {
    let (mut client, upstream, trigger, ending) =
        copy(policy(TcpDrainPolicy::WhenQuiet(5 * SECOND)));
    echo(upstream);
    let start = begin(trigger, DRAIN_TIME);
    for _ in 0..5 {
        sleep(4 * SECOND).await;
        client.write_all(b"ping").await.unwrap();
        client.read_exact(&mut [0; 4]).await.unwrap();
    }
    assert_eq!(read_all(client).await, b"");
    let took = start.elapsed();
    assert!(took >= 25 * SECOND && took < 26 * SECOND, "{took:?}");
    assert!(ending.await.unwrap().0.is_lossless());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ended_its_half_gets_the_whole_answer_however_quiet_it_is_before() {
    for (options, promised) in [
        (policy(TcpDrainPolicy::WhenQuiet(SECOND)), false),
        (CopyOptions::new(), false),
        (policy(TcpDrainPolicy::WhenQuiet(SECOND)), true),
    ] {
        let (mut client, mut upstream, trigger, ending) = copy(options);
        begin(trigger, DRAIN_TIME);
        client.write_all(b"question").await.unwrap();
        if promised {
            // The upstream has spoken last.
            upstream.write_all(b"wait").await.unwrap();
            client.read_exact(&mut [0; 4]).await.unwrap();
        }
        client.shutdown().await.unwrap();
        let answer = tokio::spawn(async move {
            let mut question = Vec::new();
            upstream.read_to_end(&mut question).await.unwrap();
            sleep(DRAIN_TIME - SECOND / 4).await;
            upstream.write_all(&[42; 5000]).await.unwrap();
        });
        assert_eq!(read_all(client).await, [42; 5000]);
        answer.await.unwrap();
        let report = ending.await.unwrap().0;
        assert!(matches!(report.ended, Ended::ByPeers), "{report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn at_slot_delivers_what_was_taken_to_a_slow_reader_before_its_fin() {
    let (mut client, mut upstream, trigger, ending) = copy(policy(TcpDrainPolicy::AtSlot));
    upstream.write_all(&[1; 1024]).await.unwrap();
    sleep(SECOND).await;
    upstream.write_all(&[2; 1024]).await.unwrap();
    sleep(SECOND).await; // 1024 lie in the client's buffer, 1024 were taken by the copy
    begin(trigger, DRAIN_TIME);
    sleep(SECOND).await;
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.len(), 2048);
    let report = ending.await.unwrap().0;
    assert!(matches!(report.ended, Ended::Signaled), "{report:?}");
    assert_eq!(report.upstream_to_client.delivered, 2048);
    assert!(report.is_lossless());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_never_reads_is_reported_as_a_loss_before_the_driver_drops_the_copy() {
    let (_client, mut upstream, trigger, ending) = copy(CopyOptions::new());
    upstream.write_all(&[1; 1024]).await.unwrap();
    sleep(SECOND).await;
    upstream.write_all(&[2; 1000]).await.unwrap();
    sleep(SECOND).await;
    let start = begin(trigger, DRAIN_TIME);
    let (report, cause, at) = ending.await.unwrap();
    assert_eq!(cause, CloseCause::Aborted);
    assert_eq!(
        (
            report.upstream_to_client.delivered,
            report.upstream_to_client.undelivered
        ),
        (1024, 1000)
    );
    assert!(!report.is_lossless());
    assert!(at - start < DRAIN_TIME + Duration::from_millis(250));
}

#[tokio::test(start_paused = true)]
async fn check_on_data_delivers_the_chunk_that_triggers_it_in_either_direction() {
    let (mut client, upstream, trigger, ending) = copy(policy(TcpDrainPolicy::CheckOnData));
    let start = begin(trigger, DRAIN_TIME);
    sleep(SECOND).await;
    client.write_all(b"request").await.unwrap();
    assert_eq!(read_all(upstream).await, b"request");
    assert_eq!(read_all(client).await, b"");
    assert_eq!(start.elapsed(), SECOND);
    let report = ending.await.unwrap().0;
    assert!(
        matches!(report.ended, Ended::OnData) && report.is_lossless(),
        "{report:?}"
    );

    let (client, mut upstream, trigger, ending) = copy(policy(TcpDrainPolicy::CheckOnData));
    begin(trigger, DRAIN_TIME);
    sleep(SECOND).await;
    upstream.write_all(b"response").await.unwrap();
    assert_eq!(read_all(client).await, b"response");
    drop(upstream);
    assert!(ending.await.unwrap().0.ended.by_drain());
}

#[tokio::test(start_paused = true)]
async fn check_on_data_leaves_a_silent_connection_until_the_deadline() {
    let (client, _upstream, trigger, ending) = copy(policy(TcpDrainPolicy::CheckOnData));
    let start = begin(trigger, DRAIN_TIME);
    read_all(client).await;
    assert!(start.elapsed() >= DRAIN_TIME - SECOND);
    assert!(matches!(ending.await.unwrap().0.ended, Ended::Finishing));
}

/// Leaves at the n-th question.
#[derive(Clone)]
struct Nth(usize, Arc<AtomicUsize>);

impl DrainDecision for Nth {
    fn is_due(&self) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed) + 1 == self.0
    }
}

#[tokio::test(start_paused = true)]
async fn the_decision_is_asked_once_per_chunk_also_without_a_drain() {
    let (mut client, near) = duplex(1024);
    let (far, upstream) = duplex(1024);
    let decision = Nth(4, Arc::default());
    let (_trigger, signal) = drain();
    let copy = DrainCopy::new(near, far)
        .with_options(policy(TcpDrainPolicy::CheckOnData))
        .with_decision(decision.clone());
    let copy = tokio::spawn(drive(copy, signal.watch().unwrap()));
    let echoed = echo(upstream);

    let mut heard = 0;
    for _ in 0..2 {
        client.write_all(b"ping").await.unwrap();
        heard += client.read_exact(&mut [0; 4]).await.unwrap();
    }
    // The fourth chunk is the second answer: it has arrived, and the end follows it.
    assert_eq!(read_all(client).await, b"");
    assert_eq!((heard, decision.1.load(Ordering::Relaxed)), (8, 4));
    assert_eq!(echoed.await.unwrap(), 8);
    let closed = copy.await.unwrap();
    assert!(matches!(closed.output.unwrap().ended, Ended::OnData));
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_never_asks_never_asks() {
    let (mut client, near) = duplex(1024);
    let (far, upstream) = duplex(1024);
    let decision = Nth(1, Arc::default());
    let copy = tokio::spawn(DrainCopy::new(near, far).with_decision(decision.clone()));
    echo(upstream);
    client.write_all(b"ping").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(read_all(client).await, b"ping");
    assert!(copy.await.unwrap().is_lossless());
    assert_eq!(decision.1.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_sends_after_our_fin_is_counted_and_bounded_in_time_and_bytes() {
    // In time: the client neither sends nor ends.
    let (_client, upstream, trigger, ending) =
        copy(policy(TcpDrainPolicy::AtSlot).with_linger(3 * SECOND, 5000));
    drop(upstream);
    let start = begin(trigger, DRAIN_TIME);
    let (report, _, at) = ending.await.unwrap();
    assert!(
        (3 * SECOND..4 * SECOND).contains(&(at - start)),
        "{:?}",
        at - start
    );
    assert!(report.is_lossless());

    // In bytes: one side sends without end.
    for client_floods in [true, false] {
        let (client, upstream, trigger, ending) =
            copy(policy(TcpDrainPolicy::AtSlot).with_linger(3 * SECOND, 5000));
        let (floods, ends) = if client_floods {
            (client, upstream)
        } else {
            (upstream, client)
        };
        drop(ends);
        let start = begin(trigger, DRAIN_TIME);
        let (mut fin, mut flood) = tokio::io::split(floods);
        fin.read_to_end(&mut Vec::new()).await.unwrap();
        while flood.write_all(&[0; 100]).await.is_ok() {}
        let (report, _, at) = ending.await.unwrap();
        assert!(at - start < SECOND);
        let (taken, none) = if client_floods {
            (report.client_to_upstream, report.upstream_to_client)
        } else {
            (report.upstream_to_client, report.client_to_upstream)
        };
        assert!((5000..10_000).contains(&taken.discarded), "{report:?}");
        assert_eq!(none.discarded, 0);
        assert!(!report.is_lossless());
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_upstream_has_not_answered_is_not_followed_by_fin() {
    // Just before the last second, in which connections are closed by their place in the queue:
    // this one may be the first.
    let late = DRAIN_TIME - SECOND * 11 / 10;
    let policies = [
        (CopyOptions::new(), late),
        (policy(TcpDrainPolicy::WhenQuiet(SECOND / 20)), SECOND / 50),
    ];
    for (options, after) in policies {
        let (mut client, mut upstream, trigger, ending) = copy(options);
        begin(trigger, DRAIN_TIME);
        let slow = tokio::spawn(async move {
            let mut message = [0; 8];
            upstream.read_exact(&mut message).await.unwrap();
            sleep(SECOND / 2).await;
            upstream.write_all(&message).await.unwrap();
            read_all(upstream).await
        });
        // Half a second to answer, where 10 ms are quiet enough.
        sleep(after).await;
        client.write_all(b"12345678").await.unwrap();
        assert_eq!(read_all(client).await, b"12345678");
        assert_eq!(slow.await.unwrap(), b"");
        let report = ending.await.unwrap().0;
        assert!(
            report.ended.by_drain() && report.is_lossless(),
            "{report:?}"
        );
    }
}

/// Also where no clock reaches as far as the steps.
#[tokio::test(start_paused = true)]
async fn steps_of_any_length_are_taken() {
    for step in [Duration::ZERO, Duration::from_secs(u64::MAX), Duration::MAX] {
        for is_forced in [false, true] {
            let (client, near) = duplex(1024);
            let (far, upstream) = duplex(1024);
            let (trigger, signal) = drain();
            let watch = signal.watch().unwrap();
            let operator = watch.handle();
            let now = Instant::now().into_std();
            let steps = CloseSteps::default()
                .with_finish_before(step)
                .with_drop_after(step);
            let event = DrainEvent::new(now, Duration::MAX, DrainReason::ListenerModify);
            let draining = trigger.start(event.with_close_steps(steps));
            let options = CopyOptions::new()
                .with_finish_quiet(step)
                .with_linger(step, u64::MAX);
            let copy = DrainCopy::new(near, far).with_options(options);
            let copy = tokio::spawn(drive(copy, watch));
            sleep(SECOND).await;
            if is_forced {
                operator.force();
            } else {
                draining.bring_forward(now);
                while draining.advance(now).more {}
            }
            sleep(SECOND).await;
            drop((client, upstream));
            let closed = copy.await.expect("no step panics");
            let causes = if is_forced {
                [CloseCause::Forced; 2]
            } else {
                [CloseCause::Aborted, CloseCause::Overdue]
            };
            assert!(causes.contains(&closed.cause), "{closed:?}");
        }
    }
}

#[tokio::test]
async fn a_copy_says_how_far_its_drain_has_come() {
    let (near, far) = (duplex(64).0, duplex(64).0);
    let mut copy = Box::pin(DrainCopy::new(near, far));
    assert_eq!(copy.point(), DrainPoint::Open);
    copy.as_mut().finish();
    assert_eq!(copy.point(), DrainPoint::Finishing);
    copy.as_mut().abort();
    assert_eq!(copy.point(), DrainPoint::Deadline);
}

/// Always has something to say, and takes everything; never makes its task wait.
struct Flood(Arc<AtomicUsize>);

impl AsyncRead for Flood {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let reads = self.0.fetch_add(1, Ordering::Relaxed);
        assert!(reads < 10_000, "one poll reads without end");
        buf.put_slice(&[0; 100]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(b.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn peers_that_send_without_end_leave_other_tasks_their_turn() {
    let (_trigger, signal) = drain();
    let watch = signal.watch().unwrap();
    let handle = watch.handle();
    let reads = Arc::new(AtomicUsize::new(0));
    let options = policy(TcpDrainPolicy::AtSlot).with_linger(Duration::MAX, u64::MAX);
    let peers = (Flood(Arc::clone(&reads)), Flood(Arc::clone(&reads)));
    let copy = DrainCopy::new(peers.0, peers.1).with_options(options);
    let mut driven = tokio_test::task::spawn(drive(copy, watch));
    handle.start_now();
    for _ in 0..10 {
        let before = reads.load(Ordering::Relaxed);
        assert!(driven.poll().is_pending() && driven.is_woken());
        let reads = reads.load(Ordering::Relaxed) - before;
        assert!((1..=200).contains(&reads), "{reads} reads in one poll");
    }
}

/// A client that takes nothing any more and goes on sending.
struct Deaf(DuplexStream);

impl AsyncRead for Deaf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Deaf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_copy_whose_other_direction_goes_on_ends_at_the_deadline_with_everything_delivered()
 {
    let (mut client, near) = duplex(1024);
    let (far, mut upstream) = duplex(1024);
    let (trigger, signal) = drain();
    let copy = tokio::spawn(drive(
        DrainCopy::new(Deaf(near), far),
        signal.watch().unwrap(),
    ));
    upstream
        .write_all(b"to a client that takes nothing")
        .await
        .unwrap();
    let start = begin(trigger, DRAIN_TIME);
    let talking = tokio::spawn(async move {
        let mut sent = 0_u64;
        while client.write_all(b"0123456789").await.is_ok() {
            sent += 10;
            sleep(SECOND / 10).await;
        }
        sent
    });
    let heard = read_all(upstream).await;
    assert_eq!(start.elapsed(), DRAIN_TIME);
    let report = copy
        .await
        .unwrap()
        .output
        .expect("ends before the driver drops it");
    assert!(matches!(report.ended, Ended::Failed(_)), "{report:?}");
    let up = report.client_to_upstream;
    assert_eq!((up.delivered, up.undelivered), (heard.len() as u64, 0));
    assert_eq!(talking.await.unwrap(), up.delivered + up.discarded);
}

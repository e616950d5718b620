//! A partial drain: a share of the connections is asked to leave at its pace, and nothing else
//! changes.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use drain_tree::{
    ChildOptions, DrainDecision, DrainEnding, DrainManager, DrainReason, DrainSettings, DrainStart,
    DrainState, DrainWatch, PartialDrain, PartialStart, Share, Spread,
};
use proptest::prelude::*;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, timeout};

const DRAIN_TIME: Duration = Duration::from_secs(600);

fn share(fraction: f64) -> Share {
    Share::new(fraction).unwrap()
}

fn per_second(rate: u32) -> Spread {
    Spread::PerSecond(NonZeroU32::new(rate).unwrap())
}

/// Lets all tasks run: of one turn, tokio gives no more than 61 polls to others.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// Connections that leave when they are asked.
struct Crowd {
    start: Instant,
    left: Arc<Mutex<Vec<Duration>>>,
}

impl Crowd {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            left: Arc::default(),
        }
    }

    async fn join(&self, node: &DrainManager, count: usize) {
        for _ in 0..count {
            let (watch, start) = (node.watch().unwrap(), self.start);
            let left = Arc::clone(&self.left);
            tokio::spawn(async move {
                watch.signaled().await;
                drop(watch);
                left.lock().unwrap().push(start.elapsed());
            });
        }
        settle().await;
    }

    /// When those that have left since the last call did.
    async fn left(&self) -> Vec<Duration> {
        settle().await;
        std::mem::take(&mut *self.left.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_leaves_over_a_quarter_of_the_drain_time_and_the_rest_stays() {
    let listener = DrainManager::root(DrainSettings::default());
    let crowd = Crowd::new();
    crowd.join(&listener, 200).await;
    let partial = listener.start_partial_drain(PartialStart::new(share(0.1)));
    assert_eq!(partial.left(), 20);
    let outcome = partial.await;
    assert_eq!((outcome.chosen, outcome.asked), (20, 20));
    let left = crowd.left().await;
    assert_eq!(left.len(), 20);
    for (index, at) in left.iter().enumerate() {
        let turn = DRAIN_TIME / 4 * index as u32 / 20;
        assert!(
            at.abs_diff(turn) <= Duration::from_millis(2),
            "{index}: {at:?}"
        );
    }
    assert_eq!(listener.open_watches(), 180);
    assert_eq!(listener.state(), DrainState::NotDraining);
    // Long after it, no other connection has been asked.
    advance(10 * DRAIN_TIME).await;
    assert_eq!(crowd.left().await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_pace_asks_so_many_a_second() {
    let listener = DrainManager::root(DrainSettings::default());
    let crowd = Crowd::new();
    crowd.join(&listener, 100).await;
    let start = PartialStart::new(Share::ALL).with_spread(per_second(50));
    let partial = listener.start_partial_drain(start);
    assert_eq!(partial.await.asked, 100);
    let left = crowd.left().await;
    let in_second = |second: u64| {
        let second = Duration::from_secs(second)..Duration::from_secs(second + 1);
        left.iter().filter(|at| second.contains(at)).count()
    };
    assert_eq!((in_second(0), in_second(1)), (50, 50));
}

#[tokio::test(start_paused = true)]
async fn connections_that_open_meanwhile_are_not_asked_and_the_node_drains_fully_later() {
    let listener = DrainManager::root(DrainSettings::default());
    let crowd = Crowd::new();
    crowd.join(&listener, 40).await;
    let partial = listener.start_partial_drain(PartialStart::new(Share::ALL));
    let (outcome, ()) = tokio::join!(partial, async {
        advance(Duration::from_secs(10)).await;
        crowd.join(&listener, 40).await;
    });
    assert_eq!(outcome.asked, 40);
    assert_eq!(
        (crowd.left().await.len(), listener.open_watches()),
        (40, 40)
    );
    assert!(!listener.watch().unwrap().is_due(), "a later connection");

    let drain = listener.start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
    let outcome = drain.await;
    assert_eq!((outcome.ending, outcome.left), (DrainEnding::Empty, 0));
    assert_eq!(crowd.left().await.len(), 40);
    assert_eq!(listener.state(), DrainState::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_begins_meanwhile_asks_everyone_once() {
    let listener = DrainManager::root(DrainSettings::default());
    let crowd = Crowd::new();
    crowd.join(&listener, 40).await;
    let partial = listener.start_partial_drain(PartialStart::new(share(0.5)));
    let drain = listener.start_drain_sequence(DrainStart::new(DrainReason::Admin));
    let (outcome, drained) = tokio::join!(partial, drain);
    assert_eq!((outcome.chosen, drained.left), (20, 0));
    assert_eq!(crowd.left().await.len(), 40);
}

#[tokio::test(start_paused = true)]
async fn what_is_below_takes_part_and_what_is_beside_does_not() {
    let root = DrainManager::root(DrainSettings::default());
    let [one, two] = [(); 2].map(|()| root.child(ChildOptions::default()));
    let chain = one.child(ChildOptions::default());
    let crowd = Crowd::new();
    crowd.join(&one, 10).await;
    crowd.join(&chain, 10).await;
    crowd.join(&two, 10).await;
    let outcome = one.start_partial_drain(PartialStart::new(Share::ALL)).await;
    assert_eq!((outcome.asked, crowd.left().await.len()), (20, 20));
    assert_eq!(two.open_watches(), 10);
}

#[tokio::test(start_paused = true)]
async fn dropped_half_way_it_leaves_the_others_alone_and_another_goes_on() {
    let listener = DrainManager::root(DrainSettings::default());
    let crowd = Crowd::new();
    crowd.join(&listener, 100).await;
    let start = PartialStart::new(Share::ALL).with_spread(Spread::Over(Duration::from_secs(100)));
    let partial = listener.start_partial_drain(start);
    let dropped = timeout(Duration::from_millis(49_500), partial).await;
    assert!(dropped.is_err());
    advance(DRAIN_TIME).await;
    assert_eq!(crowd.left().await.len(), 50);
    let rest = listener.start_partial_drain(start);
    assert_eq!(rest.await.chosen, 50);
    assert_eq!(crowd.left().await.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn connections_that_were_asked_are_not_chosen_again() {
    let listener = DrainManager::root(DrainSettings::default());
    let watches: Vec<DrainWatch> = (0..10).map(|_| listener.watch().unwrap()).collect();
    let mut stubborn = JoinSet::new();
    for watch in watches {
        // It goes on serving after it was asked.
        stubborn.spawn(async move {
            watch.signaled().await;
            watch.expired().await;
        });
    }
    tokio::task::yield_now().await;
    let half = PartialStart::new(share(0.5)).with_spread(Spread::Over(Duration::ZERO));
    let mut chosen = vec![];
    for _ in 0..3 {
        chosen.push(listener.start_partial_drain(half).await.chosen);
        tokio::task::yield_now().await;
    }
    assert_eq!(chosen, [5, 3, 1], "half of 10, of 5, of 2");
    assert_eq!(listener.open_watches(), 10);
}

#[tokio::test(start_paused = true)]
async fn two_at_once_ask_each_connection_once() {
    let listener = DrainManager::root(DrainSettings::default());
    let crowd = Crowd::new();
    crowd.join(&listener, 40).await;
    let all = PartialStart::new(Share::ALL);
    let fast = all.with_spread(per_second(20));
    let [one, two] = [all, fast].map(|start| listener.start_partial_drain(start));
    let (one, two) = tokio::join!(one, two);
    assert_eq!((one.chosen, two.chosen), (40, 40));
    assert_eq!(one.asked + two.asked, 40);
    assert_eq!(crowd.left().await.len(), 40);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_leave_has_the_deadline_of_a_later_drain() {
    let listener = DrainManager::root(DrainSettings::default());
    let watch = listener.watch().unwrap();
    let stubborn = tokio::spawn(async move {
        watch.signaled().await;
        watch.expired().await;
        Instant::now()
    });
    settle().await;
    let partial = listener.start_partial_drain(PartialStart::new(Share::ALL));
    assert_eq!(partial.await.asked, 1);
    advance(10 * DRAIN_TIME).await;
    settle().await;
    assert!(!stubborn.is_finished(), "it has no deadline");
    let start = Instant::now();
    let drain = listener.start_drain_sequence(DrainStart::new(DrainReason::ListenerModify));
    drain.await;
    assert!(stubborn.await.unwrap() >= start + DRAIN_TIME);
}

#[test]
fn no_connection_is_asked_before_the_start() {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    let now = std::time::Instant::now();
    let start = now + DRAIN_TIME;
    let mut partial = PartialDrain::new(vec![1, 2], Spread::Over(Duration::ZERO), start, |_| true);
    let mut cx = Context::from_waker(Waker::noop());
    let mut next = None;
    assert!(partial.poll_at(now, &mut cx, &mut next).is_pending());
    assert_eq!((partial.left(), next), (2, Some(start)));
    assert!(partial.poll_at(start, &mut cx, &mut next).is_ready());
}

#[test]
fn a_share_that_is_none_says_its_value() {
    for wrong in [0.0, -0.1, 1.000_001, f64::INFINITY, f64::NAN] {
        let error = Share::new(wrong).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("a share of the connections is above 0 and at most 1, not {wrong}")
        );
    }
    assert_eq!(share(1.0), Share::ALL);
    assert_eq!(
        [0, 1, 4, 5, 10].map(|count| share(0.1).of(count)),
        [0, 0, 0, 1, 1]
    );
}

#[test]
fn one_poll_asks_a_batch_and_lets_other_tasks_run() {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as a start")]
    let now = std::time::Instant::now();
    let all = (0..100).collect::<Vec<u8>>();
    let mut partial = PartialDrain::new(all, Spread::Over(Duration::ZERO), now, |_| true);
    let mut cx = Context::from_waker(Waker::noop());
    let mut next = None;
    let mut left = vec![];
    let outcome = loop {
        match partial.poll_at(now, &mut cx, &mut next) {
            Poll::Ready(outcome) => break outcome,
            Poll::Pending => left.push(partial.left()),
        }
    };
    assert_eq!((left, outcome.asked, next), (vec![68, 36, 4], 100, None));
}

proptest! {
    #[test]
    fn turns_do_not_go_back_and_lie_in_their_window(
        window: u64,
        nanos in 0..1_000_000_000_u32,
        rate in 1..=u32::MAX,
        index: usize,
        count in 1..usize::MAX,
    ) {
        let window = Duration::new(window, nanos);
        let index = index % count;
        for spread in [Spread::Over(window), Spread::Over(Duration::MAX), per_second(rate)] {
            prop_assert!(spread.turn(index, count) <= spread.turn(index + 1, count));
            prop_assert_eq!(spread.turn(0, count), Duration::ZERO);
        }
        prop_assert!(Spread::Over(window).turn(index, count) <= window);
        prop_assert_eq!(per_second(rate).turn(rate as usize, count), Duration::from_secs(1));
    }

    #[test]
    fn turns_do_not_go_back_for_any_index(
        index in prop_oneof![any::<usize>(), usize::MAX - 9..usize::MAX],
        count in prop_oneof![any::<usize>(), 0..9_usize],
        rate in 1..=u32::MAX,
    ) {
        for spread in [Spread::Over(Duration::MAX), per_second(rate), per_second(1)] {
            prop_assert!(spread.turn(index.saturating_sub(1), count) <= spread.turn(index, count));
            prop_assert!(spread.turn(index, count) <= spread.turn(usize::MAX, count));
        }
    }

    #[test]
    fn a_share_is_of_distinct_connections(fraction in 0.000_001..=1.0, count in 0..500_usize, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut chosen: Vec<usize> = (0..count).collect();
        share(fraction).choose(&mut chosen, || random.u64(..));
        prop_assert_eq!(chosen.len(), (fraction * count as f64).round() as usize);
        chosen.sort_unstable();
        chosen.dedup();
        prop_assert_eq!(chosen.len(), (fraction * count as f64).round() as usize);
        prop_assert!(chosen.iter().all(|&connection| connection < count));
    }
}

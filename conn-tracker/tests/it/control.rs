//! A connection asked through the registry: to leave, and to end. No request is lost, none comes
//! twice at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conn_tracker::{
    CloseError, CloseReason, ConnGroup, ConnGuard, ConnInfo, ConnRequest, ConnTracker, Peer,
};

#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<(&'static str, ConnRequest)>>>);

impl Asked {
    fn note(&self, who: &'static str, request: ConnRequest) {
        self.0
            .lock()
            .expect("no panic under it")
            .push((who, request));
    }

    fn take(&self) -> Vec<(&'static str, ConnRequest)> {
        std::mem::take(&mut *self.0.lock().expect("no panic under it"))
    }
}

fn open(group: &ConnGroup, control: impl Fn(ConnRequest) + Send + Sync + 'static) -> ConnGuard {
    group.open(ConnInfo::new(Peer::Unix).with_control(control))
}

#[test]
fn a_connection_is_asked_to_leave_and_to_end() {
    let (tracker, asked) = (ConnTracker::new(), Asked::default());
    let noted = asked.clone();
    let guard = open(&tracker.group("ingress", 1), move |request| {
        noted.note("it", request)
    });
    assert_eq!(tracker.drain(guard.id()), Ok(()));
    assert_eq!(guard.close_reason(), None, "it ends by itself");
    assert_eq!(tracker.close(guard.id()), Ok(()));
    assert_eq!(guard.close_reason(), Some(CloseReason::Admin));
    assert_eq!(tracker.drain(guard.id()), Ok(()), "and again");
    let all = [ConnRequest::Drain, ConnRequest::Close, ConnRequest::Drain];
    assert_eq!(asked.take(), all.map(|request| ("it", request)));
}

#[test]
fn what_cannot_be_asked_says_so() {
    let tracker = ConnTracker::new();
    let group = tracker.group("ingress", 1);
    let closer_alone = group.open(ConnInfo::new(Peer::Unix).with_closer(|| ()));
    let nothing = group.open(Peer::Unix);
    let gone = group.open(Peer::Unix).id();
    let [id, no_closer] = [&closer_alone, &nothing].map(ConnGuard::id);
    assert_eq!(tracker.drain(id), Err(CloseError::CannotDrain { id }));
    assert_eq!(
        tracker.drain(no_closer),
        Err(CloseError::NoCloser { id: no_closer })
    );
    assert_eq!(tracker.drain(gone), Err(CloseError::NotFound { id: gone }));
    assert_eq!(
        CloseError::CannotDrain { id }.to_string(),
        format!("connection {id} was registered without a way to ask it to leave")
    );
    assert_eq!(tracker.close(id), Ok(()));
}

#[test]
fn a_close_that_comes_during_a_drain_is_next_and_a_close_during_a_close_is_that_one() {
    let (tracker, asked) = (ConnTracker::new(), Asked::default());
    let (noted, registry, own) = (asked.clone(), tracker.clone(), Arc::new(Mutex::new(None)));
    let id = Arc::clone(&own);
    let guard = open(&tracker.group("ingress", 1), move |request| {
        noted.note("it", request);
        let id = id.lock().expect("no panic under it").expect("it is set");
        assert_eq!(registry.close(id), Ok(()));
        assert_eq!(registry.drain(id), Ok(()));
    });
    *own.lock().expect("no panic under it") = Some(guard.id());
    assert_eq!(tracker.drain(guard.id()), Ok(()));
    let expected = [("it", ConnRequest::Drain), ("it", ConnRequest::Close)];
    assert_eq!(asked.take(), expected);
    assert_eq!(tracker.close(guard.id()), Ok(()));
    assert_eq!(asked.take(), expected[1..]);
}

#[test]
fn a_request_whose_control_was_replaced_meanwhile_is_repeated_with_the_new_one() {
    for request in [ConnRequest::Drain, ConnRequest::Close] {
        let (tracker, asked) = (ConnTracker::new(), Asked::default());
        let (noted, own) = (asked.clone(), Arc::new(Mutex::new(None::<ConnGuard>)));
        let guard = Arc::clone(&own);
        let of_first = open(&tracker.group("ingress", 1), move |request| {
            noted.note("first", request);
            if let Some(guard) = guard.lock().expect("no panic under it").take() {
                let noted = noted.clone();
                guard.set_control(move |request| noted.note("second", request));
            }
        });
        *own.lock().expect("no panic under it") = Some(of_first.clone());
        let asking = match request {
            ConnRequest::Drain => tracker.drain(of_first.id()),
            _ => tracker.close(of_first.id()),
        };
        assert_eq!(asking, Ok(()));
        assert_eq!(asked.take(), [("first", request), ("second", request)]);
        assert_eq!(tracker.drain(of_first.id()), Ok(()));
        assert_eq!(asked.take(), [("second", ConnRequest::Drain)]);
    }
}

#[test]
fn a_control_that_panics_is_put_back_and_what_came_meanwhile_is_asked() {
    let (tracker, asked) = (ConnTracker::new(), Asked::default());
    let (noted, registry) = (asked.clone(), tracker.clone());
    let own = Arc::new(Mutex::new(None));
    let id = Arc::clone(&own);
    let guard = open(&tracker.group("ingress", 1), move |request| {
        noted.note("it", request);
        if request == ConnRequest::Drain {
            let id = id.lock().expect("no panic under it").expect("it is set");
            assert_eq!(registry.close(id), Ok(()));
            panic!("a control that panics");
        }
    });
    *own.lock().expect("no panic under it") = Some(guard.id());
    let drained = catch_unwind(AssertUnwindSafe(|| tracker.drain(guard.id())));
    assert!(drained.is_err());
    let expected = [("it", ConnRequest::Drain), ("it", ConnRequest::Close)];
    assert_eq!(asked.take(), expected);
    assert_eq!(tracker.close(guard.id()), Ok(()));
    assert_eq!(asked.take(), expected[1..]);
}

#[test]
fn a_predicate_selects_of_all_pages_and_may_use_the_tracker() {
    let tracker = ConnTracker::new();
    let [ingress, egress] = ["ingress", "egress"].map(|name| tracker.group(name, 1));
    let old: Vec<_> = (0..300).map(|_| ingress.open(Peer::Unix)).collect();
    let _others: Vec<_> = (0..300).map(|_| egress.open(Peer::Unix)).collect();
    tracker.advance(Duration::from_secs(60));
    let _young: Vec<_> = (0..300).map(|_| ingress.open(Peer::Unix)).collect();
    let mut selected = tracker.select(|conn| {
        let is_there = tracker.find(conn.id).is_some();
        let age = conn.age(tracker.now());
        is_there && &*conn.listener == "ingress" && age >= Duration::from_secs(60)
    });
    selected.sort();
    let mut expected: Vec<_> = old.iter().map(ConnGuard::id).collect();
    expected.sort();
    assert_eq!(selected, expected);
}

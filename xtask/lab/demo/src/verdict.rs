//! What is lost, and which class did not hear what it should have heard: a pure judgement over the
//! records.
//!
//! Lost is:
//! - a request written on a connection that had not been told to leave (no `connection: close` on
//!   an earlier response; a stream not above the final GOAWAY's last stream id), and not answered
//!   completely and correctly;
//! - a connect that was refused, reset or not answered, or answered by a version that had been
//!   replaced;
//! - a byte that is wrong, or that was sent in time and did not arrive;
//! - a WebSocket or TCP stream that ended before its version's deadline, or by RST. Close to the
//!   deadline (the last quarter of the drain time, at most a second) it may end in a quiet moment,
//!   which takes nothing from anybody: what is in flight then is asked for as it is at the
//!   deadline.
//!
//! Not lost is an HTTP/2 stream above the final GOAWAY's last stream id: the peer has promised not
//! to have touched it, so its client asks again elsewhere (RFC 9113 section 6.8). It is counted as
//! retried.

use std::time::Duration;

use super::record::{Class, Protocol, Record, Saw, Updates};

/// How much earlier than the deadline a tunnel may end in a quiet moment, at most; a quarter of the
/// drain time if that is less.
const QUIET_END: Duration = Duration::from_secs(1);

/// The clocks of two processes, and the rename between them.
const CLOCKS: Duration = Duration::from_millis(100);

/// How long after half the drain time a busy connection may still wait to be told. By then both
/// schedules have told all.
const LATE: Duration = Duration::from_millis(1500);

/// How long after its version's deadline a connection may still be seen.
const OVERSTAY: Duration = Duration::from_millis(1500);

/// Something lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The word for it in the table.
    pub(crate) kind: &'static str,
    /// When it was known.
    pub(crate) at: Duration,
    /// The listener version that lost it.
    pub(crate) version: u32,
    /// What exactly.
    pub(crate) detail: String,
}

/// Smallest, middle and largest of some times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) min: Duration,
    pub(crate) median: Duration,
    pub(crate) max: Duration,
}

impl Spread {
    /// `None` of none.
    pub(crate) fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let (&min, &max) = (times.first()?, times.last()?);
        Some(Self {
            count: times.len(),
            min,
            median: times[times.len() / 2],
            max,
        })
    }
}

/// What one class of clients went through.
#[derive(Debug, Clone)]
pub(crate) struct ClassVerdict {
    pub(crate) class: Class,
    /// Connections opened.
    pub(crate) connections: usize,
    /// Requests, messages or connects answered completely and correctly.
    pub(crate) ok: u64,
    /// Bytes verified.
    pub(crate) bytes: u64,
    /// Streams above the final GOAWAY: asked again elsewhere.
    pub(crate) retried: u64,
    pub(crate) lost: Vec<Loss>,
    /// `connection: close`, after the update.
    pub(crate) close_header: Option<Spread>,
    /// GOAWAY(2^31-1), after the update.
    pub(crate) first_goaway: Option<Spread>,
    /// From the first GOAWAY to the final one.
    pub(crate) goaway_gap: Option<Spread>,
    /// FIN, after the update.
    pub(crate) fin: Option<Spread>,
    /// Why this class fails although it may have lost nothing.
    pub(crate) complaints: Vec<String>,
}

impl ClassVerdict {
    /// Nothing lost, everything heard.
    pub(crate) fn good(&self) -> bool {
        self.lost.is_empty() && self.complaints.is_empty()
    }
}

/// Whether a record can have lost anything: those that cannot need not be judged to know how much
/// is lost so far.
pub(crate) fn suspicious(record: &Record, updates: &Updates) -> bool {
    let tunnel = matches!(record.class.protocol(), Protocol::WebSocket | Protocol::Tcp);
    tunnel || !record.failures.is_empty() || stale_version(record, updates).is_some()
}

/// Judges all classes. `end` is when the crowd was sent home.
pub(crate) fn judge(records: &[Record], updates: &Updates, end: Duration) -> Vec<ClassVerdict> {
    Class::ALL
        .into_iter()
        .map(|class| judge_class(class, records, updates, end))
        .collect()
}

fn judge_class(class: Class, records: &[Record], updates: &Updates, end: Duration) -> ClassVerdict {
    let mine: Vec<&Record> = records
        .iter()
        .filter(|record| record.class == class)
        .collect();
    let after_update = |wanted: fn(Saw) -> bool| {
        let times = mine.iter().filter_map(|record| {
            record
                .when(wanted)?
                .checked_sub(updates.replaced(updates.version_of(record))?)
        });
        Spread::of(times.collect())
    };
    let gaps = mine.iter().filter_map(|record| {
        let (final_goaway, _) = record.final_goaway()?;
        final_goaway.checked_sub(record.when(|saw| saw == Saw::FirstGoaway)?)
    });
    let mut verdict = ClassVerdict {
        class,
        connections: mine.len(),
        ok: mine.iter().map(|record| record.ok).sum(),
        bytes: mine.iter().map(|record| record.bytes).sum(),
        retried: 0,
        lost: Vec::new(),
        close_header: after_update(|saw| saw == Saw::CloseHeader),
        first_goaway: after_update(|saw| saw == Saw::FirstGoaway),
        goaway_gap: Spread::of(gaps.collect()),
        fin: after_update(|saw| saw == Saw::Fin),
        complaints: Vec::new(),
    };
    for record in &mine {
        verdict.retried += lost_exchanges(record, updates, &mut verdict.lost);
        verdict.lost.extend(lost_tunnel(record, updates));
        verdict.lost.extend(stale_version(record, updates));
    }
    verdict.lost.sort_by_key(|loss| loss.at);
    verdict.complaints = complaints(&verdict, &mine, updates, end);
    verdict
}

/// The exchanges that count as lost; returns how many were refused in a way that makes asking again
/// safe.
fn lost_exchanges(record: &Record, updates: &Updates, lost: &mut Vec<Loss>) -> u64 {
    let mut retried = 0;
    for failure in &record.failures {
        let promised = record.final_goaway().map(|(_, last)| last);
        if matches!((failure.stream, promised), (Some(stream), Some(last)) if stream > last) {
            retried += 1;
            continue;
        }
        if record
            .when(|saw| saw == Saw::CloseHeader)
            .is_some_and(|told| told < failure.begun)
        {
            continue;
        }
        let stream = failure
            .stream
            .map(|stream| format!(" (stream {stream})"))
            .unwrap_or_default();
        let waited = failure.ended.saturating_sub(failure.begun).as_millis();
        lost.push(Loss {
            kind: failure.how.kind(),
            at: failure.ended,
            version: updates.version_of(record),
            detail: format!("{}{stream}, {waited} ms after it was begun", failure.how),
        });
    }
    retried
}

/// A tunnel that ended before its time, or by RST.
fn lost_tunnel(record: &Record, updates: &Updates) -> Option<Loss> {
    if !matches!(record.class.protocol(), Protocol::WebSocket | Protocol::Tcp) {
        return None;
    }
    let (at, saw) = *record
        .saw
        .iter()
        .find(|(_, saw)| matches!(saw, Saw::Fin | Saw::Reset))?;
    let version = updates.version_of(record);
    if saw == Saw::Reset {
        return Some(Loss {
            kind: "tunnel reset",
            at,
            version,
            detail: "ended by RST".to_owned(),
        });
    }
    let early = QUIET_END.min(updates.drain_time / 4) + CLOCKS;
    let detail = match updates.deadline(version) {
        None => "ended although its version was never replaced".to_owned(),
        Some(deadline) if at + early < deadline => {
            format!("ended {} ms early", (deadline - at).as_millis())
        }
        Some(_) => return None,
    };
    Some(Loss {
        kind: "tunnel early",
        at,
        version,
        detail,
    })
}

/// A connection served by a version that had been replaced well before its connect.
fn stale_version(record: &Record, updates: &Updates) -> Option<Loss> {
    let (version, oldest) = (record.version?, updates.oldest_for(record.opened));
    (version < oldest).then(|| Loss {
        kind: "old version",
        at: record.opened,
        version,
        detail: format!(
            "a new connection was served by version {version}, replaced by {oldest} before"
        ),
    })
}

fn complaints(
    verdict: &ClassVerdict,
    mine: &[&Record],
    updates: &Updates,
    end: Duration,
) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut need = |heard: bool, what: &str| {
        if !heard {
            complaints.push(what.to_owned());
        }
    };
    need(verdict.ok > 0, "not one exchange succeeded");
    let told = match verdict.class {
        Class::H1Busy => verdict.close_header,
        Class::H2Busy => verdict.first_goaway,
        _ => None,
    };
    let late = told.is_some_and(|told| told.max > updates.drain_time / 2 + LATE);
    need(
        !late,
        "was told to leave only late in the second half of the drain time",
    );
    if !updates.at.is_empty() {
        match verdict.class {
            Class::H1Busy | Class::H1Idle | Class::Upload => {
                need(
                    verdict.close_header.is_some(),
                    "never saw `connection: close`",
                );
            }
            Class::H2Busy | Class::H2Idle | Class::H2Slow => {
                need(verdict.first_goaway.is_some(), "never saw the first GOAWAY");
                need(
                    verdict.goaway_gap.is_some(),
                    "never saw both GOAWAYs on one connection",
                );
            }
            Class::H1Silent | Class::WebSocket | Class::Tcp => {
                need(verdict.fin.is_some(), "never saw FIN at a deadline");
            }
            Class::Connect => {
                for version in (1..).take(updates.at.len() + 1) {
                    let met = mine.iter().any(|record| record.version == Some(version));
                    need(met, &format!("never met version {version}"));
                }
            }
        }
    }
    let overstayed = mine.iter().filter(|record| {
        let deadline = updates.deadline(updates.version_of(record));
        deadline.is_some_and(|deadline| deadline + OVERSTAY < record.ended.unwrap_or(end))
    });
    match overstayed.count() {
        0 => {}
        left => complaints.push(format!(
            "{left} connections outlived the deadline of their version"
        )),
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::super::record::{Failure, How};
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One update, at 2 s; version 1 must be gone at 10 s.
    fn updates() -> Updates {
        Updates {
            at: vec![ms(2000)],
            drain_time: ms(8000),
        }
    }

    fn record(class: Class) -> Record {
        let mut record = Record::new(class, ms(100));
        record.version = Some(1);
        record.ok = 1;
        record
    }

    fn failed(begun: u64, stream: Option<u32>, how: How) -> Failure {
        Failure {
            begun: ms(begun),
            ended: ms(begun + 5),
            stream,
            how,
        }
    }

    fn verdict(record: &Record) -> ClassVerdict {
        judge_class(
            record.class,
            std::slice::from_ref(record),
            &updates(),
            ms(11_000),
        )
    }

    fn kinds(record: &Record) -> Vec<&'static str> {
        verdict(record).lost.iter().map(|loss| loss.kind).collect()
    }

    #[test]
    fn a_request_cut_on_a_connection_that_was_told_nothing_is_lost() {
        let mut record = record(Class::H1Busy);
        record.failures.push(failed(3000, None, How::Cut));
        assert_eq!(kinds(&record), ["cut"]);
    }

    #[test]
    fn a_request_written_after_the_close_header_is_the_clients_own_fault() {
        let mut record = record(Class::H1Busy);
        record.saw.push((ms(2500), Saw::CloseHeader));
        record.failures.push(failed(2501, None, How::Unanswered));
        assert!(kinds(&record).is_empty());
    }

    #[test]
    fn the_request_whose_own_answer_is_cut_is_lost_even_if_its_head_said_close() {
        let mut record = record(Class::H1Busy);
        record.saw.push((ms(2503), Saw::CloseHeader));
        record.failures.push(failed(2500, None, How::Cut));
        assert_eq!(kinds(&record), ["cut"]);
    }

    #[test]
    fn a_stream_above_the_final_goaway_is_retried_and_one_below_is_lost() {
        let mut record = record(Class::H2Busy);
        record.saw.push((ms(2500), Saw::FirstGoaway));
        record
            .saw
            .push((ms(4500), Saw::FinalGoaway { last_stream_id: 9 }));
        record
            .failures
            .push(failed(4499, Some(11), How::Unanswered));
        assert_eq!((kinds(&record).len(), verdict(&record).retried), (0, 1));
        record.failures.push(failed(4400, Some(9), How::Reset));
        assert_eq!(
            (kinds(&record), verdict(&record).retried),
            (vec!["reset"], 1)
        );
    }

    #[test]
    fn a_first_goaway_alone_excuses_nothing() {
        let mut record = record(Class::H2Busy);
        record.saw.push((ms(2500), Saw::FirstGoaway));
        record
            .failures
            .push(failed(2501, Some(11), How::Unanswered));
        assert_eq!(kinds(&record), ["unanswered"]);
    }

    #[test]
    fn a_refused_connect_is_lost() {
        let mut record = record(Class::Connect);
        record.failures.push(failed(2010, None, How::Refused));
        assert_eq!(kinds(&record), ["refused"]);
    }

    #[test]
    fn a_tunnel_may_end_at_its_deadline_or_quietly_just_before_and_not_by_reset() {
        let mut record = record(Class::Tcp);
        record.saw = vec![(ms(10_001), Saw::Fin)];
        assert!(kinds(&record).is_empty());
        record.saw = vec![(ms(9000), Saw::Fin)];
        assert!(kinds(&record).is_empty());
        record.saw = vec![(ms(8800), Saw::Fin)];
        assert_eq!(kinds(&record), ["tunnel early"]);
        record.saw = vec![(ms(10_001), Saw::Reset)];
        assert_eq!(kinds(&record), ["tunnel reset"]);
    }

    #[test]
    fn a_tunnel_of_the_last_version_has_no_deadline_to_end_at() {
        let mut record = record(Class::WebSocket);
        record.version = Some(2);
        record.saw = vec![(ms(10_500), Saw::Fin)];
        assert_eq!(kinds(&record), ["tunnel early"]);
        record.saw = vec![(ms(11_000), Saw::Left)];
        assert!(kinds(&record).is_empty());
    }

    #[test]
    fn a_connect_served_by_a_replaced_version_is_lost_once_the_update_has_settled() {
        let mut record = record(Class::Connect);
        record.opened = ms(2900);
        assert!(kinds(&record).is_empty());
        record.opened = ms(3000);
        assert_eq!(kinds(&record), ["old version"]);
    }

    #[test]
    fn a_class_that_never_hears_its_words_fails_though_it_lost_nothing() {
        let mut quiet = record(Class::H2Busy);
        quiet.ended = Some(ms(9000));
        let complaints = verdict(&quiet).complaints;
        assert_eq!(
            complaints,
            [
                "never saw the first GOAWAY",
                "never saw both GOAWAYs on one connection"
            ]
        );
        quiet.saw.push((ms(2500), Saw::FirstGoaway));
        quiet
            .saw
            .push((ms(4500), Saw::FinalGoaway { last_stream_id: 9 }));
        assert!(verdict(&quiet).good());
        assert_eq!(
            verdict(&quiet).goaway_gap.map(|gap| gap.median),
            Some(ms(2000))
        );
    }

    #[test]
    fn a_busy_connection_that_hears_its_word_only_at_the_end_has_not_been_told_in_time() {
        let mut busy = record(Class::H1Busy);
        busy.ended = Some(ms(9000));
        busy.saw.push((ms(7000), Saw::CloseHeader));
        assert!(verdict(&busy).good());
        busy.saw = vec![(ms(9000), Saw::CloseHeader)];
        assert_eq!(verdict(&busy).complaints.len(), 1);
    }

    #[test]
    fn a_connection_that_outlives_its_deadline_is_complained_about() {
        let mut record = record(Class::H1Silent);
        record.saw.push((ms(12_000), Saw::Fin));
        record.ended = Some(ms(12_000));
        assert_eq!(
            verdict(&record).complaints,
            ["1 connections outlived the deadline of their version"]
        );
        record.ended = Some(ms(10_400));
        assert!(verdict(&record).good());
    }

    #[test]
    fn the_spread_of_times_names_smallest_middle_and_largest() {
        let spread = Spread::of(vec![ms(30), ms(10), ms(20)]);
        assert_eq!(
            spread,
            Some(Spread {
                count: 3,
                min: ms(10),
                median: ms(20),
                max: ms(30)
            })
        );
        assert_eq!(Spread::of(Vec::new()), None);
    }
}

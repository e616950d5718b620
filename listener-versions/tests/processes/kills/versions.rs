//! Two programs that are not the same: another number of the protocol, and the same number with
//! other features.

use super::play::Place;

#[test]
fn processes_with_two_numbers_of_the_protocol_both_name_both_and_the_old_one_serves_on() {
    let place = Place::new();
    let mut old = place.serving(1);
    let mut new = place.start_with(2, &[("VERSION", "2")]);
    let said = new.until("failed");
    assert!(
        said.ends_with(
            "the other process speaks version 1 of the handover protocol, this one version 2"
        ),
        "{said}"
    );
    let said = old.until("goes on");
    assert!(
        said.ends_with(
            "the other process speaks version 2 of the handover protocol, this one version 1"
        ),
        "{said}"
    );
    assert_eq!(place.ask(), 1);
    // And it can still be replaced.
    let _next = place.serving(3);
    assert_eq!(place.ask(), 3);
}

#[test]
fn processes_with_other_features_hand_over_and_use_none_that_only_one_has() {
    let place = Place::new();
    let mut old = place.serving(1);
    let mut new = place.start_with(2, &[("FEATURES", "2147483648")]);
    new.until("serving");
    old.until("replaced");
    assert_eq!(place.ask(), 2);
    // Back to the one without.
    let _next = place.serving(3);
    assert_eq!(place.ask(), 3);
}

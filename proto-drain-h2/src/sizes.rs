//! What a connection and a stream cost: the sizes of the public types, so that none grows unseen.

use std::fmt::Write as _;

#[test]
fn the_sizes_of_the_public_types() {
    let mut sizes = String::new();
    let mut row = |name: &str, size: usize| writeln!(sizes, "{name}: {size}").is_ok();
    // Each connection: the first three, and two words for the counts of the shared part.
    row(
        "GoawayIo, without its transport",
        size_of::<crate::GoawayIo<()>>(),
    );
    row("what its handles share", crate::handle::SHARED_SIZE);
    row(
        "H2Connection, without its server",
        size_of::<crate::H2Connection<()>>(),
    );
    #[cfg(feature = "hyper")]
    {
        type Future = crate::NoticeFirstFuture<(), (), ()>;
        row(
            "ResetFuture, of each stream, without its future",
            size_of::<crate::ResetFuture<()>>(),
        );
        row(
            "ResetBody, of each stream, without its body",
            size_of::<crate::ResetBody<()>>(),
        );
        row(
            "NoticeFirstFuture, of each stream, without its future",
            size_of::<Future>(),
        );
    }
    insta::with_settings!({ omit_expression => true }, {
        #[cfg(feature = "hyper")]
        insta::assert_snapshot!(sizes);
    });
    let connection = size_of::<crate::GoawayIo<()>>() + crate::handle::SHARED_SIZE;
    assert!(
        connection + 2 * size_of::<usize>() + size_of::<crate::H2Connection<()>>() <= 176,
        "{sizes}"
    );
}

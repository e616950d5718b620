//! jemalloc, which gives memory back when connections have closed.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Its settings are built in. Without them freed memory stays for ten seconds.
const _: () = assert!(
    option_env!("JEMALLOC_SYS_WITH_MALLOC_CONF").is_some(),
    "build edge with jemalloc in the workspace's folder, where .cargo/config.toml has its settings"
);

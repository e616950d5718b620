//! Who serves connections: the threads of one runtime, or threads with a runtime each.

use std::io;
use std::num::NonZeroUsize;
use std::thread;

use orion_drain::listener_versions::Listeners;
use orion_drain::serve::{Handler, serve};
use tokio::runtime::{Builder, Runtime};

use crate::cli::Args;
use crate::listener::EdgeListener;

/// The runtime of everything but, perhaps, connections.
pub(crate) fn main_runtime(args: &Args) -> io::Result<Runtime> {
    if args.runtime_per_worker {
        return Builder::new_current_thread().enable_all().build();
    }
    let mut builder = Builder::new_multi_thread();
    if let Some(threads) = args.concurrency {
        builder.worker_threads(threads.get());
    }
    builder.enable_all().build()
}

/// Begins to accept and to serve. A connection stays with the runtime that accepted it.
pub(crate) fn start<H: Handler<EdgeListener> + Clone>(
    args: &Args,
    listeners: &Listeners<EdgeListener>,
    handler: H,
) -> io::Result<()> {
    if !args.runtime_per_worker {
        tokio::spawn(serve(listeners, handler));
        return Ok(());
    }
    let threads = args
        .concurrency
        .or_else(|| thread::available_parallelism().ok());
    for number in 0..threads.map_or(1, NonZeroUsize::get) {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let accepting = serve(listeners, handler.clone());
        // The thread ends with the process: whatever it still serves then has had its time.
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || runtime.block_on(accepting))?;
    }
    Ok(())
}

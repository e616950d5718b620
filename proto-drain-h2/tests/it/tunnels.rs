//! CONNECT and extended CONNECT (RFC 8441): a tunnel is a stream that GOAWAY does not end.
#![cfg(all(feature = "hyper-util", feature = "h2"))]

use crate::support;

use bytes::Bytes;
use drain_signal::CloseCause;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto_drain_h2::{H2DrainSettings, RequestDrain, ResetHandle, StreamsAtDeadline};
use std::convert::Infallible;
use std::sync::OnceLock;
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

/// Who ends the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// The client.
    Client,
    /// Its handler, which sees in its request that the deadline is near.
    Handler,
    /// The deadline, which its handler is told of.
    Reset,
    /// Nobody: its handler never looks.
    Nobody,
}

/// Echoes until the client ends, or `ends` says so.
async fn echo(request: Request<Incoming>, resets: ResetHandle, ends: Ends) {
    let drain = request.extensions().get::<RequestDrain>().unwrap().handle();
    let mut io = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
    let copy = async {
        let mut bytes = [0; 64];
        while let Ok(n @ 1..) = io.read(&mut bytes).await {
            io.write_all(&bytes[..n]).await.unwrap();
        }
        // What was written is on its way; the end goes behind it.
        io.shutdown().await.ok();
    };
    let over = async {
        match ends {
            Ends::Handler => drop(drain.finishing().await),
            Ends::Reset => resets.wait().await,
            Ends::Client | Ends::Nobody => std::future::pending().await,
        }
    };
    tokio::select! {
        () = copy => {}
        () = over => {}
    }
}

/// A tunnel over a served connection, from before the drain to its end. Returns what ended it, and
/// when.
async fn plays(server: Server, extended: bool, ends: Ends) {
    let (io, served) = tokio::io::duplex(1 << 16);
    let settings = H2DrainSettings::default().with_drain_timeout(secs(2));
    let (trigger, signal) = drain_signal::channel();
    // The handle is made by `serve_with`; the tunnels get it then.
    let resets: &'static OnceLock<ResetHandle> = Box::leak(Box::new(OnceLock::new()));
    let service = service_fn(move |request: Request<Incoming>| async move {
        let protocol = request.extensions().get::<hyper::ext::Protocol>();
        assert_eq!(
            protocol.map(hyper::ext::Protocol::as_str),
            extended.then_some("websocket")
        );
        tokio::spawn(echo(request, resets.get().unwrap().clone(), ends));
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let (_, handle, ended) =
        serve_with(server, service, served, &settings, signal.watch().unwrap());
    resets.set(handle).unwrap();

    let mut client = RawClient::new(io).await;
    let mut block = vec![0x02, 7];
    block.extend(b"CONNECT");
    if extended {
        block.extend(b"\x00\x09:protocol\x09websocket\x86\x84");
    }
    block.extend(b"\x01\x09localhost");
    client.send(&frame(HEADERS, 0x4, 1, &block)).await;
    let head = client.expect(HEADERS).await;
    assert_eq!((head.payload[0], head.flags & 1), (0x88, 0));

    let start = Instant::now();
    begin(trigger, secs(8));
    client.expect(GOAWAY).await;
    client.send(&frame(DATA, 0, 1, b"in the gap")).await;
    assert_eq!(client.expect(DATA).await.payload, b"in the gap");
    assert_eq!(client.expect(GOAWAY).await.goaway_id(), 1);
    client.send(&frame(DATA, 0, 1, b"after it")).await;
    assert_eq!(client.expect(DATA).await.payload, b"after it");
    if ends == Ends::Client {
        client.send(&frame(DATA, 1, 1, b"bye")).await;
    }
    // The end of the tunnel: END_STREAM, on data or alone, or RST_STREAM, or nothing.
    let (mut end_stream, mut reset, mut data) = (None, None, Vec::<u8>::new());
    while let Some(frame) = client.next().await {
        assert_eq!(frame.stream, 1, "{frame:?}");
        match frame.kind {
            DATA => {
                data.extend(&frame.payload);
                if frame.flags & 1 != 0 {
                    end_stream = Some(frame.at - start);
                }
            }
            RST_STREAM => reset = Some((frame.at - start, frame.payload)),
            _ => panic!("{frame:?}"),
        }
    }
    let closed = start.elapsed();
    let end = ended.await.unwrap();
    let what = format!("{server:?}, extended: {extended}, {ends:?}");
    assert_eq!(end.output, Some(Ok(())), "{what}");
    match ends {
        Ends::Client => {
            assert_eq!(data, b"bye");
            assert_took(end_stream.unwrap(), secs(2));
            assert_took(closed, secs(3));
            assert_eq!((reset, end.cause), (None, CloseCause::Drained), "{what}");
        }
        Ends::Handler => {
            assert_took(end_stream.unwrap(), secs(7));
            assert_eq!(end.cause, CloseCause::Finished, "{what}");
            assert!(closed <= secs(8) + millis(2), "{what}: {closed:?}");
        }
        Ends::Reset => {
            let told = end_stream.or(reset.map(|(at, _)| at));
            assert_took(told.expect(&what), secs(8));
            assert_took(closed, secs(8));
            assert_eq!(end.cause, CloseCause::Aborted, "{what}");
        }
        Ends::Nobody => {
            assert_eq!((end_stream, reset), (None, None), "{what}");
            assert_took(closed, secs(8) + StreamsAtDeadline::GRACE);
            assert_eq!(end.cause, CloseCause::Aborted, "{what}");
        }
    }
}

macro_rules! tunnels {
    ($($name:ident: $ends:ident,)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $name() {
            for server in [Server::Hyper, Server::AutoUpgradeable] {
                for extended in [false, true] {
                    plays(server, extended, Ends::$ends).await;
                }
            }
        }
    )*};
}

tunnels! {
    a_tunnel_outlives_both_goaways_and_ends_with_its_client: Client,
    a_tunnels_handler_that_sees_the_drain_ends_it_before_the_deadline: Handler,
    a_tunnel_that_waits_for_the_reset_ends_at_the_deadline: Reset,
    a_tunnel_whose_handler_never_looks_is_cut_with_the_connection: Nobody,
}

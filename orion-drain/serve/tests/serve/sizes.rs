//! How large the futures of a connection are: what an idle connection costs beside its buffers.

use hyper::body::Incoming;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

/// Bounds, not figures: a part that grows has to be looked at.
#[tokio::test]
async fn a_connection_is_not_much_larger_than_hypers_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _first = TcpStream::connect(address).await.unwrap();
    let _second = TcpStream::connect(address).await.unwrap();
    let accepted = || async { listener.accept().await.unwrap().0 };
    let builder = auto::Builder::new(TokioExecutor::new());
    let plain =
        builder.serve_connection_with_upgrades(TokioIo::new(accepted().await), service_fn(hello));
    let server = HttpServer::new(CodecType::Auto, &HttpTimeouts::default(), Arc::new(()));
    let connection = Listener::new(DrainStrategy::Gradual).connection().unwrap();
    let ours = serve_http(accepted().await, service_fn(hello), connection, &server);
    let (plain, ours) = (size_of_val(&plain), size_of_val(&ours));
    println!("hyper-util auto {plain} bytes, serve_http {ours} bytes");
    assert!(
        ours <= plain + 2_048,
        "{ours} bytes, hyper-util auto {plain}"
    );
}

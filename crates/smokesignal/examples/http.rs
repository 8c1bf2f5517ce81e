//! HTTP/1.1 by hyper over a stream to a node that is not a neighbour:
//! `cargo run -p smokesignal-p2p --example http`

mod common;

use std::convert::Infallible;
use std::error::Error;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use smokesignal::{Acceptor, Node};

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from(format!("hello from {}", request.uri().path())))))
}

/// Serves one HTTP connection per stream.
async fn serve(mut acceptor: Acceptor) {
    while let Some(stream) = acceptor.recv().await {
        tokio::spawn(async move {
            let server = hyper::server::conn::http1::Builder::new();
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service_fn(hello)).await {
                eprintln!("a connection has failed: {error}");
            }
        });
    }
}

async fn get(node: &Node, server: smokesignal::NodeId, path: &str) -> Result<String, Box<dyn Error>> {
    let stream = TokioIo::new(node.open(server, "http").await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", server.to_string()).body(Full::<Bytes>::default())?;
    let response = sender.send_request(request).await?;
    Ok(String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (client, server, _others) = common::two_apart(false).await?;
    tokio::spawn(serve(server.accept("http")?));
    for path in ["/one", "/two"] {
        let answer = get(&client, server.id(), path).await?;
        println!("GET {path}: {answer}");
        assert_eq!(answer, format!("hello from {path}"));
    }
    Ok(())
}

#[test]
fn it_runs() {
    main().expect("it ends well");
}

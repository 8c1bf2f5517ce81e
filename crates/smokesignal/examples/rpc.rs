//! RPC by tarpc over a stream to a node that is not a neighbour:
//! `cargo run -p smokesignal-p2p --example rpc`

mod common;

use std::error::Error;
use std::future::ready;

use smokesignal::NodeStream;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::{client, context, serde_transport};
use tokio_serde::formats::Json;
use tokio_util::codec::LengthDelimitedCodec;

#[tarpc::service]
trait Shop {
    /// Returns the price of this number of apples in cents.
    async fn price(apples: u32) -> u32;
}

#[derive(Clone)]
struct Apples;

impl Shop for Apples {
    async fn price(self, _: context::Context, apples: u32) -> u32 {
        30 * apples
    }
}

/// Carries requests and responses as JSON, each after its length.
fn transport<Item, Sink>(
    stream: NodeStream,
) -> serde_transport::Transport<NodeStream, Item, Sink, Json<Item, Sink>>
where
    Item: for<'de> serde::Deserialize<'de>,
    Sink: serde::Serialize,
{
    serde_transport::new(LengthDelimitedCodec::builder().new_framed(stream), Json::default())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (customer, shop, _others) = common::two_apart(false).await?;
    let mut acceptor = shop.accept("shop")?;
    tokio::spawn(async move {
        while let Some(stream) = acceptor.recv().await {
            let requests = BaseChannel::with_defaults(transport(stream)).execute(Apples.serve());
            tokio::spawn(futures::StreamExt::for_each(requests, |request| {
                tokio::spawn(request);
                ready(())
            }));
        }
    });
    let stream = customer.open(shop.id(), "shop").await?;
    let shop = ShopClient::new(client::Config::default(), transport(stream)).spawn();
    for apples in [1, 12] {
        let price = shop.price(context::current(), apples).await?;
        println!("{apples} apples are {price} cents");
        assert_eq!(price, 30 * apples);
    }
    Ok(())
}

#[test]
fn it_runs() {
    main().expect("it ends well");
}

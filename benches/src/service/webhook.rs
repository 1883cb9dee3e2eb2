//! A webhook that answers with what its flow of one step gives.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;

use super::Served;
use super::http::Connection;
use super::load::rate;
use crate::bed::{Figure, millis, percentile};

/// Senders with a connection each.
const SENDERS: usize = 64;
const ALONE: usize = 300;
const PATH: &str = "/webhooks/bench";
const BODY: &str = r#"{"name":"nut"}"#;
/// The step gives back what the delivery says.
pub const FLOW: &str = "name: hook\n\
    triggers: [{webhook: {path: /bench, reply: output, input: '{{ trigger.body }}'}}]\n\
    input: {name: string}\n\
    steps: [{id: take, node: util.transform, with: {data: '{{ input }}', mapping: {name: name}}}]\n\
    output: '{{ steps.take.output }}'\n";

/// From a delivery to its reply: one after the other, then many senders side by side.
pub async fn replies(served: &Served) -> Vec<Figure> {
    let mut connection = Connection::open(served.http).await;
    let (mut alone, mut many) = (Vec::new(), Vec::new());
    for _ in 0..ALONE {
        let started = Instant::now();
        deliver(&mut connection).await;
        alone.push(millis(started.elapsed()));
    }
    let mut senders = Vec::new();
    for _ in 0..SENDERS {
        senders.push(Arc::new(Mutex::new(Sender::open(served).await)));
    }
    let replies = rate(senders.clone(), |sender: Arc<Mutex<Sender>>, _| async move {
        let Sender { connection, took } = &mut *sender.lock().await;
        let started = Instant::now();
        deliver(connection).await;
        took.push(millis(started.elapsed()));
    })
    .await;
    for sender in senders {
        many.append(&mut sender.lock().await.took);
    }
    let note = format!("p50 {:.1} ms", percentile(&mut many, 50));
    vec![
        Figure::new("webhook to the reply of its flow, p50", percentile(&mut alone, 50), "ms")
            .bar(5.0, 10.0),
        Figure::new("webhooks answered by their flows", replies, "replies/s")
            .bar(3_000.0, 1_500.0)
            .note(note),
    ]
}

struct Sender {
    connection: Connection,
    /// Milliseconds of each delivery.
    took: Vec<f64>,
}

impl Sender {
    async fn open(served: &Served) -> Self {
        Self { connection: Connection::open(served.http).await, took: Vec::new() }
    }
}

async fn deliver(connection: &mut Connection) {
    let (status, body) = connection.post(PATH, BODY).await;
    assert_eq!((status, &*body), (200, BODY.as_bytes()), "{}", String::from_utf8_lossy(&body));
}

//! Pairs with a board and watches it for a while: `probe LINK [ADDRESS:PORT] [SECONDS]`.
//!
//! The address takes the place of the link's (a forwarded port). The key is kept for this run only. At the end it says how many samples
//! and events came, how many samples were lost on the way, and what the agent costs.
#![forbid(unsafe_code)]

use std::error::Error;
use std::time::{Duration, Instant};

use sis_client::{Client, Delivery, Identity, pair};
use sis_protocol::wire::{AgentBody, AgentResponseBody, ExecCommand, Start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let link = arguments
        .next()
        .ok_or("usage: probe LINK [ADDRESS:PORT] [SECONDS]")?
        .parse()?;
    let (mut instead, mut seconds) = (Vec::new(), 5);
    for argument in arguments {
        match argument.parse() {
            Ok(address) => instead.push(address),
            Err(_) => seconds = argument.parse()?,
        }
    }
    let identity = Identity::generate()?;
    let board = pair(&link, &instead, &identity, "probe").await?;
    println!("paired with {} as {}", board.name, board.role);
    let client = Client::connect(&board, &identity)?;
    let welcome = client.wait_online(Duration::from_secs(15)).await?;
    println!("online: {}", welcome.hello.software);
    if let AgentResponseBody::Info(info) = client.request(AgentBody::Info).await? {
        println!("{} {} {} on {:?}", info.sysname, info.release, info.arch, info.machine);
    }
    let command = ExecCommand {
        argv: vec!["uname".into(), "-a".into()],
        has_stdin: false,
        timeout_ms: Some(5000),
    };
    match client.exec(command).await {
        Ok(exec) => {
            let (output, _, exit) = exec.collect(4096).await?;
            println!("uname: {} ({exit:?})", String::from_utf8_lossy(&output).trim());
        }
        Err(error) => println!("uname: {error}"),
    }
    watch(&client, Duration::from_secs(seconds)).await;
    Ok(())
}

async fn watch(client: &Client, for_so_long: Duration) {
    let (mut samples, mut events, mut lines) = (
        client.metrics(),
        client.events(Start::Oldest),
        client.logs(Start::Oldest),
    );
    let (mut sample_count, mut lost, mut event_count, mut line_count) = (0u64, 0, 0u64, 0u64);
    let (mut first, mut last) = (None, None);
    let end = Instant::now() + for_so_long;
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        tokio::select! {
            Some(sample) = samples.next() => {
                sample_count += 1;
                // The first sample of a connection may follow others' samples.
                lost += sample.lost_before;
                first.get_or_insert_with(|| sample.metrics.clone());
                last = Some(sample.metrics);
            }
            Some(delivery) = events.next() => match delivery {
                Delivery::Event(event) => {
                    event_count += 1;
                    println!("event {}: {:?}", event.seq, event.kind);
                }
                other => println!("{other:?}"),
            },
            Some(delivery) = lines.next() => if let Delivery::Event(_) = delivery { line_count += 1 },
            () = tokio::time::sleep(rest) => {}
        }
    }
    println!("{sample_count} samples ({lost} lost), {event_count} events, {line_count} log lines");
    let resident = |metrics: &Option<sis_protocol::control::Metrics>| {
        metrics
            .as_ref()
            .and_then(|metrics| metrics.agent_rss_bytes)
            .unwrap_or_default()
    };
    println!(
        "agent: {} bytes resident at first, {} at last",
        resident(&first),
        resident(&last)
    );
    if let Some(metrics) = last {
        println!("last sample: {metrics:?}");
    }
}

//! `metrics`.

use super::{Context, print_json};
use crate::arguments::Metrics as Wishes;
use crate::failure::{Failure, OrFail, Outcome, write};
use crate::link::{self, Link, request_failure};
use sis_protocol::control::Metrics;
use std::process::ExitCode;

pub(crate) fn run(context: &Context, wishes: &Wishes) -> Outcome {
    link::block_on(async {
        let link = Link::connect(context, wishes.board.as_deref()).await?;
        if !wishes.follow {
            let metrics = link
                .client
                .metrics_once()
                .await
                .map_err(|error| request_failure(&error))?;
            if context.is_json {
                return print_json(&metrics);
            }
            for (name, value) in rows(&metrics)? {
                println!("{name:<26}{value}");
            }
            return Ok(ExitCode::SUCCESS);
        }
        let mut samples = link.client.metrics();
        while let Some(sample) = samples.next().await {
            let text = if context.is_json {
                serde_json::json!({
                    "seq": sample.seq, "tsNs": sample.ts_ns, "lostBefore": sample.lost_before,
                    "metrics": sample.metrics,
                })
                .to_string()
            } else {
                let rows = rows(&sample.metrics)?;
                rows.iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            write(&mut std::io::stdout(), format!("{text}\n").as_bytes())?;
        }
        Err(Failure::new("metrics.ended", "the connection has ended"))
    })
}

/// Name and value of everything that is measured: what the type says, so that nothing is forgotten here.
fn rows(metrics: &Metrics) -> Outcome<Vec<(String, String)>> {
    let value = serde_json::to_value(metrics).or_fail("metrics.json")?;
    let mut rows = Vec::new();
    flatten("", &value, &mut rows);
    Ok(rows)
}

fn flatten(name: &str, value: &serde_json::Value, rows: &mut Vec<(String, String)>) {
    let under = |key: &str| {
        if name.is_empty() {
            key.to_owned()
        } else {
            format!("{name}.{key}")
        }
    };
    match value {
        serde_json::Value::Null => {}
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                flatten(&under(key), value, rows);
            }
        }
        serde_json::Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&under(&index.to_string()), value, rows);
            }
        }
        serde_json::Value::String(text) => rows.push((name.to_owned(), text.clone())),
        other => rows.push((name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sis_protocol::control::CpuTimes;

    #[test]
    fn what_is_not_measured_is_not_shown() {
        let cpus = vec![CpuTimes {
            user_ns: 5,
            ..CpuTimes::default()
        }];
        let metrics = Metrics {
            uptime_ns: Some(7),
            cpus,
            ..Metrics::default()
        };
        let rows = rows(&metrics).expect("serialises");
        assert!(rows.contains(&("uptimeNs".into(), "7".into())));
        assert!(rows.contains(&("cpus.0.userNs".into(), "5".into())));
        assert!(!rows.iter().any(|(name, _)| name.contains("temperature")));
    }
}

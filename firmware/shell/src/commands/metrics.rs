//! `metrics`: what the kernel measures, a `METRIC name=value` line each. What is not measured has no line.

use std::process::ExitCode;

use serde_json::Value;
use sis_protocol::control::{RequestBody, ResponseBody};

use super::fail;
use crate::control::{AskError, ask};

pub(super) fn command(arguments: &[&str]) -> ExitCode {
    let prefixes = arguments;
    let metrics = match ask(RequestBody::Metrics) {
        Ok(ResponseBody::Metrics(metrics)) => metrics,
        Ok(_) => return fail("metrics", &AskError::Unexpected),
        Err(error) => return fail("metrics", &error),
    };
    let value = match serde_json::to_value(&*metrics) {
        Ok(value) => value,
        Err(error) => return fail("metrics", &error),
    };
    let mut lines = Vec::new();
    flatten("", &value, &mut lines);
    for (name, number) in lines {
        if prefixes.is_empty() || prefixes.iter().any(|p| name.starts_with(p)) {
            println!("METRIC {name}={number}");
        }
    }
    ExitCode::SUCCESS
}

/// Every whole number in a JSON value under the names that lead to it: `{"cpus":[{"userNs":1}]}` is `cpus_0_user_ns=1`.
fn flatten(name: &str, value: &Value, out: &mut Vec<(String, i128)>) {
    let join = |part: &str| {
        if name.is_empty() {
            part.to_owned()
        } else {
            format!("{name}_{part}")
        }
    };
    match value {
        Value::Number(number) => {
            let number = number
                .as_i64()
                .map(i128::from)
                .or_else(|| number.as_u64().map(i128::from));
            out.extend(number.map(|n| (name.to_owned(), n)));
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                flatten(&join(&snake_case(field)), value, out);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                // `cpus` holds CPUs: each is `cpu0`, `cpu1`, ...
                let one = name.strip_suffix('s').unwrap_or(name);
                flatten(&format!("{one}{at}"), value, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{flatten, snake_case};
    use serde_json::json;

    #[test]
    fn numbers_get_the_names_that_lead_to_them() {
        let value = json!({"bootTimeNs": 5, "strategy": "balanced", "load1Milli": null,
            "cpus": [{"userNs": 1}, {"userNs": 2}], "net": {"rxBytes": 18446744073709551615_u64}, "temperatureMilliC": -3});
        let mut out = Vec::new();
        flatten("", &value, &mut out);
        out.sort();
        let lines: Vec<String> = out.iter().map(|(name, n)| format!("{name}={n}")).collect();
        assert_eq!(
            lines,
            [
                "boot_time_ns=5",
                "cpu0_user_ns=1",
                "cpu1_user_ns=2",
                "net_rx_bytes=18446744073709551615",
                "temperature_milli_c=-3"
            ]
        );
    }

    #[test]
    fn names_are_as_the_wire_has_them() {
        assert_eq!(snake_case("faultP99Ns"), "fault_p99_ns");
        assert_eq!(snake_case("cntfrqHz"), "cntfrq_hz");
    }
}

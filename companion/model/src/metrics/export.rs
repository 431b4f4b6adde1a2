//! Series as files: CSV for a spreadsheet, JSON for a program.

use std::fmt::Write;

use serde::Serialize;

use super::{MetricsStore, Point, SeriesName, Summary, Unit};

/// One series in a JSON export.
#[derive(Serialize)]
struct Exported<'a> {
    name: &'a SeriesName,
    unit: Unit,
    summary: Option<Summary>,
    points: Vec<Point>,
}

impl MetricsStore {
    /// All points from `from_ms` to `to_ms` as CSV (RFC 4180): a header, then `series,unit,time_ms,value`, by series and time. Gaps are not
    /// in it, a missing row says as much.
    #[must_use]
    pub fn to_csv(&self, from_ms: u64, to_ms: u64) -> String {
        let mut csv = String::from("series,unit,time_ms,value\r\n");
        for (name, series) in self.series() {
            let unit = unit_name(series.unit());
            let points = series.points(from_ms, to_ms);
            for point in points.iter().filter(|point| !point.is_gap()) {
                // Writing to a string cannot fail; a name holds nothing that would have to be quoted.
                let _ = write!(csv, "{name},{unit},{},{}\r\n", point.at_ms, point.value);
            }
        }
        csv
    }

    /// All points from `from_ms` to `to_ms` as JSON: `[{"name", "unit", "summary", "points": [{"ts", "value"}]}]`, by name; a gap is a point
    /// whose value is null.
    #[must_use]
    pub fn to_json(&self, from_ms: u64, to_ms: u64) -> String {
        let all: Vec<_> = self
            .series()
            .map(|(name, series)| Exported {
                name,
                unit: series.unit(),
                summary: series.summary(from_ms, to_ms),
                points: series.points(from_ms, to_ms),
            })
            .collect();
        // Names and numbers: nothing that JSON has no word for.
        serde_json::to_string(&all).unwrap_or_default()
    }
}

const fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "count",
        Unit::PerSecond => "perSecond",
        Unit::Bytes => "bytes",
        Unit::BytesPerSecond => "bytesPerSecond",
        Unit::Nanoseconds => "nanoseconds",
        Unit::Percent => "percent",
        Unit::Celsius => "celsius",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> MetricsStore {
        let mut store = MetricsStore::default();
        let mut record = |name: &str, unit, at_ms, value| {
            let name = name.parse().unwrap();
            store.record(&name, unit, Point::new(at_ms, value), 20_000).unwrap();
        };
        record("b", Unit::Percent, 1000, 12.5);
        record("b", Unit::Percent, 9000, 1e-7);
        record("a.x", Unit::BytesPerSecond, 1000, -3.0);
        store
    }

    #[test]
    fn csv_has_a_row_a_point() {
        let expected = "series,unit,time_ms,value\r\n\
            a.x,bytesPerSecond,1000,-3\r\n\
            b,percent,1000,12.5\r\n\
            b,percent,9000,0.0000001\r\n";
        assert_eq!(store().to_csv(0, 10_000), expected);
        assert_eq!(store().to_csv(2000, 3000), "series,unit,time_ms,value\r\n");
    }

    #[test]
    fn json_says_all_and_the_same_units() {
        let json: serde_json::Value = serde_json::from_str(&store().to_json(0, 10_000)).unwrap();
        assert_eq!(json[0]["name"], "a.x");
        assert_eq!(json[1]["summary"]["count"], 2);
        assert_eq!(json[1]["points"][1]["value"], serde_json::Value::Null);
        assert_eq!(json[1]["points"][2], serde_json::json!({ "ts": 9000, "value": 1e-7 }));
        for series in json.as_array().unwrap() {
            let name = series["name"].as_str().unwrap().parse().unwrap();
            assert_eq!(series["unit"], unit_name(store().get(&name).unwrap().unit()));
        }
    }
}

//! Values of Parquet as JSON, as every column travels.
//!
//! Numbers that are not finite are null. Dates and times are ISO 8601 text (UTC), decimals text of all their digits, bytes hexadecimal text unless
//! they are UTF-8. In a struct within a column, fields that are null are left out: writers fill up the fields that a struct does not have.

use std::fmt::Write as _;

use parquet::record::{Field, Row};
use serde_json::{Map, Number, Value};

/// The columns of a row.
pub(super) fn columns(row: Row) -> Map<String, Value> {
    row.into_columns().into_iter().map(|(name, field)| (name, json(&field))).collect()
}

fn json(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float16(value) => number(f64::from(*value)),
        Field::Float(value) => number(f64::from(*value)),
        Field::Double(value) => number(*value),
        Field::Decimal(_) => field.to_string().into(),
        Field::Str(text) => text.as_str().into(),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.into(),
            Err(_) => hexadecimal(bytes.data()).into(),
        },
        Field::Date(days) => date(i64::from(*days)).into(),
        Field::TimeMillis(millis) => time(i64::from(*millis).saturating_mul(1000)).into(),
        Field::TimeMicros(micros) => time(*micros).into(),
        Field::TimestampMillis(millis) => timestamp(millis.saturating_mul(1000)).into(),
        Field::TimestampMicros(micros) => timestamp(*micros).into(),
        Field::Group(row) => {
            let fields = row.get_column_iter().map(|(name, field)| (name.clone(), json(field)));
            Value::Object(fields.filter(|(_, value)| !value.is_null()).collect())
        }
        Field::ListInternal(list) => list.elements().iter().map(json).collect(),
        Field::MapInternal(map) => {
            let key = |field: &Field| match json(field) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            Value::Object(map.entries().iter().map(|(name, value)| (key(name), json(value))).collect())
        }
    }
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const DAY: i64 = 86_400_000_000;

/// Of days since 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn date(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Of microseconds since midnight.
fn time(micros: i64) -> String {
    let micros = micros.rem_euclid(DAY);
    let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if rest != 0 {
        let _ = write!(text, ".{rest:06}");
    }
    text
}

/// Of microseconds since 1970-01-01.
fn timestamp(micros: i64) -> String {
    format!("{}T{}Z", date(micros.div_euclid(DAY)), time(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_those_of_the_calendar() {
        // Python: (datetime.date(1970, 1, 1) + datetime.timedelta(days)).isoformat().
        for (days, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (-719_162, "0001-01-01"),
        ] {
            assert_eq!(date(days), text);
        }
        assert_eq!(timestamp(1_700_000_000_123_456), "2023-11-14T22:13:20.123456Z");
        assert_eq!((timestamp(-1_000_000), time(1)), ("1969-12-31T23:59:59Z".into(), "00:00:00.000001".into()));
    }

    #[test]
    fn what_json_does_not_have_is_null_or_text() {
        assert_eq!(json(&Field::Double(f64::NAN)), Value::Null);
        assert_eq!(json(&Field::Float(0.5)), Value::from(0.5));
        assert_eq!(json(&Field::Bytes(vec![0xff, 0x01].into())), Value::from("ff01"));
        assert_eq!(json(&Field::Bytes(b"text".to_vec().into())), Value::from("text"));
        assert!(date(i64::from(i32::MAX)).len() > 4 && timestamp(i64::MIN).ends_with('Z'));
    }
}

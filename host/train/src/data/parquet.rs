//! Parquet: rows through the format's record assembly, one row group after the other.

use std::any::Any;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::basic::{ConvertedType, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::schema::types::ColumnDescriptor;

use super::source::Row;
use super::{DataError, Place, value};

/// Reads one row at a time; a page of each column is held.
pub(super) struct ParquetRows {
    path: PathBuf,
    rows: RowIter<'static>,
    number: u64,
}

impl ParquetRows {
    pub(super) fn open(path: &Path, file: File) -> Result<Self, DataError> {
        let reader = guarded(path, || SerializedFileReader::new(file))?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        if let Some(column) = schema.columns().iter().find(|column| !is_known(column)) {
            return Err(DataError::Damaged {
                path: path.to_owned(),
                what: format!(
                    "has a column `{}` of a type that is not read: {:?}",
                    column.path(),
                    column.converted_type()
                ),
                hint: "leave the column out when writing the file, or write it as text or numbers".into(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            rows: guarded(path, || Ok(RowIter::from_file_into(Box::new(reader))))?,
            number: 0,
        })
    }

    fn step(&mut self) -> Result<Option<Row>, DataError> {
        let rows = &mut self.rows;
        let row = guarded(&self.path, || rows.next().transpose())?;
        let Some(row) = row else { return Ok(None) };
        self.number += 1;
        let place = Place { path: self.path.clone(), number: self.number, is_row: true };
        Ok(Some((place, guarded(&self.path, || Ok(value::columns(row)))?)))
    }
}

impl Iterator for ParquetRows {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

/// Whether the record assembly can read this column; it panics on others.
fn is_known(column: &ColumnDescriptor) -> bool {
    use ConvertedType as Type;

    match (column.physical_type(), column.converted_type()) {
        (_, Type::NONE) | (Physical::BOOLEAN | Physical::INT96 | Physical::FLOAT | Physical::DOUBLE, _) => true,
        (Physical::INT32, converted) => matches!(
            converted,
            Type::INT_8
                | Type::INT_16
                | Type::INT_32
                | Type::UINT_8
                | Type::UINT_16
                | Type::UINT_32
                | Type::DATE
                | Type::TIME_MILLIS
                | Type::DECIMAL
        ),
        (Physical::INT64, converted) => matches!(
            converted,
            Type::INT_64
                | Type::UINT_64
                | Type::TIME_MICROS
                | Type::TIMESTAMP_MILLIS
                | Type::TIMESTAMP_MICROS
                | Type::DECIMAL
        ),
        (Physical::BYTE_ARRAY, converted) => {
            matches!(converted, Type::UTF8 | Type::ENUM | Type::JSON | Type::BSON | Type::DECIMAL)
        }
        (Physical::FIXED_LEN_BYTE_ARRAY, converted) => matches!(converted, Type::DECIMAL),
    }
}

/// The library checks much of a file by assertions: on a damaged one a panic means the same as an error.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, DataError> {
    let what = match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => message(&*panic),
    };
    Err(DataError::Damaged {
        path: path.to_owned(),
        what: format!("is damaged, ends too soon, or is of a kind that is not read ({what})"),
        hint: "fetch or write it again; `pyarrow.parquet.read_table` checks it".into(),
    })
}

fn message(panic: &dyn Any) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("unknown").to_owned()
}

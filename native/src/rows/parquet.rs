//! Rows of Parquet files: nested columns become JSON.

use std::fs::File;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use anyhow::{Context, Result};
use serde_json::Value;
use wgpu_sft::Result as RowResult;
use wgpu_sft::data::{Place, Reading, Recogniser, Row};

/// Call `each` with every row, or what is wrong with it, and where it is.
pub fn for_each_row(
    file: File,
    reading: &Reading,
    mut each: impl FnMut(Place, RowResult<Row>) -> RowResult<()>,
) -> Result<()> {
    let mut recogniser = Recogniser::new(reading);
    for_each_json(file, |place, json| each(place, recogniser.row(place, Ok(json))))
}

/// Call `each` with every row as JSON, and where it is.
pub fn for_each_json(file: File, mut each: impl FnMut(Place, Value) -> RowResult<()>) -> Result<()> {
    let file = SerializedFileReader::new(file).context("not a Parquet file, or a damaged one")?;
    for (row, number) in file.get_row_iter(None).context("reading Parquet")?.zip(1..) {
        // A page that cannot be unpacked hides the rows behind it.
        let row = row.with_context(|| format!("row {number}: reading Parquet"))?;
        let place = Place {
            line: None,
            row: Some(number),
        };
        each(place, row.to_json_value())?;
    }
    Ok(())
}

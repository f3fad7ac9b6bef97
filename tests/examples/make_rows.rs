//! Prints rows of the size of Alpaca's, to time checks and training on: `make_rows ROWS [SEED]`. Of a hundred, one repeats another row and
//! one nearly does.

use std::io::{BufWriter, Write, stdout};

use wgpu_sft_tests::made_rows::alpaca;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|text| text.parse::<u32>().expect("a number"));
    let (rows, seed) = (arguments.next().expect("how many rows"), arguments.next().unwrap_or(1));
    let mut out = BufWriter::new(stdout().lock());
    for row in 0..rows {
        let mut json = match row % 100 {
            99 => alpaca(seed, row / 2),
            49 => alpaca(seed, row / 3),
            _ => alpaca(seed, row),
        };
        if row % 100 == 49 {
            let longer = format!("{} That is all.", json["output"].as_str().unwrap_or_default());
            json["output"] = longer.into();
        }
        writeln!(out, "{json}")?;
    }
    out.flush()
}

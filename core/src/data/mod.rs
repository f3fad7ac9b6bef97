//! Rows, conversations, rendered text, tokens with a mask, packed batches.

mod batch;
mod bounds;
mod chat;
mod examples;
mod jinja;
mod mix;
mod order;
mod pack;
mod prepare;
mod pretokenize;
pub mod preview;
pub(crate) mod python;
pub mod quality;
mod rows;
mod settings;
mod spans;
pub mod split;
mod tally;
pub mod tasks;
mod template;
mod tokenizer;
mod trusted;

pub use batch::{Example, IGNORE, MicroBatch};
pub use chat::{Conversation, Message, TrainOn, terminators};
pub use examples::{ContentHash, Examples};
pub use mix::{Group, Mix, Mixture};
pub use order::Order;
pub use pack::{micro_batches, pack};
pub use prepare::{Dataset, Intake, Overlong, Preparation, Prepared, Report};
pub use rows::{
    AlpacaStyle, Body, Columns, FIELDS, Format, Place, Reading, Recogniser, Row, Segment, Shape, Source, Turn,
    alpaca_prompt, for_each_row,
};
pub use settings::RowSettings;
pub use tally::{TalliedFile, Tally};
pub use template::{ChatTemplate, RenderOptions, Rendered};
pub use tokenizer::{TextStream, Tokenizer, TokenizerConfig};

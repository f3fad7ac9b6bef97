//! Rows, conversations, rendered text, tokens with a mask, packed batches.

mod batch;
mod chat;
mod order;
mod pack;
mod prepare;
mod python;
pub mod quality;
mod rows;
pub mod split;
pub mod tasks;
mod template;
mod tokenizer;

pub use batch::{Example, IGNORE, MicroBatch};
pub use chat::{Conversation, Message, terminators};
pub use order::Order;
pub use pack::{micro_batches, pack};
pub use prepare::{Dataset, Overlong, Preparation, Report};
pub use rows::{
    AlpacaStyle, Body, Columns, FIELDS, Format, Reading, Recogniser, Row, Segment, Shape, Source, Turn, for_each_row,
};
pub use template::{ChatTemplate, RenderOptions, Rendered};
pub use tokenizer::{TextStream, Tokenizer, TokenizerConfig};

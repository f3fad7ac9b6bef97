//! The byte-level BPE tokenizer, trained on the corpus.

use anyhow::{Result, anyhow};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, TokenizerBuilder};

/// Tokens beside those of text: the end of a page, the two turns' headers, the end of a turn. The corpus has the first alone.
pub const SPECIAL: [&str; 4] = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"];

/// The bytes of `tokenizer.json`, with a vocabulary of `size`.
///
/// # Errors
/// What the trainer refuses.
pub fn tokenizer(corpus: &[String], size: usize) -> Result<String> {
    let refused = |e: tokenizers::Error| anyhow!("training the tokenizer: {e}");
    let mut tokenizer =
        TokenizerBuilder::<BPE, NormalizerWrapper, ByteLevel, PostProcessorWrapper, DecoderWrapper>::new()
            .with_model(BPE::default())
            .with_pre_tokenizer(Some(ByteLevel::new(false, false, true)))
            .with_decoder(Some(ByteLevel::new(false, false, true).into()))
            .build()
            .map_err(refused)?;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(size)
        .show_progress(false)
        .special_tokens(SPECIAL.map(|token| AddedToken::from(token, true)).to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    tokenizer.train(&mut trainer, corpus.iter()).map_err(refused)?;
    tokenizer.to_string(true).map_err(refused)
}

//! The one error type, sorted by what the reader must do.

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, sorted by what the reader must do about it.
///
/// The core does no I/O, so no variant names a file: whoever opened the file adds its name.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A row, a label or a file of rows is not usable: mend the data.
    #[error("{}{why}", .line.map(|l| format!("line {l}: ")).unwrap_or_default())]
    Data {
        /// Line in the file (from 1), where known. Where lines do not tell rows apart, `why` has the row's number.
        line: Option<usize>,
        /// What is wrong with it.
        why: String,
    },
    /// The chat template cannot be parsed, rendered or verified.
    #[error("chat template: {why}")]
    Template {
        /// What is wrong with it.
        why: String,
    },
    /// A setting or a field of `config.json`, `adapter_config.json` or GGUF metadata is missing, wrong or not supported.
    #[error("{field}: {why}")]
    Config {
        /// The field as the file or the command line spells it.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// A tensor or a weight file is missing, truncated, corrupted or of the wrong shape.
    #[error("{name}: {why}")]
    Weights {
        /// The tensor, or the part of the file.
        name: String,
        /// What was wanted and what was found.
        why: String,
    },
    /// The work does not fit this adapter.
    #[error("{what} needs {need} bytes, {have} are available: {hint}")]
    TooLarge {
        /// What does not fit.
        what: String,
        /// Bytes needed.
        need: u64,
        /// Bytes available.
        have: u64,
        /// What to change.
        hint: String,
    },
    /// The loss or a gradient is not finite; the weights are those before this step.
    #[error("step {step}: {why}")]
    Diverged {
        /// The optimizer step, from 1.
        step: u64,
        /// Which number is not finite.
        why: String,
    },
    /// The device, the driver or a shader failed.
    #[error("GPU, {doing}: {why}")]
    Gpu {
        /// What was being done.
        doing: String,
        /// What the driver said.
        why: String,
    },
    /// A checkpoint does not belong to this run, or is damaged.
    #[error("checkpoint: {why}")]
    Checkpoint {
        /// What differs or is missing.
        why: String,
    },
    /// Two steps are under way, the metrics of neither have been read: read one, then come back.
    #[error("busy: two steps are in flight")]
    Busy,
}

impl Error {
    /// A [`Error::Data`] without a line.
    pub fn data(why: impl Into<String>) -> Self {
        Self::Data {
            line: None,
            why: why.into(),
        }
    }

    /// A [`Error::Template`].
    pub fn template(why: impl Into<String>) -> Self {
        Self::Template { why: why.into() }
    }

    /// A [`Error::Config`].
    pub fn config(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Config {
            field: field.into(),
            why: why.into(),
        }
    }

    /// A [`Error::Weights`].
    pub fn weights(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Weights {
            name: name.into(),
            why: why.into(),
        }
    }

    /// A [`Error::Gpu`].
    pub fn gpu(doing: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Gpu {
            doing: doing.into(),
            why: why.into(),
        }
    }

    /// A [`Error::Checkpoint`].
    pub fn checkpoint(why: impl Into<String>) -> Self {
        Self::Checkpoint { why: why.into() }
    }

    /// The same error with its line set, for rows parsed one by one.
    pub fn at_line(self, line: usize) -> Self {
        match self {
            Self::Data { line: None, why } => Self::Data { line: Some(line), why },
            other => other,
        }
    }
}

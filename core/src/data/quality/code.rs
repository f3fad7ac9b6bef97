//! What can be found in rows: a name, how serious it is, and what to do about it.

use serde::{Deserialize, Serialize};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Training on such rows teaches something wrong, or measures it wrongly.
    Error,
    /// Likely a flaw: look at the examples.
    Warning,
    /// Something to know.
    Note,
}

impl Severity {
    /// `error`, `warning` or `note`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One `match` arm for each finding: everything that is said about it is in one place.
macro_rules! codes {
    ($($variant:ident $name:literal $severity:ident, $title:literal, $advice:literal;)*) => {
        /// A kind of finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// All of them, the most serious first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// In kebab case, as reports and `--drop` spell it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How much it matters.
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What such a row is, as a plural.
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What to do about it.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$variant => $advice,)* }
            }
        }
    };
}

codes! {
    Unreadable "unreadable" Error, "rows that cannot be read",
        "Mend the line; training stops at it.";
    Unpreparable "unpreparable" Error, "rows that cannot be tokenised for this model",
        "Mend the row, or choose a chat template that can render it.";
    Overlong "overlong" Error, "rows longer than the limit",
        "Raise --max-length, shorten them, or train with --overlong drop; truncating cuts off how an answer ends.";
    ZeroTarget "zero-target" Error, "rows in which no token is learnt",
        "Add the answer, or supervise it: such a row costs time and teaches nothing.";
    UnsupervisedTerminator "unsupervised-terminator" Error, "rows whose answer ends without a learnt terminator",
        "End the supervised tokens with the token that ends a turn; a model trained without it does not stop.";
    DoubleBos "double-bos" Error, "rows that begin with two BOS tokens",
        "Take one away: generation will see one.";
    RoleOrder "role-order" Error, "rows whose turns are out of order",
        "System first, then user and assistant in turn, tool results after a call, the assistant last.";
    EmptyAnswer "empty-answer" Error, "rows with an empty answer",
        "Write the answer or drop the row; it teaches the model to say nothing.";
    SecretKey "secret-key" Error, "rows with what looks like a secret key",
        "Revoke the key if it is real, then remove it: a model can repeat what it was trained on.";
    PaymentData "payment-data" Error, "rows with what looks like a card or account number",
        "Remove it: its check digits are right, so it may be a person's.";
    EvalDuplicate "eval-duplicate" Error, "training rows that are in the held-out files (same row or same question)",
        "Drop them from training (`data clean --eval-data`), or results on the held-out rows mean little.";
    EvalNearDuplicate "eval-near-duplicate" Error, "training rows that are nearly a held-out row",
        "Drop them from training (`data clean --eval-data`), or split by cluster (`data split --by cluster`).";
    EvalOverlap "eval-overlap" Warning, "held-out rows half of whose word sequences occur in training",
        "Look at the examples: shared boilerplate is harmless, a shared passage or answer is not.";
    ExactDuplicate "exact-duplicate" Warning, "rows that repeat an earlier row",
        "Drop the repeats (`data clean`), unless the repetition is meant as a weight.";
    NearDuplicate "near-duplicate" Warning, "rows that nearly repeat an earlier row",
        "Keep one of each cluster (`data clean`), or keep clusters on one side of a split (`data split --by cluster`).";
    ConflictingAnswer "conflicting-answer" Warning, "rows that answer an earlier row's question differently",
        "Fine for open writing; elsewhere decide which answer is right.";
    TruncatedAnswer "truncated-answer" Warning, "rows whose answer seems cut off",
        "Complete or drop them; they teach the model to stop in the middle.";
    EmptyQuestion "empty-question" Warning, "rows with an empty question",
        "Write the question or drop the row; it teaches the model to answer at random.";
    PlaceholderAnswer "placeholder-answer" Warning, "rows whose answer is a placeholder",
        "Write the answer or drop the row.";
    CopiedAnswer "copied-answer" Warning, "rows whose answer repeats the question",
        "Check that copying is the task; otherwise drop them.";
    TemplateTag "template-tag" Warning, "rows with a chat template's tags in their text",
        "Remove the tags, and split the text into turns where it holds several: the template adds its own.";
    EncodingDamage "encoding-damage" Warning, "rows with damaged characters",
        "Read the source again with its true encoding (usually UTF-8).";
    MarkupLeftover "markup-leftover" Warning, "rows with left-over HTML",
        "Decode the entities and strip the tags, unless HTML is what the row is about.";
    LanguageMismatch "language-mismatch" Warning, "rows answered in another language than asked",
        "Check that the answer belongs to the question.";
    SelfIdentification "self-identification" Warning, "rows in which an assistant speaks of being some other model",
        "Rewrite them in your model's voice or drop them; otherwise yours will claim to be that one.";
    PersonalData "personal-data" Warning, "rows with what looks like an e-mail address or phone number",
        "Remove or replace them, unless they are public or made up.";
    FlaggedTerm "flagged-term" Note, "rows with a term of the screen's list",
        "A word list knows no context: it misses much and flags harmless uses. Read the examples and judge.";
}

impl Code {
    /// The finding that a name stands for.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name() == name)
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom(format!("{name:?} is no finding")))
    }
}

/// A set of codes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Codes(u64);

impl Codes {
    /// Add one.
    pub fn insert(&mut self, code: Code) {
        self.0 |= 1 << code as u32;
    }

    /// Whether it is in the set.
    pub fn contains(self, code: Code) -> bool {
        self.0 & (1 << code as u32) != 0
    }

    /// Those that are in the set, the most serious first.
    pub fn iter(self) -> impl Iterator<Item = Code> {
        Code::ALL.iter().copied().filter(move |&code| self.contains(code))
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in both sets.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<Code> for Codes {
    fn from_iter<I: IntoIterator<Item = Code>>(codes: I) -> Self {
        let mut set = Self::default();
        codes.into_iter().for_each(|code| set.insert(code));
        set
    }
}

//! PURE: what becomes of a sentence, and why one is not said.

/// Why a sentence is not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It cites a passage that does not exist, or one that does not say so.
    Citation,
    /// An amount, a duration, a percentage, a time or a date that the passages do not give.
    Quantity,
    /// It denies what the passages affirm, or the other way round.
    Negation,
    /// Somebody or something that the passages do not name.
    Name,
    /// A host or an e-mail address that the passages do not give.
    Address,
    /// Something done or promised for this customer: a desk that reads has done nothing.
    Deed,
    /// A question for a password or a card number.
    Secret,
    /// Too few of its words are the passages'.
    Words,
    /// The passages are in another language.
    Language,
    /// The model tells its rules.
    Rules,
}

impl Reason {
    /// The word for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Citation => "citation",
            Self::Quantity => "quantity",
            Self::Negation => "negation",
            Self::Name => "name",
            Self::Address => "address",
            Self::Deed => "deed",
            Self::Secret => "secret",
            Self::Words => "words",
            Self::Language => "language",
            Self::Rules => "rules",
        }
    }
}

/// What becomes of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The passages say so.
    Supported,
    /// It claims nothing and may be said.
    Courtesy,
    /// It claims nothing and says nothing: left out.
    Bare,
    /// The model says that it does not know.
    Ignorance,
    Unsupported(Reason),
}

//! How much a source has to do, asked by those who read it beside its own work.

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadQuestions {
    /// How many statements it runs at this moment.
    pub running: bool,
    /// How many old versions of rows it keeps for views that are open.
    pub history: bool,
    /// A question of the operator's own, in the source's words; its answer is one number.
    pub query: Option<String>,
}

/// What the source answers; none for what was not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// See [`LoadQuestions`].
    pub running: Option<u64>,
    /// See [`LoadQuestions`].
    pub history: Option<u64>,
    /// See [`LoadQuestions`].
    pub answer: Option<f64>,
}

//! Named points at which a test may stop the process for good, and flaws that it may plant: the form with feature `faults`.
//!
//! A kill at a random moment seldom falls between "sent" and "answered". So the places where the outcome is unknown call
//! [`point`], and a test build installs a function there that may end the process. A test that shows what a rule is for leaves
//! the rule out: it plants a flaw, and must see the damage. Product builds have the empty form.

use std::sync::OnceLock;

static HOOK: OnceLock<fn(&'static str)> = OnceLock::new();
static FLAW: OnceLock<String> = OnceLock::new();

/// Installs the function that is called at every point. Only the first call counts.
pub fn install(hook: fn(&'static str)) {
    HOOK.get_or_init(|| hook);
}

/// The process reached the named point.
pub fn point(name: &'static str) {
    if let Some(hook) = HOOK.get() {
        hook(name);
    }
}

/// Plants the flaw of that name. Only the first call counts.
pub fn plant(flaw: String) {
    FLAW.get_or_init(|| flaw);
}

/// Whether a test has planted this flaw.
pub fn is_planted(flaw: &'static str) -> bool {
    FLAW.get().is_some_and(|planted| planted == flaw)
}

//! Named points at which a test may stop the process for good: the form with feature `faults`.
//!
//! A kill at a random moment seldom falls between "sent" and "answered". So the places where the outcome is unknown call
//! [`point`], and a test build installs a function there that may end the process. Product builds have the empty form.

use std::sync::OnceLock;

static HOOK: OnceLock<fn(&'static str)> = OnceLock::new();

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

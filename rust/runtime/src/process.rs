//! The process that loaded the library. A forked child inherits its memory and locks, but only the thread that forked.

use std::sync::OnceLock;

static LOADED_BY: OnceLock<u32> = OnceLock::new();

/// Remembers this process as the one that has the threads; called once, when the extension is loaded.
pub fn remember() {
    LOADED_BY.get_or_init(std::process::id);
}

/// Whether the caller is a forked child of the process that [`remember`] was called in.
pub fn forked() -> bool {
    LOADED_BY.get().is_some_and(|&pid| pid != std::process::id())
}

//! Settings from environment variables. A setting that cannot be met is an error that names its variable.

use fractal_kernels::KernelError;
use fractal_kernels::error::Result;
use std::ffi::{OsStr, OsString};

/// The number of threads that run a call, 1 to 1024.
pub const NUM_THREADS: &str = "FRACTAL_CORE_NUM_THREADS";
/// The SIMD level by name.
pub const SIMD: &str = "FRACTAL_CORE_SIMD";

/// The thread count that the environment sets.
pub fn threads() -> Result<Option<usize>> {
    std::env::var_os(NUM_THREADS).map(|text| thread_count(&text)).transpose()
}

/// The SIMD level that the environment names.
pub(crate) fn simd() -> Option<OsString> {
    std::env::var_os(SIMD)
}

fn thread_count(text: &OsStr) -> Result<usize> {
    let text = text.to_string_lossy();
    match text.trim().parse() {
        Ok(n) if (1..=1024).contains(&n) => Ok(n),
        _ => Err(KernelError::value(NUM_THREADS, format!("{text:?}"), "a whole number from 1 to 1024")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fractal_kernels::ErrorKind;

    #[test]
    fn thread_counts_in_range() {
        for (text, n) in [("1", 1), (" 8\n", 8), ("1024", 1024), ("+3", 3)] {
            assert_eq!(thread_count(OsStr::new(text)), Ok(n));
        }
    }

    #[test]
    fn other_thread_counts_are_refused_by_name() {
        for text in ["", "0", "-1", "1025", "2.0", "two", "99999999999999999999999"] {
            let error = thread_count(OsStr::new(text)).unwrap_err();
            assert_eq!((error.kind, error.argument), (ErrorKind::Value, NUM_THREADS));
            assert_eq!(error.given, format!("{text:?}"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        assert!(thread_count(OsStr::from_bytes(b"2\xff")).is_err());
    }
}

//! Settings from environment variables. A setting that cannot be met is an error that names its variable.

use fractal_kernels::KernelError;
use fractal_kernels::error::Result;
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;

/// The number of threads that run a call, 1 to 1024.
pub const NUM_THREADS: &str = "FRACTAL_CORE_NUM_THREADS";
/// The SIMD level by name.
pub const SIMD: &str = "FRACTAL_CORE_SIMD";
/// Which GPU: its number in the list of adapters, or a part of its name.
pub const ADAPTER: &str = "FRACTAL_CORE_ADAPTER";
/// The graphics API: vulkan, metal or dx12.
pub const GPU_API: &str = "FRACTAL_CORE_GPU_API";
/// 1: an adapter that computes on the CPU may be taken.
pub const ALLOW_SOFTWARE: &str = "FRACTAL_CORE_ALLOW_SOFTWARE";
/// 1: drivers that pass no conformance tests are listed, too.
pub const ALLOW_NONCOMPLIANT: &str = "FRACTAL_CORE_ALLOW_NONCOMPLIANT";
/// 1: a missing GPU is an error, and nothing falls back to the CPU.
pub const REQUIRE_GPU: &str = "FRACTAL_CORE_REQUIRE_GPU";
/// 1: the graphics API's own validation is on.
pub const VALIDATE: &str = "FRACTAL_CORE_VALIDATE";
/// MiB of the GPU's memory that are kept for later.
pub const POOL_MB: &str = "FRACTAL_CORE_POOL_MB";
/// MiB of results that stay in the GPU's memory; what is beyond is copied.
pub const MAPPED_MB: &str = "FRACTAL_CORE_MAPPED_MB";
/// Seconds that a wait for the GPU may take.
pub const GPU_TIMEOUT: &str = "FRACTAL_CORE_GPU_TIMEOUT";
/// What a forked child does that asks for the GPU while its parent has one: reopen or error.
pub const FORK: &str = "FRACTAL_CORE_FORK";

/// The thread count that the environment sets.
pub fn threads() -> Result<Option<usize>> {
    std::env::var_os(NUM_THREADS).map(|text| thread_count(&text)).transpose()
}

/// The SIMD level that the environment names.
pub(crate) fn simd() -> Option<OsString> {
    std::env::var_os(SIMD)
}

fn thread_count(text: &OsStr) -> Result<usize> {
    whole_in(NUM_THREADS, text, 1..=1024).map(|n| n as usize)
}

fn refused(name: &'static str, text: &OsStr, allowed: impl ToString) -> KernelError {
    KernelError::value(name, format!("{:?}", text.to_string_lossy()), allowed)
}

/// What a variable says; nothing if it is empty.
fn set(name: &'static str) -> Option<OsString> {
    std::env::var_os(name).filter(|text| !text.is_empty())
}

/// A variable of any text.
pub fn text(name: &'static str) -> Result<Option<String>> {
    set(name).map(|text| text.into_string().map_err(|text| refused(name, &text, "text"))).transpose()
}

/// A variable that is 1 or 0.
pub fn flag(name: &'static str) -> Result<Option<bool>> {
    set(name).map(|text| flag_of(name, &text)).transpose()
}

fn flag_of(name: &'static str, text: &OsStr) -> Result<bool> {
    match text.to_str().map(str::trim) {
        Some("1") => Ok(true),
        Some("0") => Ok(false),
        _ => Err(refused(name, text, "1 or 0")),
    }
}

/// A variable that is a whole number in a range.
pub fn whole(name: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>> {
    set(name).map(|text| whole_in(name, &text, range)).transpose()
}

fn whole_in(name: &'static str, text: &OsStr, range: RangeInclusive<u64>) -> Result<u64> {
    let number = text.to_str().and_then(|text| text.trim().parse().ok()).filter(|n| range.contains(n));
    number.ok_or_else(|| refused(name, text, format!("a whole number from {} to {}", range.start(), range.end())))
}

/// A variable that names one of some values.
pub fn one_of<T: Copy>(name: &'static str, values: &[(&str, T)]) -> Result<Option<T>> {
    set(name).map(|text| named(name, &text, values)).transpose()
}

fn named<T: Copy>(name: &'static str, text: &OsStr, values: &[(&str, T)]) -> Result<T> {
    let found = values.iter().find(|(value, _)| text.to_str().map(str::trim) == Some(value));
    let names = || values.iter().map(|(value, _)| *value).collect::<Vec<_>>().join(", ");
    found.map(|(_, value)| *value).ok_or_else(|| refused(name, text, names()))
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

    #[test]
    fn flags_and_names_are_exact() {
        let os = OsStr::new;
        assert_eq!(["1", "0 "].map(|text| flag_of(VALIDATE, os(text))), [Ok(true), Ok(false)]);
        let error = flag_of(VALIDATE, os("yes")).unwrap_err();
        assert_eq!((error.argument, error.given.as_str(), error.allowed.as_str()), (VALIDATE, "\"yes\"", "1 or 0"));
        let values = [("reopen", 1), ("error", 2)];
        assert_eq!(named(FORK, os("error"), &values), Ok(2));
        assert_eq!(named(FORK, os("Error"), &values).unwrap_err().allowed, "reopen, error");
        assert_eq!(whole_in(POOL_MB, os("0"), 0..=10), Ok(0));
        assert_eq!(whole_in(POOL_MB, os("11"), 0..=10).unwrap_err().allowed, "a whole number from 0 to 10");
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        assert!(thread_count(OsStr::from_bytes(b"2\xff")).is_err());
    }
}

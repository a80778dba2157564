//! The SIMD level of the kernels: the best of the machine, or the one that the environment names.

use crate::settings;
use fractal_kernels::KernelError;
use fractal_kernels::error::Result;
use fractal_kernels::simd::{Level, levels};
use std::ffi::OsStr;
use std::sync::OnceLock;

static CHOSEN: OnceLock<(&'static str, Level)> = OnceLock::new();

/// The level in use and its name. The environment is read at the first call.
pub fn chosen() -> Result<(&'static str, Level)> {
    if let Some(&chosen) = CHOSEN.get() {
        return Ok(chosen);
    }
    let chosen = choose(&levels(), settings::simd().as_deref())?;
    Ok(*CHOSEN.get_or_init(|| chosen))
}

/// The level in use.
pub fn level() -> Result<Level> {
    Ok(chosen()?.1)
}

/// The first of the levels, or the one of a name.
fn choose<L: Copy>(levels: &[(&'static str, L)], asked: Option<&OsStr>) -> Result<(&'static str, L)> {
    let asked = asked.map(|text| text.to_string_lossy().trim().to_lowercase());
    let found = match &asked {
        None => levels.first(),
        Some(name) => levels.iter().find(|level| level.0 == name),
    };
    found.copied().ok_or_else(|| {
        let names = levels.iter().map(|level| level.0).collect::<Vec<_>>().join(", ");
        let given = format!("{:?}", asked.unwrap_or_default());
        KernelError::value(settings::SIMD, given, format!("what this machine runs: {names}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [(&str, u8); 3] = [("avx512", 2), ("avx2", 1), ("scalar", 0)];

    #[test]
    fn the_best_unless_one_is_named() {
        assert_eq!(choose(&LEVELS, None), Ok(("avx512", 2)));
        for (text, level) in [("avx2", 1), (" AVX2 ", 1), ("scalar", 0)] {
            assert_eq!(choose(&LEVELS, Some(OsStr::new(text))).unwrap().1, level);
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_names_there_are() {
        for text in ["", "avx1024", "avx2 scalar"] {
            let error = choose(&LEVELS, Some(OsStr::new(text))).unwrap_err();
            assert_eq!(error.argument, settings::SIMD);
            assert_eq!(error.given, format!("{text:?}"));
            assert!(error.allowed.ends_with("avx512, avx2, scalar"));
        }
    }

    #[test]
    fn every_level_of_this_machine_can_be_named() {
        let found = levels();
        assert_eq!(found.last().map(|level| level.0), Some("scalar"));
        for (name, _) in &found {
            assert_eq!(choose(&found, Some(OsStr::new(name))).unwrap().0, *name);
        }
    }
}

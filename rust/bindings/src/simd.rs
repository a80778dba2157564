//! The SIMD level of the attention kernels: the best of the machine, or the one that the environment names.

use fractal_kernels::KernelError;
use fractal_kernels::error::Result;
use fractal_kernels::simd::{Level, levels};
use std::sync::OnceLock;

const NAME: &str = "FRACTAL_CORE_SIMD";
static CHOSEN: OnceLock<(&'static str, Level)> = OnceLock::new();

/// The level in use and its name. The environment is read at the first call.
pub(crate) fn chosen() -> Result<(&'static str, Level)> {
    if let Some(&chosen) = CHOSEN.get() {
        return Ok(chosen);
    }
    let found = levels();
    let asked = std::env::var_os(NAME).map(|text| text.to_string_lossy().trim().to_lowercase());
    let chosen = match &asked {
        None => found.first(),
        Some(name) => found.iter().find(|level| level.0 == name),
    };
    let Some(&chosen) = chosen else {
        let names = found.iter().map(|level| level.0).collect::<Vec<_>>().join(", ");
        let given = format!("{:?}", asked.unwrap_or_default());
        return Err(KernelError::value(NAME, given, format!("what this machine runs: {names}")));
    };
    Ok(*CHOSEN.get_or_init(|| chosen))
}

/// The level in use.
pub(crate) fn level() -> Result<Level> {
    Ok(chosen()?.1)
}

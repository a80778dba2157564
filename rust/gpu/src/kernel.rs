//! What is dispatched: an entry point with the values of its constants, over so many workgroups.

use fractal_kernels::KernelError;
use fractal_kernels::error::Result;
use fractal_shaders::{Entry, Shader};

/// An entry point of a shader and the values of its pipeline constants.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub(crate) shader: &'static Shader,
    pub(crate) entry: &'static Entry,
    pub(crate) constants: Vec<(&'static str, f64)>,
}

impl Kernel {
    /// An entry point by name, its constants at their defaults.
    pub fn new(shader: &'static Shader, entry: &str) -> Result<Self> {
        let names = || shader.entries.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
        let found = shader.entry(entry).ok_or_else(|| KernelError::value("entry", format!("{entry:?}"), names()))?;
        let constants = shader.constants.iter().map(|constant| (constant.name, constant.choices[0])).collect();
        Ok(Self { shader, entry: found, constants })
    }

    /// The same with another value of a constant, which must be one of those that the shader lists.
    pub fn with(mut self, name: &'static str, value: f64) -> Result<Self> {
        let constants = self.shader.constants;
        let at = constants
            .iter()
            .position(|constant| constant.name == name && constant.choices.contains(&value))
            .ok_or_else(|| KernelError::value("constant", format!("{name} = {value}"), format!("{constants:?}")))?;
        self.constants[at].1 = value;
        Ok(self)
    }

    /// The workgroups that give each of `items` an invocation.
    pub fn covering(&self, items: u64) -> Groups {
        Groups::of(items.div_ceil(self.entry.workgroup.iter().map(|&side| u64::from(side)).product()))
    }
}

/// Workgroups of a dispatch along x, y and z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups(pub [u32; 3]);

impl Groups {
    /// Most workgroups along a dimension that every adapter has.
    pub const MOST: u64 = 65_535;

    /// At least `n` workgroups in rows of equal length: kernels number them by `y * num_workgroups.x + x`, and leave where
    /// that number is `n` or more. More than fit in rows are refused when they are dispatched.
    pub fn of(n: u64) -> Self {
        let rows = n.div_ceil(Self::MOST).max(1);
        let fitted = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Self([fitted(n.div_ceil(rows)), fitted(rows), 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fractal_shaders::elementwise::BINARY;

    #[test]
    fn rows_of_workgroups_are_balanced() {
        let of = |n| Groups::of(n).0;
        assert_eq!(of(0), [0, 1, 1]);
        assert_eq!(of(1), [1, 1, 1]);
        assert_eq!(of(65_535), [65_535, 1, 1]);
        assert_eq!(of(65_536), [32_768, 2, 1]);
        assert_eq!(of(131_071), [43_691, 3, 1]);
        for n in (1..=40).map(|i| i * i * 2_654_435).filter(|&n| n <= Groups::MOST * Groups::MOST) {
            let [x, y, _] = of(n).map(u64::from);
            assert!(x <= Groups::MOST && y <= Groups::MOST && x * y >= n && x * y - n < y, "{n}");
        }
    }

    #[test]
    fn unknown_entries_and_constants_are_refused() {
        assert_eq!(Kernel::new(&BINARY, "subtract").unwrap_err().allowed, "add, multiply");
        assert_eq!(Kernel::new(&BINARY, "add").unwrap().with("TILE", 2.0).unwrap_err().argument, "constant");
        assert_eq!(Kernel::new(&BINARY, "add").unwrap().covering(257).0, [2, 1, 1]);
    }
}

//! How kernels refuse a call: which argument, what was given, what is allowed.

/// What sort of mistake was made; bindings map it to an exception class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A value outside its range, or not finite.
    Value,
    /// Array shapes that do not fit together.
    Shape,
    /// An element type that the kernel does not take.
    Dtype,
    /// An index that points outside of its array.
    Index,
    /// Memory that the system does not have.
    Memory,
}

/// A refused call. The message always has the same three parts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{argument}: got {given}; allowed: {allowed}")]
pub struct KernelError {
    /// What sort of mistake.
    pub kind: ErrorKind,
    /// Name of the argument as the caller wrote it.
    pub argument: &'static str,
    /// What was given.
    pub given: String,
    /// What would have been accepted.
    pub allowed: String,
}

#[allow(clippy::needless_pass_by_value, reason = "callers hand over what they print, formatted or not")]
impl KernelError {
    fn new(kind: ErrorKind, argument: &'static str, given: impl ToString, allowed: impl ToString) -> Self {
        Self { kind, argument, given: given.to_string(), allowed: allowed.to_string() }
    }

    /// A value outside its range.
    pub fn value(argument: &'static str, given: impl ToString, allowed: impl ToString) -> Self {
        Self::new(ErrorKind::Value, argument, given, allowed)
    }

    /// Shapes that do not fit together.
    pub fn shape(argument: &'static str, given: impl ToString, allowed: impl ToString) -> Self {
        Self::new(ErrorKind::Shape, argument, given, allowed)
    }

    /// An element type that the kernel does not take.
    pub fn dtype(argument: &'static str, given: impl ToString, allowed: impl ToString) -> Self {
        Self::new(ErrorKind::Dtype, argument, given, allowed)
    }

    /// An index outside of its array.
    pub fn index(argument: &'static str, given: impl ToString, allowed: impl ToString) -> Self {
        Self::new(ErrorKind::Index, argument, given, allowed)
    }

    /// A size that takes more memory than the system has.
    pub fn memory(argument: &'static str, bytes: u128) -> Self {
        Self::new(ErrorKind::Memory, argument, format!("a size that takes {bytes} bytes"), "what memory has room for")
    }
}

/// Result of a kernel.
pub type Result<T> = std::result::Result<T, KernelError>;

//! Which families of kernels a device is known to compute right, or wrong.

use crate::error::Result;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Nothing yet, that a family is right, or what is wrong with it.
type Verdict = Arc<Mutex<Option<Result<()>>>>;

/// Verdicts by the family's name.
#[derive(Default)]
pub(crate) struct Verdicts(Mutex<HashMap<&'static str, Verdict>>);

impl Verdicts {
    pub(crate) fn of(&self, family: &'static str) -> Verdict {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(family).or_default().clone()
    }
}

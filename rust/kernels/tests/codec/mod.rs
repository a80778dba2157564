//! The codecs with results of their own.
#![allow(unreachable_pub, reason = "a module of a test crate")]

use fractal_kernels::curves::lattice::{Integer, Rows};
use fractal_kernels::curves::{hilbert as places, morton as codes};
use fractal_kernels::error::Result;
use fractal_kernels::executor::Serial;
use fractal_kernels::simd::{Level, Run};

macro_rules! codec {
    ($name:ident, $kernel:ident) => {
        pub mod $name {
            use super::*;

            pub fn encode<T: Integer>(coords: &[T], ndim: usize, order: u32) -> Result<Vec<u64>> {
                encode_at(Run::new(Level::new(), &Serial), coords, ndim, order)
            }

            pub fn encode_at<T: Integer>(run: Run<'_>, coords: &[T], ndim: usize, order: u32) -> Result<Vec<u64>> {
                let coords = Rows::packed("coords", coords, ndim)?;
                let mut out = vec![0; coords.len()];
                $kernel::encode(run, coords, order, &mut out).map(|()| out)
            }

            pub fn decode<T: Integer>(index: &[T], ndim: usize, order: u32) -> Result<Vec<u64>> {
                decode_at(Run::new(Level::new(), &Serial), index, ndim, order)
            }

            pub fn decode_at<T: Integer>(run: Run<'_>, index: &[T], ndim: usize, order: u32) -> Result<Vec<u64>> {
                let mut out = vec![0; ndim * index.len()];
                $kernel::decode(run, Rows::packed("index", index, 1)?, ndim, order, &mut out).map(|()| out)
            }
        }
    };
}

codec!(hilbert, places);
codec!(morton, codes);

//! The codecs with results of their own.
#![allow(unreachable_pub, reason = "a module of a test crate")]

use fearless_simd::Level;
use fractal_kernels::curves::lattice::{Integer, Rows};
use fractal_kernels::curves::{hilbert as places, morton as codes};
use fractal_kernels::error::Result;
use fractal_kernels::executor::{Executor, Serial};

macro_rules! codec {
    ($name:ident, $kernel:ident) => {
        pub mod $name {
            use super::*;

            pub fn encode<T: Integer>(coords: &[T], ndim: usize, order: u32) -> Result<Vec<u64>> {
                encode_at(Level::new(), coords, ndim, order, &Serial)
            }

            pub fn encode_at<T: Integer>(
                level: Level,
                coords: &[T],
                ndim: usize,
                order: u32,
                executor: &dyn Executor,
            ) -> Result<Vec<u64>> {
                let coords = Rows::packed("coords", coords, ndim)?;
                let mut out = vec![0; coords.len()];
                $kernel::encode(level, coords, order, &mut out, executor).map(|()| out)
            }

            pub fn decode<T: Integer>(index: &[T], ndim: usize, order: u32) -> Result<Vec<u64>> {
                decode_at(Level::new(), index, ndim, order, &Serial)
            }

            pub fn decode_at<T: Integer>(
                level: Level,
                index: &[T],
                ndim: usize,
                order: u32,
                executor: &dyn Executor,
            ) -> Result<Vec<u64>> {
                let mut out = vec![0; ndim * index.len()];
                $kernel::decode(level, Rows::packed("index", index, 1)?, ndim, order, &mut out, executor).map(|()| out)
            }
        }
    };
}

codec!(hilbert, places);
codec!(morton, codes);

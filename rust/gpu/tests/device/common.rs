//! What the tests of a device share.

use bytemuck::AnyBitPattern;
use fractal_gpu::{Buffer, Choice, Context, GpuError, Options, process};
use fractal_kernels::executor::Serial;
use fractal_shaders::Shader;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};
use std::sync::Arc;

pub(crate) const ALONE: &Serial = &Serial;

/// Software adapters will do here.
pub(crate) fn options() -> Options {
    Options { choice: Choice { allow_software: true, ..Choice::default() }, ..Options::default() }
}

/// A device, or `None` with a line that says how to switch these tests on. `FRACTAL_CORE_REQUIRE_GPU=1` makes a missing
/// one a failure. Opening it takes a quarter of a second: one test asks for it once, and asserts much.
pub(crate) fn context() -> Option<Arc<Context>> {
    match process::context(&options()) {
        Ok(context) => Some(context),
        Err(GpuError::Unavailable(why)) if std::env::var_os("FRACTAL_CORE_REQUIRE_GPU").is_none_or(|v| v != "1") => {
            eprintln!(
                "GPU tests are switched off: {why}. A driver switches them on; on Debian mesa-vulkan-drivers has one \
                 that needs no GPU. FRACTAL_CORE_REQUIRE_GPU=1 makes this a failure."
            );
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Values of all sizes and signs, with what is special among them; always the same.
pub(crate) fn values(n: usize, seed: u64) -> Vec<f32> {
    let special = [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0e-30, -3.0e30];
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|i| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if i % 97 == 13 {
                special[i / 97 % special.len()]
            } else {
                ((state >> 40) as f32 / (1 << 22) as f32 - 2.0) * 3.0
            }
        })
        .collect()
}

/// The same device with bindings so small that most arrays take several.
pub(crate) fn narrow(binding_bytes: u64) -> Arc<Context> {
    Context::open_narrow(&options(), binding_bytes).expect("the device was opened before")
}

/// Holds a result on the device to its twin's, by the tolerance that the shader's table states.
#[track_caller]
pub(crate) fn assert_agrees<T: AnyBitPattern + Into<f64>>(
    shader: &Shader,
    entry: &str,
    got: Buffer,
    wanted: &[T],
    about: &str,
) {
    let got = got.context().clone().download::<T>(got).unwrap();
    let agreed = shader.entry(entry).unwrap().tolerance.check(&got, wanted);
    agreed.unwrap_or_else(|error| panic!("{} {entry}, {about}: {error}", shader.name));
}

/// The argument that a call was refused for.
#[track_caller]
pub(crate) fn refused<T>(result: Result<T, GpuError>) -> &'static str {
    match result.err() {
        Some(GpuError::Refused(error)) => error.argument,
        other => panic!("not refused: {other:?}"),
    }
}

/// Values in `[low, high)`, always the same.
pub(crate) fn spread(n: usize, seed: u64, low: f32, high: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            low + (high - low) * ((state >> 40) as f32 / (1 << 24) as f32)
        })
        .collect()
}

/// A property over so many random cases, with the device that the test has opened.
pub(crate) fn cases<S: Strategy>(n: u32, strategy: S, property: impl Fn(S::Value)) {
    let config = Config { cases: n, failure_persistence: None, ..Config::default() };
    let passed = TestRunner::new(config).run(&strategy, |case| {
        property(case);
        Ok(())
    });
    passed.unwrap_or_else(|error| panic!("{error}"));
}

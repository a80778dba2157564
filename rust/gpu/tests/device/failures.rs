//! What goes wrong ends in its own error, and the process goes on.

use crate::common::{context, options, values};
use fractal_gpu::hosted::Hosted;
use fractal_gpu::ops::elementwise::{FAMILY, add, gelu, on_host, relu};
use fractal_gpu::{Choice, Context, Fault, GpuError, Groups, Kernel, Options, Sort, process};
use fractal_kernels::interrupt::watched;
use fractal_shaders::elementwise::{ElementwiseParams, UNARY};
use fractal_shaders::{Binding, Entry, Kind, Part, Shader, Tolerance};
use std::sync::Arc;
use std::time::Duration;

fn refused(error: Option<GpuError>) -> &'static str {
    match error {
        Some(GpuError::Refused(error)) => error.argument,
        other => panic!("{other:?}"),
    }
}

fn still_works(context: &Arc<Context>) {
    let array = context.upload(&[-1.0_f32, 2.0]).unwrap();
    assert_eq!(context.download::<f32>(relu(&array).unwrap()).unwrap()[..], [0.0, 2.0]);
}

#[test]
fn what_is_not_allowed_is_refused_by_name() {
    let Some(context) = context() else { return };
    let limits = context.limits();
    assert_eq!(refused(context.alloc(limits.buffer_bytes + 1).err()), "size");
    assert_eq!(refused(context.alloc(u64::MAX).err()), "size");

    let kernel = Kernel::new(&UNARY, "relu").unwrap();
    let [a, b] = [0, 1].map(|_| context.alloc(1024).unwrap());
    let params = ElementwiseParams { n: 256 };
    let mut commands = context.record();
    let one = Groups([1, 1, 1]);
    assert_eq!(refused(commands.dispatch(&kernel, &[a.whole()], &params, one).err()), "arrays");
    assert_eq!(refused(commands.dispatch(&kernel, &[a.whole(), b.whole()], &(), one).err()), "params");
    assert_eq!(refused(commands.dispatch(&kernel, &[a.whole(), a.whole()], &params, one).err()), "result (n,), f32");
    let many = Groups([limits.groups + 1, 1, 1]);
    assert_eq!(refused(commands.dispatch(&kernel, &[a.whole(), b.whole()], &params, many).err()), "groups");
    assert_eq!(refused(commands.copy(&a, &a).err()), "to");
    assert_eq!(refused(commands.copy(&a, &context.alloc(8).unwrap()).err()), "to");
    for (start, end) in [(4, 8), (0, 1025), (512, 256)] {
        assert_eq!(refused(a.part(start..end).err()), "range");
    }
    if limits.binding_bytes < limits.buffer_bytes {
        let large = context.alloc(limits.binding_bytes + 4).unwrap();
        let arrays = [large.whole(), b.whole()];
        assert_eq!(refused(commands.dispatch(&kernel, &arrays, &params, one).err()), "values (n,), f32");
    }
    commands.submit().unwrap().wait().unwrap();

    let other = Context::open(&options()).unwrap();
    let elsewhere = other.upload(&[1.0_f32; 256]).unwrap();
    assert!(matches!(add(&a, &elsewhere).err(), Some(GpuError::DeviceLost(_))));
    still_works(&other);
    still_works(&context);
}

#[test]
fn a_shader_that_does_not_compile_is_named() {
    static BROKEN: Shader = Shader {
        name: "test/broken",
        parts: &[Part { file: "", text: "@compute @workgroup_size(1) fn main() { let x: u32 = 1.5; }" }],
        needs: &[],
        constants: &[],
        bindings: &[],
        entries: &[Entry { name: "main", workgroup: [1, 1, 1], twin: "", tolerance: Tolerance::Exact }],
    };
    // Its table says what its source does not.
    static UNLIKE: Shader = Shader {
        name: "test/unlike",
        parts: &[Part {
            file: "",
            text: "@group(0) @binding(0) var<storage, read_write> x: array<u32>;
                   @compute @workgroup_size(1) fn main() { x[0] = 1u; }",
        }],
        bindings: &[Binding { index: 0, kind: Kind::ReadOnly, holds: "" }],
        ..BROKEN
    };
    let Some(context) = context() else { return };
    let array = context.alloc(4).unwrap();
    for (shader, arrays) in [(&BROKEN, vec![]), (&UNLIKE, vec![array.whole()])] {
        let error = context.record().dispatch(&Kernel::new(shader, "main").unwrap(), &arrays, &(), Groups::of(1)).err();
        assert!(matches!(&error, Some(GpuError::Shader { shader: name, .. }) if *name == shader.name), "{error:?}");
    }
    still_works(&context);
}

#[test]
fn memory_that_is_not_there() {
    let Some(context) = context() else { return };
    let large = 1 << 20;
    drop(context.alloc(large).unwrap());
    assert_eq!(context.memory().cached, 1 << 20);
    // Once: what the pool keeps is freed, and the second attempt succeeds.
    context.inject(Fault::OutOfMemory { times: 1, from_bytes: large });
    let array = context.alloc(2 * large).unwrap();
    assert_eq!(context.memory().cached, 0);
    // Twice: an error, and nothing is counted.
    context.inject(Fault::OutOfMemory { times: 2, from_bytes: large });
    let before = context.memory();
    let error = context.alloc(3 * large).err();
    assert_eq!(error, Some(GpuError::OutOfMemory { doing: "allocating", bytes: Some(3 * large) }));
    assert_eq!(context.memory(), before);
    drop(array);
    // From host to host the work is cut in pieces that fit.
    let data = vec![-1.0_f32; 1 << 18];
    relu(&context.upload(&data).unwrap()).unwrap();
    context.trim(0).unwrap();
    context.inject(Fault::OutOfMemory { times: 2, from_bytes: large });
    let result = on_host(&context, "relu", &[&data]).unwrap();
    assert!(matches!(&result, Hosted::Copied(_)) && result[..] == vec![0.0; data.len()]);
    let whole = on_host(&context, "add", &[&data, &data]).unwrap();
    assert!(matches!(&whole, Hosted::Mapped(_)) && whole[..] == vec![-2.0; data.len()]);
    still_works(&context);
}

#[test]
fn a_device_that_is_lost() {
    let Some(context) = context() else { return };
    let array = context.upload(&[1.0_f32; 1000]).unwrap();
    let result = context.download::<f32>(relu(&array).unwrap()).unwrap();
    let commands = context.record();
    context.destroy().unwrap();
    let lost = |error: Option<GpuError>| assert!(matches!(error, Some(GpuError::DeviceLost(_))), "{error:?}");
    lost(relu(&array).err());
    lost(context.upload(&[1.0_f32]).err());
    lost(context.download::<f32>(array.clone()).err());
    lost(commands.submit().err());
    lost(context.trim(0).err());
    lost(context.destroy().err());
    assert!(process::opened().is_none());
    drop((result, array));

    let next = process::context(&options()).unwrap();
    assert!(next.generation() > context.generation());
    still_works(&next);

    // Work that begins and ends on the CPU is done again, once.
    let attempts = std::cell::Cell::new(0);
    let work = |context: &Arc<Context>| {
        attempts.set(attempts.get() + 1);
        if attempts.get() == 1 {
            context.destroy()?;
        }
        let array = context.upload(&[-1.0_f32, 2.0])?;
        Ok(context.download::<f32>(relu(&array)?)?.to_vec())
    };
    assert_eq!(process::with(&options(), work).unwrap(), [0.0, 2.0]);
    assert_eq!(attempts.get(), 2);
    let error = process::with(&options(), |context| {
        context.destroy()?;
        context.alloc(4).map(drop)
    });
    lost(error.err());
    still_works(&process::context(&options()).unwrap());
}

#[test]
fn waits_that_take_too_long_or_are_not_wanted_any_more() {
    let Some(context) = context() else { return };
    let n = 4 << 20;
    let array = context.upload(&values(n, 5)).unwrap();
    gelu(&array).unwrap();
    // A second's work for a software adapter; for a GPU some tenths of one.
    let times = if context.adapter().sort == Sort::Software { 4 } else { 20_000 };
    let long = || {
        let mut commands = context.record();
        let kernel = Kernel::new(&UNARY, "gelu").unwrap();
        let result = context.alloc(array.bytes()).unwrap();
        for _ in 0..times {
            let arrays = [array.whole(), result.whole()];
            commands.dispatch(&kernel, &arrays, &ElementwiseParams { n: n as u32 }, kernel.covering(n as u64)).unwrap();
        }
        (commands, result)
    };
    let limit = Duration::from_millis(1);
    context.apply(&Options { timeout: limit, ..options() });
    let (commands, result) = long();
    let error = commands.submit_reading([result]).err();
    assert_eq!(error, Some(GpuError::Timeout { limit }));

    context.apply(&options());
    let (commands, result) = long();
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let question = asked.clone();
    let stopped = watched(
        move || question.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0,
        || commands.submit_reading([result]).map(drop),
    );
    assert!(stopped.is_err(), "the call was left");
    // The memory of what was left is whole again, and the device goes on.
    still_works(&context);
    drop(array);
    assert_eq!((context.memory().allocated, context.counts().mapped), (0, 0));
}

#[test]
fn an_adapter_that_computes_wrong_is_not_used() {
    let Some(_) = context() else { return };
    let context = Context::open(&options()).unwrap();
    context.inject(Fault::WrongResult);
    let array = context.upload(&[1.0_f32; 10]).unwrap();
    for _ in 0..2 {
        let Some(GpuError::Wrong { adapter, kernel, what }) = relu(&array).err() else { panic!("it was used") };
        assert_eq!((adapter, kernel.as_str()), (context.adapter().name.clone(), "elementwise/binary: add"));
        assert!(what.contains("NaN"), "{what}");
    }
    assert!(context.trust(&FAMILY).is_err());
    // A device that computes right is asked once.
    let context = Context::open(&options()).unwrap();
    context.trust(&FAMILY).unwrap();
    let dispatches = context.counts().dispatches;
    context.trust(&FAMILY).unwrap();
    assert_eq!(context.counts().dispatches, dispatches);
}

#[test]
fn another_adapter_is_another_context() {
    let Some(context) = context() else { return };
    let named =
        |adapter: &str| Options { choice: Choice { adapter: Some(adapter.into()), ..options().choice }, ..options() };
    let Some(GpuError::Unavailable(why)) = process::context(&named("no such adapter")).err() else { panic!() };
    assert!(why.contains(&context.adapter().name) && why.contains("no such adapter"), "{why}");
    assert!(Arc::ptr_eq(&process::context(&options()).unwrap(), &context));
    let same = process::context(&named(&context.adapter().name)).unwrap();
    assert!(same.adapter().name == context.adapter().name && !Arc::ptr_eq(&same, &context));
    still_works(&context);
}

//! Results are read where the device left them, and their memory is used again.

use crate::common::{context, values};
use fractal_gpu::ops::elementwise::relu;

#[test]
fn results_are_read_in_place_and_their_memory_is_used_again() {
    let Some(context) = context() else { return };
    let before = context.counts();
    let data: Vec<f32> = values(100_000, 3).into_iter().map(|x| if x.is_nan() { 1.0 } else { x.abs() }).collect();
    let array = context.upload(&data).unwrap();
    assert_eq!(context.counts().uploaded - before.uploaded, 400_000);

    // The only handle: in place where memory is unified, by a copy of the device elsewhere.
    let result = relu(&array).unwrap();
    let staged = context.counts().staged;
    let mapped = context.download::<f32>(result).unwrap();
    assert_eq!(&mapped[..], &data[..]);
    assert_eq!(mapped.as_ptr().addr() % 64, 0);
    let in_place = context.abilities().unified;
    assert_eq!(context.counts().staged - staged, if in_place { 0 } else { 400_000 });
    assert_eq!(context.counts().mapped, 400_000);

    // Another handle: the array stays what it is, and can be computed with while the copy is read.
    let staged = context.counts().staged;
    let copy = context.download::<f32>(array.clone()).unwrap();
    assert_eq!(context.counts().staged - staged, 400_000);
    let again = context.download::<f32>(relu(&array).unwrap()).unwrap();
    assert_eq!((&copy[..], &again[..]), (&data[..], &data[..]));

    // Memory comes back when a result is dropped, and the next result has it.
    drop((mapped, copy, again, array));
    assert_eq!((context.counts().mapped, context.memory().allocated), (0, 0));
    let array = context.upload(&data).unwrap();
    let misses = context.memory().misses;
    let mut places = std::collections::BTreeSet::new();
    for _ in 0..1000 {
        let result = context.download::<f32>(relu(&array).unwrap()).unwrap();
        places.insert(result.as_ptr().addr());
    }
    assert_eq!(context.memory().misses, misses, "{:?}", context.memory());
    assert!(!in_place || places.len() == 1, "{} places", places.len());

    // A result outlives every handle of what it came from.
    let result = context.download::<f32>(relu(&array).unwrap()).unwrap();
    drop((array, context));
    assert_eq!(&result[..], &data[..]);

    let context = result_context();
    let held = context.memory();
    context.trim(0).unwrap();
    let kept = context.memory();
    assert_eq!((kept.cached, kept.allocated), (0, held.allocated));
    assert!(held.cached > 0 && kept.freed > held.freed);
    assert_eq!(&result[..], &data[..]);
}

fn result_context() -> std::sync::Arc<fractal_gpu::Context> {
    fractal_gpu::process::opened().expect("nobody closed it")
}

#[test]
fn arrays_of_no_bytes_and_of_odd_ones() {
    let Some(context) = context() else { return };
    for n in [0, 1, 2, 3, 4, 5, 255, 257, 1_000_001] {
        let data: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
        let array = context.upload(&data).unwrap();
        assert_eq!(array.bytes(), n);
        assert_eq!(&context.download::<u8>(array).unwrap()[..], &data[..]);
    }
    let zeros = context.download::<u32>(context.zeros(4096).unwrap()).unwrap();
    assert!(zeros.len() == 1024 && zeros.iter().all(|&x| x == 0));
    let bytes = context.download::<u8>(context.upload(&[1_u8; 6]).unwrap()).unwrap();
    assert!(bytes.cast::<u32>().is_err());
    let large = context.upload(&vec![7_u32; 20 << 20]).unwrap();
    assert!(context.download::<u32>(large).unwrap().iter().all(|&x| x == 7));
}

/// Not asserted, as it is a time: `cargo test -p fractal-gpu --test device -- --ignored --nocapture mapping`.
#[test]
#[ignore = "prints a time"]
fn how_long_mapping_takes() {
    let Some(context) = context() else { return };
    for mib in [1, 64] {
        let best = (0..20).map(|_| {
            let array = context.zeros(mib << 20).unwrap();
            context.wait_idle().unwrap();
            let start = std::time::Instant::now();
            let values = context.download::<f32>(array).unwrap();
            let took = start.elapsed();
            assert_eq!(values.len() as u64, mib << 18);
            took
        });
        println!("{mib} MiB are readable after {:?}", best.min().unwrap());
    }
}

//! Hilbert codes of a million random points of 2 × 16 bits, and of 3 × 16 bits, on one thread; the rival's curve is
//! another one of the same kind.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fractal_kernels::curves::hilbert;
use fractal_kernels::curves::lattice::{Integer, Rows};
use fractal_kernels::executor::Serial;
use fractal_kernels::simd::{Run, levels};

const POINTS: usize = 1 << 20;
const ORDER: u32 = 16;

/// A Weyl sequence: numbers all over the range.
fn numbers<T: Integer>(n: usize) -> Vec<T> {
    (1..=n as u64).map(|i| T::from_bits(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20)).collect()
}

fn plane(c: &mut Criterion) {
    let coords: Vec<u16> = numbers(2 * POINTS);
    let index: Vec<u32> = numbers(POINTS);
    let (mut codes_out, mut points_out) = (vec![0_u32; POINTS], vec![0_u16; 2 * POINTS]);

    let mut group = c.benchmark_group("encode 2-D");
    group.throughput(Throughput::Elements(POINTS as u64));
    for (name, level) in levels() {
        let rows = Rows::packed("coords", &coords, 2).expect("pairs");
        group.bench_function(name, |b| {
            b.iter(|| hilbert::encode(Run::new(level, &Serial), rows, ORDER, &mut codes_out).expect("16 bits"));
        });
    }
    group.bench_function("fast_hilbert", |b| {
        b.iter(|| {
            for (out, point) in codes_out.iter_mut().zip(coords.chunks_exact(2)) {
                *out = fast_hilbert::xy2h(point[0], point[1], ORDER as u8);
            }
        });
    });
    group.finish();

    let mut group = c.benchmark_group("decode 2-D");
    group.throughput(Throughput::Elements(POINTS as u64));
    for (name, level) in levels() {
        let rows = Rows::packed("index", &index, 1).expect("a vector");
        group.bench_function(name, |b| {
            b.iter(|| hilbert::decode(Run::new(level, &Serial), rows, 2, ORDER, &mut points_out).expect("32 bits"));
        });
    }
    group.bench_function("fast_hilbert", |b| {
        b.iter(|| {
            for (point, &code) in points_out.chunks_exact_mut(2).zip(&index) {
                (point[0], point[1]) = fast_hilbert::h2xy::<u16>(code, ORDER as u8);
            }
        });
    });
    group.finish();
}

fn space(c: &mut Criterion) {
    let coords: Vec<u16> = numbers(3 * POINTS);
    let (mut codes_out, mut points_out) = (vec![0_u64; POINTS], vec![0_u16; 3 * POINTS]);
    let mut group = c.benchmark_group("3-D");
    group.throughput(Throughput::Elements(POINTS as u64));
    for (name, level) in levels() {
        let rows = Rows::packed("coords", &coords, 3).expect("triples");
        group.bench_function(format!("encode {name}"), |b| {
            b.iter(|| hilbert::encode(Run::new(level, &Serial), rows, ORDER, &mut codes_out).expect("16 bits"));
        });
        let rows = Rows::packed("index", &codes_out, 1).expect("a vector");
        group.bench_function(format!("decode {name}"), |b| {
            b.iter(|| hilbert::decode(Run::new(level, &Serial), rows, 3, ORDER, &mut points_out).expect("48 bits"));
        });
    }
    group.finish();
}

criterion_group!(benches, plane, space);
criterion_main!(benches);

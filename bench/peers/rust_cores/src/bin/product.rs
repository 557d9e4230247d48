//! GFLOP/s of the float32 matrix product: the `gemm` crate's beside ours, in turn, in one process.
use std::time::Instant;

use tsumugi_tensor::Cpu;
use tsumugi_tensor::kernels::gemm::{Epilogue, MatrixA, MatrixB, gemm};

const SHAPES: [(usize, usize, usize); 15] = [
    (2048, 384, 384),
    (2048, 1152, 384),
    (2048, 1536, 384),
    (2048, 384, 1536),
    (384, 1536, 2048),
    (2048, 512, 384),
    (512, 3072, 768),
    (1024, 1024, 1024),
    (768, 384, 128),
    (768, 128, 128),
    (768, 512, 128),
    (768, 128, 512),
    (128, 512, 768),
    (128, 128, 768),
    (768, 65, 128),
];

fn med(mut f: impl FnMut()) -> f64 {
    f();
    let mut t: Vec<f64> = (0..15).map(|_| { let s = Instant::now(); f(); s.elapsed().as_secs_f64() }).collect();
    t.sort_by(f64::total_cmp);
    t[7]
}

fn main() {
    for threads in [1usize, 2] {
        let cpu = Cpu::detect(Some(threads)).unwrap();
        let par = if threads == 1 { ::gemm::Parallelism::None } else { ::gemm::Parallelism::Rayon(threads) };
        for (m, n, k) in SHAPES {
            let a: Vec<f32> = (0..m*k).map(|i| (i % 97) as f32 * 0.01).collect();
            let b: Vec<f32> = (0..n*k).map(|i| (i % 89) as f32 * 0.01).collect();
            let dev = candle_core::Device::Cpu;
            let ta = candle_core::Tensor::from_slice(&a, (m, k), &dev).unwrap();
            let tb = candle_core::Tensor::from_slice(&b, (n, k), &dev).unwrap().t().unwrap();
            let mut c = vec![0.0_f32; m * n];
            let mut c2 = vec![0.0_f32; m * n];
            let flop = 2.0 * (m * n * k) as f64 / 1e9;
            for _ in 0..2 {
            let t1 = med(|| gemm(&cpu, (m, n, k), MatrixA::Plain(&a), MatrixB::Transposed(&b), &mut c, false, Epilogue::default()));
            let t2 = med(|| unsafe { ::gemm::gemm(m, n, k, c2.as_mut_ptr(), 1, n as isize, false, a.as_ptr(), 1, k as isize, b.as_ptr(), k as isize, 1, 0.0f32, 1.0f32, false, false, false, par) });
            let t3 = med(|| { ta.matmul(&tb).unwrap(); });
            let t4 = med(|| { std::hint::black_box(vec![0f32; std::hint::black_box(m*n)]); });
            println!("{threads} {m}x{n}x{k} ours {:.0} gemm {:.0} candle {:.0} candle-alloc {:.0} diff {}", flop/t1, flop/t2, flop/t3, flop/(t3-t4), c.iter().zip(&c2).map(|(x,y)| (x-y).abs()).fold(0.0, f32::max));
            }
        }
    }
}

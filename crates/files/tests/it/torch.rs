//! Files of PyTorch: `fixtures/torch_types.safetensors` was written by `fixtures/make_torch_types.py` (torch 2.15.0,
//! safetensors 0.8.0), which also printed the bits below: PyTorch's own widening to float32.

use std::path::Path;

use tsumugi_base::half::{from_f16, to_bf16, to_f16};
use tsumugi_files::mmap::MappedFile;
use tsumugi_files::{ElementType, TensorFile, to_f32};

const FLOAT32: [u32; 12] = [
    0x00000000, 0x80000000, 0x3f800000, 0xbfc00000, 0x40490fdb, 0x3a83126f, 0x3380d959, 0x477fe000, 0x000116c2,
    0x7149f2ca, 0x7f800000, 0xff800000,
];
const BFLOAT16: [u32; 12] = [
    0x00000000, 0x80000000, 0x3f800000, 0xbfc00000, 0x40490000, 0x3a830000, 0x33810000, 0x47800000, 0x00010000,
    0x714a0000, 0x7f800000, 0xff800000,
];
const FLOAT16: [u32; 12] = [
    0x00000000, 0x80000000, 0x3f800000, 0xbfc00000, 0x40490000, 0x3a832000, 0x33800000, 0x477fe000, 0x00000000,
    0x7f800000, 0x7f800000, 0xff800000,
];

#[test]
fn pytorchs_numbers_are_read_and_rounded_as_pytorch_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/torch_types.safetensors");
    let file = TensorFile::single(MappedFile::open(&path).unwrap()).unwrap();
    assert_eq!(file.metadata()["origin"], "make_torch_types.py");
    let values = |name: &str| to_f32(&file.get(name).unwrap()).unwrap();
    let bits = |name: &str| values(name).into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert_eq!(bits("float32"), FLOAT32);
    assert_eq!(bits("bfloat16"), BFLOAT16);
    assert_eq!(bits("float16"), FLOAT16);
    assert_eq!((values("scalar"), file.get("scalar").unwrap().shape), (vec![7.5], &[][..]));
    assert_eq!((values("empty"), file.get("empty").unwrap().shape), (vec![], &[0, 4][..]));
    assert_eq!(values("matrix"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(file.get("matrix").unwrap().shape, [2, 3]);
    let others = ["int64", "bool", "float8"].map(|name| file.get(name).unwrap().element_type);
    assert_eq!(others, [ElementType::I64, ElementType::Bool, ElementType::F8E4M3]);

    for (i, value) in values("float32").into_iter().enumerate() {
        assert_eq!(u32::from(to_bf16(value)) << 16, BFLOAT16[i], "{value}");
        let again = from_f16(to_f16(value));
        assert_eq!(again.to_bits(), FLOAT16[i], "{value}");
    }
}

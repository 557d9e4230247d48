//! Samples made here: each shows a mechanism with a payload that would do nothing.

use std::io::Write;

/// A pickle of protocol 0 that calls `module.name('x')`.
pub fn call(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n(S'x'\ntR.").into_bytes()
}

/// A pickle of protocol 4 that calls `module.name('x')`.
pub fn call_4(module: &str, name: &str) -> Vec<u8> {
    let short = |text: &str| [&[0x8C, text.len() as u8], text.as_bytes()].concat();
    [b"\x80\x04".as_slice(), &short(module), &short(name), b"\x93", &short("x"), b"\x85R."].concat()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
}

pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes it")
}

/// A zip archive of one stored member, as said and as it is.
pub struct Zip<'a> {
    pub name: &'a str,
    pub local_name: &'a str,
    pub content: &'a [u8],
    pub flags: u16,
    pub crc_off: u32,
    /// Unix's mode: what kind of file the directory says it is.
    pub mode: u16,
}

impl<'a> Zip<'a> {
    pub fn new(name: &'a str, content: &'a [u8]) -> Self {
        Self { name, local_name: name, content, flags: 0, crc_off: 0, mode: 0 }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let crc = tsumugi_files::zip::crc32(self.content).wrapping_add(self.crc_off);
        let length = self.content.len() as u32;
        let facts = |flags: u16| {
            let mut facts = [20u16, flags, 0, 0, 0].map(u16::to_le_bytes).concat();
            facts.extend([crc, length, length].map(u32::to_le_bytes).concat());
            facts
        };
        let mut file = [b"PK\x03\x04".as_slice(), &facts(0)].concat();
        file.extend([self.local_name.len() as u16, 0].map(u16::to_le_bytes).concat());
        file.extend([self.local_name.as_bytes(), self.content].concat());
        let directory = file.len() as u32;
        file.extend([b"PK\x01\x02\x14\x00".as_slice(), &facts(self.flags)].concat());
        file.extend([self.name.len() as u16, 0, 0, 0, 0, 0, self.mode, 0, 0].map(u16::to_le_bytes).concat());
        file.extend(self.name.as_bytes());
        let length = file.len() as u32 - directory;
        file.extend([b"PK\x05\x06".as_slice(), &[0; 4], &[1, 0, 1, 0]].concat());
        file.extend([length, directory].map(u32::to_le_bytes).concat());
        file.extend([0, 0]);
        file
    }
}

/// A tar archive of one member.
pub fn tar(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
    let mut block = [0u8; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
    block[148..156].fill(b' ');
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut file = [&block, content].concat();
    file.resize(file.len().next_multiple_of(512) + 1024, 0);
    file
}

/// A field of a protocol buffer that holds bytes.
pub fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

/// A GGUF file of one float32 tensor of that shape, without its data.
pub fn gguf_tensor(shape: &[u64]) -> Vec<u8> {
    let mut file = [b"GGUF\x03\0\0\0".as_slice(), &1u64.to_le_bytes(), &0u64.to_le_bytes()].concat();
    file.extend([&1u64.to_le_bytes(), b"a".as_slice(), &(shape.len() as u32).to_le_bytes()].concat());
    file.extend(shape.iter().flat_map(|axis| axis.to_le_bytes()));
    file.extend([[0u8; 4].as_slice(), &[0; 8], &[0; 32]].concat());
    file
}

/// `numpy.save` of an array of that type and length, without its data.
pub fn npy(descr: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}\n");
    [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
}

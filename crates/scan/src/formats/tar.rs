//! Tar archives (POSIX ustar, GNU): NeMo's files, old PyTorch files, archives of checkpoints.

use super::{Format, archive};
use crate::context::{Input, Scan};
use crate::finding::Severity;
use crate::rules;

/// Tar archives.
pub struct Tar;

const BLOCK: usize = 512;

impl Format for Tar {
    fn name(&self) -> &'static str {
        "tar"
    }

    fn claims(&self, input: &Input<'_>) -> bool {
        input.bytes.get(257..262) == Some(b"ustar") || Header::read(input.bytes).is_some_and(|header| header.sum_fits)
    }

    fn scan(&self, input: &Input<'_>, scan: &mut Scan<'_>) {
        const MEMBERS_MAX: usize = 1_000_000;
        let (mut at, mut long_name) = (0, None);
        for _ in 0..MEMBERS_MAX {
            let Some(header) = input.bytes.get(at..).and_then(Header::read) else { break };
            let data = at + BLOCK;
            let end = usize::try_from(header.size).ok().and_then(|size| data.checked_add(size));
            let Some(end) = end.filter(|&end| end <= input.bytes.len()) else {
                let message = format!("member `{}` goes beyond the end of the archive", archive::shown(&header.name));
                return scan.find(&rules::BROKEN_FILE, Some(at), "tar", message);
            };
            let content = &input.bytes[data..end];
            if !header.sum_fits {
                let message = format!("the header of `{}` does not fit its checksum", archive::shown(&header.name));
                scan.find_as(&rules::ARCHIVE_FAULT, Severity::Medium, Some(at), "checksum", message);
            }
            match header.kind {
                b'L' => long_name = Some(text(content)),
                b'x' | b'g' => long_name = extended_path(content).or(long_name),
                _ => {
                    let name = long_name.take().unwrap_or(header.name.clone());
                    member(&header, &name, at, content, scan);
                }
            }
            at = end.next_multiple_of(BLOCK);
        }
    }
}

fn member(header: &Header, name: &str, at: usize, content: &[u8], scan: &mut Scan<'_>) {
    archive::check_path(name, at, scan);
    match header.kind {
        // A hard link's target counts from the archive's root.
        b'1' if archive::leads_out(&header.link) => {
            let message = format!("link `{}` leads to `{}`", archive::shown(name), archive::shown(&header.link));
            scan.find(&rules::ARCHIVE_PATH, Some(at), name, message);
        }
        b'2' => archive::check_link(name, &header.link, at, scan),
        b'3' | b'4' | b'6' => {
            let message = format!("member `{}` is a device or a pipe", archive::shown(name));
            scan.find(&rules::ARCHIVE_PATH, Some(at), name, message);
        }
        b'1' | b'5' => {}
        _ if content.is_empty() => {}
        _ => scan.member(name, content, crate::context::Expectation::File),
    }
}

struct Header {
    name: String,
    size: u64,
    kind: u8,
    link: String,
    sum_fits: bool,
}

impl Header {
    /// None for the empty blocks at the end, and for what is no header.
    fn read(bytes: &[u8]) -> Option<Self> {
        let block = bytes.get(..BLOCK)?;
        if block[0] == 0 {
            return None;
        }
        let said = octal(&block[148..156])?;
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, &byte)| u64::from(if (148..156).contains(&at) { b' ' } else { byte }))
            .sum();
        let prefix = if &block[257..262] == b"ustar" && block[263..265] == *b"00" {
            text(&block[345..500])
        } else {
            String::new()
        };
        let name = text(&block[..100]);
        Some(Self {
            name: if prefix.is_empty() { name } else { format!("{prefix}/{name}") },
            size: octal(&block[124..136])?,
            kind: block[156],
            link: text(&block[157..257]),
            sum_fits: sum == said,
        })
    }
}

/// Octal digits, or GNU's binary number behind a set highest bit.
fn octal(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        return field[1..].iter().try_fold(0u64, |number, &byte| number.checked_mul(256)?.checked_add(byte.into()));
    }
    let digits: Vec<u8> = field.iter().copied().filter(|byte| !matches!(byte, b' ' | 0)).collect();
    digits.iter().try_fold(0u64, |number, &digit| {
        let digit = char::from(digit).to_digit(8)?;
        number.checked_mul(8)?.checked_add(digit.into())
    })
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

/// `path` of a POSIX extended header: lines of `length key=value`.
fn extended_path(content: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(content);
    text.lines().find_map(|line| Some(line.split_once(' ')?.1.strip_prefix("path=")?.to_owned()))
}

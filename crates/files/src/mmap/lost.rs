//! A mapped file that is shortened while it is used, or whose disk fails. Touching a page that is gone is SIGBUS, which ends
//! the process without a word; with [`tell_lost_mappings`] it ends with the file's name and exit code 2, or, where whoever
//! mapped the file can do without it, goes on with zeros and remembers that.
//!
//! All that the handler reads are atomic numbers that no lock guards and nobody frees; a page that is touched is of a mapping
//! that is alive, so that its place in the table stands still meanwhile.
#![cfg_attr(not(unix), allow(dead_code, reason = "only the handler reads the table"))]

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

/// Mappings that are known by their names at a time. Those beyond end the process as without the handler.
const PLACES_MAX: usize = 1024;
/// Bytes of a name; of a longer one the end.
const NAME_BYTES_MAX: usize = 512;

/// Where a mapping lies, and the file's name.
struct Place {
    taken: AtomicBool,
    start: AtomicUsize,
    /// 0 while nothing is mapped.
    end: AtomicUsize,
    name_len: AtomicUsize,
    name: [AtomicU8; NAME_BYTES_MAX],
    /// What becomes of a process that touches a page that is gone: [`ENDS`], [`GOES_ON`], or [`LOST`] once it did.
    on_loss: AtomicU8,
}

/// It ends.
const ENDS: u8 = 0;
/// It reads zeros.
const GOES_ON: u8 = 1;
/// It has read zeros.
const LOST: u8 = 2;

static PLACES: [Place; PLACES_MAX] = [const { Place::free() }; PLACES_MAX];

impl Place {
    const fn free() -> Self {
        Self {
            taken: AtomicBool::new(false),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            name_len: AtomicUsize::new(0),
            name: [const { AtomicU8::new(0) }; NAME_BYTES_MAX],
            on_loss: AtomicU8::new(ENDS),
        }
    }

    fn holds(&self, address: usize) -> bool {
        address < self.end.load(Ordering::SeqCst) && address >= self.start.load(Ordering::SeqCst)
    }
}

/// A mapping in the table, until it is dropped. It must be dropped before the mapping.
#[derive(Debug)]
pub(super) struct Watched {
    place: Option<usize>,
}

impl Watched {
    /// `goes_on` where zeros may be read instead of what is gone, which [`is_lost`](Self::is_lost) says afterwards.
    pub(super) fn new(addresses: Range<usize>, path: &Path, goes_on: bool) -> Self {
        let take = |place: &Place| !place.taken.swap(true, Ordering::SeqCst);
        let Some(index) = PLACES.iter().position(take) else { return Self { place: None } };
        let place = &PLACES[index];
        let name: Vec<u8> =
            path.to_string_lossy().chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>().into();
        let name = &name[name.len().saturating_sub(NAME_BYTES_MAX)..];
        place.name_len.store(name.len(), Ordering::SeqCst);
        for (to, &byte) in place.name.iter().zip(name) {
            to.store(byte, Ordering::SeqCst);
        }
        place.on_loss.store(if goes_on { GOES_ON } else { ENDS }, Ordering::SeqCst);
        place.start.store(addresses.start, Ordering::SeqCst);
        place.end.store(addresses.end, Ordering::SeqCst);
        Self { place: Some(index) }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.place.is_some_and(|index| PLACES[index].on_loss.load(Ordering::SeqCst) == LOST)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(index) = self.place {
            PLACES[index].end.store(0, Ordering::SeqCst);
            PLACES[index].taken.store(false, Ordering::SeqCst);
        }
    }
}

#[cfg(unix)]
mod handler {
    use std::io;
    use std::sync::OnceLock;

    use super::{AtomicUsize, ENDS, LOST, NAME_BYTES_MAX, Ordering, PLACES, Place};

    const BEFORE: &[u8] = b"error: ";
    const AFTER: &[u8] = b": it was shortened, or its disk failed, while it was mapped\n\n\
        hint: write a new file and rename it over the old one, which leaves a mapping whole\n";
    /// What a command that could not do its work ends with.
    const EXIT_CODE: i32 = 2;

    /// What SIGBUS did before: the standard library's own handler, which knows overflowing stacks.
    static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

    /// Bytes of a page, set before the handler is.
    static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);

    /// From now on, a process that loses what a [`MappedFile`](super::super::MappedFile) maps says so on standard error and
    /// ends with code 2, unless the file was mapped to go on. For programs, not for libraries: it takes the signal SIGBUS.
    pub fn tell_lost_mappings() -> io::Result<()> {
        let checked = |result: i32| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        // SAFETY: both structures are plain numbers, for which zero is a value, and they outlive the calls. The handler does
        // what a handler may: it reads and sets atomic numbers, maps pages over those of a mapping of ours, writes to a
        // descriptor, ends the process, or sets a handler.
        unsafe {
            let page_bytes = libc::sysconf(libc::_SC_PAGESIZE);
            PAGE_BYTES.store(usize::try_from(page_bytes).unwrap_or_default(), Ordering::SeqCst);
            let mut previous: libc::sigaction = std::mem::zeroed();
            checked(libc::sigaction(libc::SIGBUS, std::ptr::null(), &raw mut previous))?;
            if PREVIOUS.set(previous).is_err() {
                return Ok(());
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            checked(libc::sigemptyset(&raw mut action.sa_mask))?;
            checked(libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()))
        }
    }

    extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel gives a whole structure, and that of a fault has an address.
        let (is_fault, address) = unsafe { ((*info).si_code > 0, (*info).si_addr() as usize) };
        if let Some(place) = PLACES.iter().find(|place| is_fault && place.holds(address)) {
            if place.on_loss.load(Ordering::SeqCst) != ENDS && put_zeros(place, address) {
                return; // and the access is tried again
            }
            end(place);
        }
        let previous = PREVIOUS.get().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: what the kernel gave us as the action before, or nothing.
        unsafe {
            if is_fault {
                // Not a mapping of ours: the access is tried again, and then it is as if we had never been here.
                libc::sigaction(libc::SIGBUS, previous, std::ptr::null_mut());
            } else {
                // Somebody sent it, to end us.
                libc::signal(libc::SIGBUS, libc::SIG_DFL);
                libc::raise(libc::SIGBUS);
            }
        }
    }

    /// Puts pages of zeros in place of the mapping's pages from `address` on: of a file that was shortened all are gone.
    fn put_zeros(place: &Place, address: usize) -> bool {
        let page_bytes = PAGE_BYTES.load(Ordering::SeqCst);
        if page_bytes == 0 {
            return false;
        }
        let start = address - address % page_bytes;
        let bytes = (place.end.load(Ordering::SeqCst) - start).next_multiple_of(page_bytes);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: the pages are those of one mapping, to its end, which stays as long as somebody reads in it, as the thread
        // that was stopped here does; it is read-only before and after, and unmapped as a whole.
        let mapped = unsafe { libc::mmap(start as *mut libc::c_void, bytes, libc::PROT_READ, flags, -1, 0) };
        place.on_loss.store(LOST, Ordering::SeqCst);
        mapped != libc::MAP_FAILED
    }

    /// Allocates nothing, takes no lock, runs no destructor.
    fn end(place: &Place) -> ! {
        let mut text = [0u8; BEFORE.len() + NAME_BYTES_MAX + AFTER.len()];
        let name =
            place.name.iter().take(place.name_len.load(Ordering::SeqCst)).map(|byte| byte.load(Ordering::SeqCst));
        let mut len = 0;
        for byte in BEFORE.iter().copied().chain(name).chain(AFTER.iter().copied()) {
            text[len] = byte;
            len += 1;
        }
        // SAFETY: so many bytes were written; nothing of this process is touched again.
        unsafe {
            libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), len);
            libc::_exit(EXIT_CODE)
        }
    }
}

#[cfg(unix)]
pub use handler::tell_lost_mappings;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_and_given_back() {
        let path = Path::new("a\nb");
        // Addresses that no other test maps.
        let at = |index: usize| usize::MAX - 16 * (index + 1)..usize::MAX - 16 * index;
        let holds = |address: usize| PLACES.iter().find(|place| place.holds(address));
        let watched: Vec<Watched> = (0..PLACES_MAX + 1).map(|index| Watched::new(at(index), path, false)).collect();
        assert!(watched.last().is_some_and(|watched| watched.place.is_none()), "one more than there is room for");
        let place = holds(at(0).start).expect("it was the first");
        let name: Vec<u8> =
            place.name[..place.name_len.load(Ordering::SeqCst)].iter().map(|b| b.load(Ordering::SeqCst)).collect();
        assert_eq!(name, b"a?b");
        assert!(holds(at(0).end - 1).is_some() && holds(at(0).end).is_none());
        drop(watched);
        assert!(holds(at(0).start).is_none());
        let long = "x".repeat(NAME_BYTES_MAX) + "end";
        let watched = Watched::new(at(3), Path::new(&long), false);
        let place = &PLACES[watched.place.expect("there is room again")];
        assert_eq!(place.name_len.load(Ordering::SeqCst), NAME_BYTES_MAX);
        assert_eq!(place.name[NAME_BYTES_MAX - 1].load(Ordering::SeqCst), b'd');
    }
}

//! NVIDIA's driver, asked through its own library. Nothing is linked: the library is looked for while the program runs.
#![expect(unsafe_code, reason = "functions of a C library are found by name and called")]

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::fmt;

use libloading::Library;

/// The names of the driver's library.
#[cfg(windows)]
pub(crate) const LIBRARIES: [&str; 1] = ["nvcuda.dll"];
/// The names of the driver's library.
#[cfg(not(windows))]
pub(crate) const LIBRARIES: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

/// The names of the library that compiles kernels for a card.
#[cfg(windows)]
pub(crate) const COMPILERS: [&str; 2] = ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"];
/// The names of the library that compiles kernels for a card.
#[cfg(not(windows))]
pub(crate) const COMPILERS: [&str; 4] = ["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11"];

/// Of `CUdevice_attribute`: the compute capability.
const CAPABILITY: [c_int; 2] = [75, 76];

type Init = unsafe extern "system" fn(c_uint) -> c_int;
type IntoInt = unsafe extern "system" fn(*mut c_int) -> c_int;
type OfNumber = unsafe extern "system" fn(*mut c_int, c_int) -> c_int;
type Name = unsafe extern "system" fn(*mut c_char, c_int, c_int) -> c_int;
type Memory = unsafe extern "system" fn(*mut usize, c_int) -> c_int;
type Attribute = unsafe extern "system" fn(*mut c_int, c_int, c_int) -> c_int;

/// A driver that works.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Driver {
    /// The newest CUDA version that it can run: major and minor.
    pub(crate) version: (i32, i32),
    pub(crate) cards: Vec<Card>,
}

/// A card.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) name: String,
    /// Bytes.
    pub(crate) memory: u64,
    /// The compute capability: major and minor.
    pub(crate) capability: (i32, i32),
}

/// Why there is no driver that works.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// There is no such library.
    Library,
    /// The library lacks a function.
    Function(&'static str),
    /// A function of the library said no.
    Failed(&'static str, i32),
}

impl fmt::Display for Absent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library => write!(formatter, "there is no library `{}`", LIBRARIES[0]),
            Self::Function(name) => write!(formatter, "the driver's library has no `{name}`: it is too old"),
            Self::Failed(_, 100) => formatter.write_str("the driver is there, but sees no card"),
            Self::Failed(name, 803 | 804) => {
                write!(formatter, "`{name}` says that library and kernel module do not fit")
            }
            Self::Failed(name, code) => write!(formatter, "`{name}` failed with CUDA error {code}"),
        }
    }
}

impl Absent {
    /// What to do.
    pub(crate) fn mend(&self) -> &'static str {
        match self {
            Self::Failed(_, 100) => {
                "nvidia-smi (says what the driver sees; in a container, give it the card: `docker run --gpus all`)"
            }
            Self::Failed(_, 803 | 804) => {
                "restart the machine, so that the kernel module of the installed driver is loaded"
            }
            _ => "install NVIDIA's driver: https://www.nvidia.com/drivers (Debian: apt-get install nvidia-driver)",
        }
    }
}

/// Asks the first of these libraries that is there.
pub(crate) fn probe(names: &[&str]) -> Result<Driver, Absent> {
    let library = names.iter().find_map(|name| open(name)).ok_or(Absent::Library)?;
    let found = ask(&library);
    // A driver that was started may have threads of its own; taking its code away under them would end the program.
    std::mem::forget(library);
    found
}

/// The first of these libraries that is there.
pub(crate) fn first_of<'a>(names: &[&'a str]) -> Option<&'a str> {
    names.iter().copied().find(|name| open(name).is_some())
}

fn open(name: &str) -> Option<Library> {
    // SAFETY: this runs the library's start-up code. The name has no folder, so the system's loader looks only where it looks for the
    // libraries of every program, and what lies there runs in other programs of this user too.
    unsafe { Library::new(name) }.ok()
}

fn ask(library: &Library) -> Result<Driver, Absent> {
    // SAFETY: the types are those of these functions in NVIDIA's `cuda.h`, whose ABI has been the same since CUDA 3.2. Pointers are to
    // variables and a buffer that live over each call, with the buffer's true length; `cuInit` is called before all others.
    unsafe {
        let init: Init = function(library, "cuInit")?;
        let version: IntoInt = function(library, "cuDriverGetVersion")?;
        let count: IntoInt = function(library, "cuDeviceGetCount")?;
        let device: OfNumber = function(library, "cuDeviceGet")?;
        let name: Name = function(library, "cuDeviceGetName")?;
        let memory: Memory = function(library, "cuDeviceTotalMem_v2")?;
        let attribute: Attribute = function(library, "cuDeviceGetAttribute")?;

        expect("cuInit", init(0))?;
        let (mut number, mut cards) = (0, 0);
        expect("cuDriverGetVersion", version(&raw mut number))?;
        expect("cuDeviceGetCount", count(&raw mut cards))?;
        let mut driver = Driver { version: (number / 1000, number % 1000 / 10), cards: Vec::new() };
        for index in 0..cards {
            let (mut card, mut bytes, mut capability) = (0, 0, [0; 2]);
            let mut text: [c_char; 256] = [0; 256];
            expect("cuDeviceGet", device(&raw mut card, index))?;
            expect("cuDeviceGetName", name(text.as_mut_ptr(), 255, card))?;
            expect("cuDeviceTotalMem_v2", memory(&raw mut bytes, card))?;
            for (value, what) in capability.iter_mut().zip(CAPABILITY) {
                expect("cuDeviceGetAttribute", attribute(value, what, card))?;
            }
            // The last byte of the buffer was not lent out, so there is an end.
            let text = CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned();
            driver.cards.push(Card { name: text, memory: bytes as u64, capability: (capability[0], capability[1]) });
        }
        Ok(driver)
    }
}

/// Finds a function.
///
/// # Safety
///
/// `F` must be the type of the library's function of this name, which must not be called after the library is closed.
unsafe fn function<F: Copy>(library: &Library, name: &'static str) -> Result<F, Absent> {
    // SAFETY: the caller's.
    unsafe { library.get::<F>(name) }.map(|function| *function).map_err(|_| Absent::Function(name))
}

fn expect(name: &'static str, code: c_int) -> Result<(), Absent> {
    if code == 0 { Ok(()) } else { Err(Absent::Failed(name, code)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_no_driver() {
        assert_eq!(probe(&["libtunesmith-none.so"]), Err(Absent::Library));
        assert_eq!(first_of(&["libtunesmith-none.so"]), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_library_without_the_functions_is_no_driver() {
        assert_eq!(probe(&["libc.so.6"]), Err(Absent::Function("cuInit")));
    }

    #[test]
    fn each_failure_says_what_to_do() {
        for (absent, told) in [
            (Absent::Failed("cuInit", 100), "sees no card"),
            (Absent::Failed("cuInit", 803), "do not fit"),
            (Absent::Failed("cuInit", 999), "`cuInit` failed with CUDA error 999"),
        ] {
            assert!(absent.to_string().contains(told) && !absent.mend().is_empty(), "{absent}");
        }
    }
}

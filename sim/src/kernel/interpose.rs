//! Where a simulated node meets the operating system: the functions of libc
//! that would let time, entropy, threads or the machine's shape leak in are
//! defined here and preempt libc's own.
//!
//! Invariant: on a thread that is not simulating, every function below does
//! exactly what libc's does. On one that is, its answers depend on nothing but
//! what the kernel set through this module.
//!
//! Needs dynamic glibc on Linux. Being part of the executable, these definitions
//! win over the shared library's; `check` proves that before every run.

#![expect(unsafe_code, reason = "defining libc's functions and reaching the real ones cannot be said in safe Rust")]

use std::{
    cell::{Cell, RefCell},
    ffi::{CStr, c_int, c_long, c_uint, c_void},
    hash::{BuildHasher, Hasher},
    sync::atomic::{AtomicUsize, Ordering},
    task::{Poll, Waker},
    time::Duration,
};

use super::rng::Stream;

/// How many processors a simulated machine has.
pub const PROCESSORS: usize = 2;
/// Polls of the driver without waiting, in one run of a node, after which it is
/// taken for an endless loop. A real run makes a few thousand at most.
const SPINS_MAX: u64 = 5_000_000;

/// What the runtime on this thread said when it ran out of work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parked {
    /// It still has work.
    No,
    /// It waits for ever.
    Forever,
    /// It waits for its next timer, this many milliseconds.
    Millis(u64),
    /// It was told to stop in the middle of its work.
    Stopped,
}

thread_local! {
    static ACTIVE: Cell<bool> = const { Cell::new(false) };
    static MONOTONIC_NS: Cell<u64> = const { Cell::new(0) };
    static REALTIME_NS: Cell<u64> = const { Cell::new(0) };
    static ENTROPY: RefCell<Option<Stream>> = const { RefCell::new(None) };
    static PARKED: Cell<Parked> = const { Cell::new(Parked::No) };
    static ROOT: RefCell<Option<Waker>> = const { RefCell::new(None) };
    static SPINS: Cell<u64> = const { Cell::new(0) };
}

/// Turns the simulated answers on or off for this thread.
pub fn set_active(active: bool) {
    ACTIVE.set(active);
}

/// Sets both clocks of this thread, in nanoseconds; the wall clock since 1970.
pub fn set_clocks(monotonic_ns: u64, realtime_ns: u64) {
    MONOTONIC_NS.set(monotonic_ns);
    REALTIME_NS.set(realtime_ns);
}

/// Exchanges the stream from which this thread draws entropy.
pub fn swap_entropy(stream: Option<Stream>) -> Option<Stream> {
    ENTROPY.replace(stream)
}

/// Runs `work` with the real clocks and the real entropy.
pub fn outside<T>(work: impl FnOnce() -> T) -> T {
    let active = ACTIVE.replace(false);
    let value = work();
    ACTIVE.set(active);
    value
}

/// Ends this process by a signal if it is still there after so many real seconds.
pub fn limit_real_time(seconds: u32) {
    // SAFETY: it takes a number, and has no handler to run.
    unsafe { libc::alarm(seconds) };
}

/// Makes `run_until_idle` return as soon as the task that is running now yields.
pub fn stop() {
    PARKED.set(Parked::Stopped);
    wake_root();
}

/// Lets `runtime` work at the present instant until nothing is left to do but
/// wait; returns how long until its next timer, if it has one.
pub fn run_until_idle(runtime: &tokio::runtime::Runtime) -> Option<Duration> {
    PARKED.set(Parked::No);
    SPINS.set(0);
    let next = runtime.block_on(std::future::poll_fn(|context| match PARKED.get() {
        Parked::No => {
            ROOT.set(Some(context.waker().clone()));
            Poll::Pending
        }
        Parked::Millis(millis) => Poll::Ready(Some(Duration::from_millis(millis))),
        Parked::Forever | Parked::Stopped => Poll::Ready(None),
    }));
    ROOT.set(None);
    next
}

/// Proves that the definitions below are the ones that Rust's standard library
/// and the crates reach. Call it while active; it disturbs the clocks.
pub fn check() -> Result<(), String> {
    const MARK: u64 = 1_234_567_890;
    let missing = |what: &str| Err(format!("libc interposition is not in force: {what}"));
    set_clocks(MARK * 1_000_000_000, MARK * 1_000_000_000);
    #[expect(clippy::disallowed_methods, reason = "what is checked is the real call")]
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    if wall.ok().is_none_or(|since| since.as_secs() != MARK) {
        return missing("the wall clock is real");
    }
    let draw = || {
        let mut bytes = [0_u8; 16];
        // SAFETY: the buffer is valid for its length; `dlsym` gives null or a function of this type.
        unsafe {
            let found = libc::dlsym(libc::RTLD_DEFAULT, c"getrandom".as_ptr());
            if found.is_null() {
                return None;
            }
            let call: Getrandom = std::mem::transmute(found);
            call(bytes.as_mut_ptr().cast(), bytes.len(), 0);
        }
        Some(bytes)
    };
    let kept = swap_entropy(Some(Stream::new(MARK, "check", 0)));
    let first = draw();
    swap_entropy(Some(Stream::new(MARK, "check", 0)));
    let second = draw();
    swap_entropy(kept);
    if first.is_none() || first != second {
        return missing("getrandom found by name is real");
    }
    if std::thread::available_parallelism().map(usize::from).ok().is_none_or(|count| count > PROCESSORS) {
        return missing("the number of processors is real");
    }
    Ok(())
}

/// A number that depends on the keys that `HashMap`s of this thread were given:
/// equal in two runs only if those keys are.
pub fn hasher_fingerprint() -> u64 {
    #[expect(clippy::disallowed_types, reason = "what is checked is its keys")]
    let state = std::collections::hash_map::RandomState::new();
    let mut hasher = state.build_hasher();
    hasher.write_u64(0);
    hasher.finish()
}

fn wake_root() {
    ROOT.with_borrow(|root| {
        if let Some(waker) = root {
            waker.wake_by_ref();
        }
    });
}

/// Fills `length` bytes at `buffer` from the thread's stream.
///
/// # Safety
/// `buffer` is valid for writes of `length` bytes.
unsafe fn fill(buffer: *mut c_void, length: usize) {
    if length == 0 {
        // A probe for the function; its pointer may be anything.
        return;
    }
    // SAFETY: as the caller promises.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    let filled = ENTROPY.with_borrow_mut(|stream| stream.as_mut().map(|stream| stream.fill(bytes)));
    if filled.is_none() {
        trip("entropy was drawn where no stream was set");
    }
}

/// Ends the process: the run is not deterministic any more, and nothing that it
/// could report would be worth reading.
fn trip(what: &str) -> ! {
    ACTIVE.set(false);
    eprintln!("sim: tripwire: {what}\n{}", std::backtrace::Backtrace::force_capture());
    std::process::abort();
}

/// The next definition of a function after this executable's: libc's own.
struct Real {
    name: &'static CStr,
    address: AtomicUsize,
}

impl Real {
    const fn new(name: &'static CStr) -> Self {
        Self { name, address: AtomicUsize::new(0) }
    }

    fn address(&self) -> *const c_void {
        let mut address = self.address.load(Ordering::Relaxed);
        if address == 0 {
            // SAFETY: the name is a C string.
            address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) } as usize;
            if address == 0 {
                trip("libc lacks a function that it should have");
            }
            self.address.store(address, Ordering::Relaxed);
        }
        address as *const c_void
    }
}

macro_rules! real {
    ($name:literal as $kind:ty) => {{
        static REAL: Real = Real::new($name);
        // Every caller says `unsafe`: libc's function of this name has this type.
        std::mem::transmute::<*const c_void, $kind>(REAL.address())
    }};
}

type Getrandom = unsafe extern "C" fn(*mut c_void, usize, c_uint) -> isize;
type Syscall = unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;
type ClockGettime = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int;
type Gettimeofday = unsafe extern "C" fn(*mut libc::timeval, *mut c_void) -> c_int;
type Time = unsafe extern "C" fn(*mut libc::time_t) -> libc::time_t;
type EpollWait = unsafe extern "C" fn(c_int, *mut libc::epoll_event, c_int, c_int) -> c_int;
type ClockNanosleep = unsafe extern "C" fn(libc::clockid_t, c_int, *const libc::timespec, *mut libc::timespec) -> c_int;
type Start = extern "C" fn(*mut c_void) -> *mut c_void;
type PthreadCreate =
    unsafe extern "C" fn(*mut libc::pthread_t, *const libc::pthread_attr_t, Start, *mut c_void) -> c_int;
type SchedGetaffinity = unsafe extern "C" fn(libc::pid_t, usize, *mut libc::cpu_set_t) -> c_int;
type Sysconf = unsafe extern "C" fn(c_int) -> c_long;

// SAFETY of all that follow: each has the type of libc's function of its name,
// and its callers keep libc's contract, so pointers are valid as libc demands.

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    if ACTIVE.get() {
        // SAFETY: see above.
        unsafe { fill(buffer, length) };
        return length.cast_signed();
    }
    // SAFETY: see above.
    unsafe { real!(c"getrandom" as Getrandom)(buffer, length, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getentropy(buffer: *mut c_void, length: usize) -> c_int {
    // SAFETY: see above.
    if unsafe { getrandom(buffer, length, 0) } < 0 { -1 } else { 0 }
}

/// Variadic in libc; on every architecture that Rust knows, six words are passed alike.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(number: c_long, a: usize, b: usize, c: usize, d: usize, e: usize, f: usize) -> c_long {
    if number == libc::SYS_getrandom && ACTIVE.get() {
        // SAFETY: these are getrandom's arguments.
        unsafe { fill(a as *mut c_void, b) };
        return b as c_long;
    }
    // SAFETY: see above.
    unsafe { real!(c"syscall" as Syscall)(number, a, b, c, d, e, f) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(id: libc::clockid_t, out: *mut libc::timespec) -> c_int {
    if ACTIVE.get() {
        let ns = match id {
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => REALTIME_NS.get(),
            _ => MONOTONIC_NS.get(),
        };
        let (tv_sec, tv_nsec) = ((ns / 1_000_000_000).cast_signed(), (ns % 1_000_000_000).cast_signed());
        // SAFETY: see above.
        unsafe { out.write(libc::timespec { tv_sec, tv_nsec }) };
        return 0;
    }
    // SAFETY: see above.
    unsafe { real!(c"clock_gettime" as ClockGettime)(id, out) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn gettimeofday(out: *mut libc::timeval, zone: *mut c_void) -> c_int {
    if ACTIVE.get() {
        let us = (REALTIME_NS.get() / 1000).cast_signed();
        // SAFETY: see above.
        unsafe { out.write(libc::timeval { tv_sec: us / 1_000_000, tv_usec: us % 1_000_000 }) };
        return 0;
    }
    // SAFETY: see above.
    unsafe { real!(c"gettimeofday" as Gettimeofday)(out, zone) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn time(out: *mut libc::time_t) -> libc::time_t {
    if ACTIVE.get() {
        let seconds = (REALTIME_NS.get() / 1_000_000_000).cast_signed();
        if !out.is_null() {
            // SAFETY: see above.
            unsafe { out.write(seconds) };
        }
        return seconds;
    }
    // SAFETY: see above.
    unsafe { real!(c"time" as Time)(out) }
}

/// The driver of a runtime waits here: the time-out *is* its next timer.
#[unsafe(no_mangle)]
unsafe extern "C" fn epoll_wait(
    poll: c_int,
    events: *mut libc::epoll_event,
    events_max: c_int,
    timeout_ms: c_int,
) -> c_int {
    if ACTIVE.get() {
        match u64::try_from(timeout_ms) {
            Ok(0) => {
                SPINS.set(SPINS.get() + 1);
                if SPINS.get() > SPINS_MAX {
                    trip("a node works without end at one instant");
                }
                return 0;
            }
            Ok(millis) => PARKED.set(Parked::Millis(millis)),
            Err(_) => PARKED.set(Parked::Forever),
        }
        wake_root();
        return 0;
    }
    // SAFETY: see above.
    unsafe { real!(c"epoll_wait" as EpollWait)(poll, events, events_max, timeout_ms) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_nanosleep(
    id: libc::clockid_t,
    flags: c_int,
    request: *const libc::timespec,
    remain: *mut libc::timespec,
) -> c_int {
    if ACTIVE.get() {
        trip("a thread was put to sleep inside the simulation");
    }
    // SAFETY: see above.
    unsafe { real!(c"clock_nanosleep" as ClockNanosleep)(id, flags, request, remain) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_create(
    thread: *mut libc::pthread_t,
    attributes: *const libc::pthread_attr_t,
    start: Start,
    argument: *mut c_void,
) -> c_int {
    if ACTIVE.get() {
        trip("a thread was born inside the simulation");
    }
    // SAFETY: see above.
    unsafe { real!(c"pthread_create" as PthreadCreate)(thread, attributes, start, argument) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sched_getaffinity(pid: libc::pid_t, size: usize, set: *mut libc::cpu_set_t) -> c_int {
    if ACTIVE.get() {
        // SAFETY: `set` is valid for `size` bytes; `PROCESSORS` bits fit in any set.
        unsafe {
            set.cast::<u8>().write_bytes(0, size);
            for processor in 0..PROCESSORS {
                libc::CPU_SET(processor, &mut *set);
            }
        }
        return 0;
    }
    // SAFETY: see above.
    unsafe { real!(c"sched_getaffinity" as SchedGetaffinity)(pid, size, set) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sysconf(name: c_int) -> c_long {
    if ACTIVE.get() && matches!(name, libc::_SC_NPROCESSORS_ONLN | libc::_SC_NPROCESSORS_CONF) {
        return PROCESSORS as c_long;
    }
    // SAFETY: see above.
    unsafe { real!(c"sysconf" as Sysconf)(name) }
}

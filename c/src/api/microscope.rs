//! A stack under a microscope: a clock that the program moves, and links made of callbacks.

use std::ffi::{c_char, c_int, c_void};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use libnet::callback::{CallbackConfig, callback_link};
use libnet::driver::Driver;
use libnet::driver::manual::ManualDriver;
use libnet::link::Medium;
use libnet::{Instant, InterfaceSpec, MacAddr, errno as number};

use crate::error::{errno, status};
use crate::machine::{Machine, call_back, is_in_callback, refuse_callbacks};
use crate::raw;
use crate::table::lock;
use nix::libc;

/// Ethernet frames travel on a link of callbacks, without the frame check sequence.
pub const RUMPNET_ETHERNET: c_int = 1;
/// Bare IP packets do. The stack says nothing on it of its own: no ARP, no neighbour discovery, no
/// reports of groups.
pub const RUMPNET_RAW_IP: c_int = 2;

/// Takes a frame that leaves: `arg` is the link's, `ns` when it was sent by the stack's clock. It is
/// called in the middle of what made the stack send, also by threads of the stack: the only function of
/// this library that it may call is rumpnet_inject; all others fail with EDEADLK.
#[allow(non_camel_case_types, reason = "its name in C")]
pub type rumpnet_output =
    Option<unsafe extern "C" fn(arg: *mut c_void, ns: u64, frame: *const c_void, size: usize)>;

/// Lets the time of the calling thread's stack stand still until rumpnet_advance and rumpnet_step move
/// it. It begins at 0.
///
/// Errors: EBUSY once the stack has started, ENXIO if the thread has none.
#[unsafe(no_mangle)]
pub extern "C" fn rumpnet_clock_manual() -> c_int {
    let plan = |machine: Arc<Machine>| {
        machine.plan(|_, clock| {
            clock.get_or_insert_with(ManualDriver::new);
        })
    };
    status(Machine::current().and_then(plan))
}

/// Adds an interface whose frames go to `output`, and come by rumpnet_inject. `medium` is
/// RUMPNET_ETHERNET or RUMPNET_RAW_IP; `mtu` the largest IP packet in bytes; `mac` our address on
/// Ethernet, six bytes, or NULL for 02:00:00:00:00:01. It is up.
///
/// Errors: EINVAL for a medium or an MTU that is none, EEXIST for a name that is taken, EFAULT for a
/// NULL name or output.
///
/// `output` may be called with `arg`, on any thread, until the stack is given up.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rumpnet_link_callbacks(
    name: *const c_char,
    medium: c_int,
    mtu: u32,
    mac: *const u8,
    output: rumpnet_output,
    arg: *mut c_void,
) -> c_int {
    let done = || {
        refuse_callbacks()?;
        // SAFETY: the caller's promise.
        let name = unsafe { raw::text(name) }?;
        let output = output.ok_or_else(raw::fault)?;
        let mut config = CallbackConfig::default();
        config.medium = match medium {
            RUMPNET_ETHERNET => Medium::Ethernet,
            RUMPNET_RAW_IP => Medium::Ip,
            _ => return Err(number::invalid()),
        };
        if !(68..=65_535).contains(&mtu) || name.is_empty() {
            return Err(number::invalid());
        }
        config.mtu = mtu;
        if !mac.is_null() {
            // SAFETY: the caller's promise.
            let bytes = unsafe { raw::bytes(mac.cast(), 6) }?;
            config.mac = MacAddr(bytes.try_into().map_err(|_| number::invalid())?);
        }
        let machine = Machine::current()?;
        let (arg, own) = (Argument(arg), Arc::downgrade(&machine));
        let (link, injector) = callback_link(&config, move |at: Instant, frame: &[u8]| {
            let arg = &arg;
            call_back(&own, || {
                // SAFETY: the caller's promise: `output` may be called with `arg`.
                unsafe { output(arg.0, at.as_nanos(), frame.as_ptr().cast(), frame.len()) }
            });
        });
        machine.add_interface(InterfaceSpec::new(link).name(name))?;
        lock(&machine.injectors).insert(name.to_owned(), injector);
        Ok(())
    };
    status(done())
}

/// What a callback is called with.
struct Argument(*mut c_void);

// SAFETY: it is only handed to the callback, which may be called on any thread by the promise of
// `rumpnet_link_callbacks`.
unsafe impl Send for Argument {}

/// Puts a frame, or on a raw-IP link a packet, before the stack, as if it came by the interface of
/// that name. By a clock that the program moves it has been processed when the call returns, and
/// what it brought about has been sent; in a callback, when the call returns that the callback is in.
///
/// Errors: ENXIO if there is no such link of callbacks, EINVAL for an empty frame, EMSGSIZE for one that is
/// longer than any, ENOBUFS if the stack has not taken those before.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rumpnet_inject(
    name: *const c_char,
    frame: *const c_void,
    size: usize,
) -> c_int {
    let done = || {
        // SAFETY: the caller's promise.
        let name = unsafe { raw::text(name) }?;
        // SAFETY: the caller's promise.
        let frame = unsafe { raw::bytes(frame, size) }?;
        let machine = Machine::current()?;
        let injector = lock(&machine.injectors).get(name).cloned();
        injector.ok_or_else(|| errno(libc::ENXIO))?.inject(frame)?;
        if !is_in_callback() {
            drop(machine.enter()?);
        }
        Ok(())
    };
    status(done())
}

/// Calls with the clock of the calling thread's stack.
fn with_clock(call: impl FnOnce(&ManualDriver) -> io::Result<()>) -> c_int {
    let done = || {
        refuse_callbacks()?;
        call(&*Machine::current()?.clock()?)
    };
    status(done())
}

/// Lets `ns` nanoseconds pass for the calling thread's stack: every timer fires at its own time, and
/// so does the end of every call's patience. Time does not go on before calls that woke on other
/// threads have returned or block again.
///
/// Errors: EINVAL if the stack's clock is the host's.
#[unsafe(no_mangle)]
pub extern "C" fn rumpnet_advance(ns: u64) -> c_int {
    with_clock(|clock| {
        clock.advance(Duration::from_nanos(ns));
        Ok(())
    })
}

/// What the time of the calling thread's stack is, in nanoseconds.
///
/// Errors: EINVAL if its clock is the host's.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rumpnet_now(ns: *mut u64) -> c_int {
    with_clock(|clock| {
        // SAFETY: the caller's promise.
        *unsafe { raw::at(ns) }? = clock.now().as_nanos();
        Ok(())
    })
}

/// When the next timer fires, in nanoseconds by the stack's clock.
///
/// Errors: ENOENT if there is none; as rumpnet_now.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rumpnet_next_timer(ns: *mut u64) -> c_int {
    with_clock(|clock| {
        // SAFETY: the caller's promise.
        let ns = unsafe { raw::at(ns) }?;
        *ns = clock.next_deadline().ok_or_else(number::no_such_file)?.as_nanos();
        Ok(())
    })
}

/// Lets the time come that the next timer is for.
///
/// Errors: ENOENT if there is none; EINVAL if the stack's clock is the host's.
#[unsafe(no_mangle)]
pub extern "C" fn rumpnet_step() -> c_int {
    with_clock(|clock| clock.step().map(drop).ok_or_else(number::no_such_file))
}

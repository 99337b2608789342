//! Interfaces of the calling thread's stack: made, given addresses, taken up and down.

use std::ffi::{c_char, c_int};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use libnet::{IfIndex, InterfaceSpec, IpCidr, errno as number};
use nix::libc;
use rumpnet::libnetinet::AdminState;
use rumpnet::shmif::{BusConfig, Shmif};
use rumpnet::virtif::Virtif;

use crate::error::{errno, error_number};
use crate::machine::{Machine, refuse_callbacks};
use crate::raw;
use crate::table::lock;

/// Attaches the stack to the bus in a file, which is made if it is not there. The interface is
/// "shmifN", up, and N is written to `number` unless that is NULL. 0, or the error's number.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_pub_shmif_create(path: *const c_char, number: *mut c_int) -> c_int {
    let done = || {
        refuse_callbacks()?;
        // SAFETY: the caller's promise.
        let path = unsafe { raw::text(path) }?;
        // SAFETY: the caller's promise.
        unsafe { put_number(number, "shmif", bus(path)?) }
    };
    error_number(done())
}

/// Takes a tap device of the host, "tapN" by the name there, as the interface "virtN", up; N is written
/// to `number` unless that is NULL. 0, or the error's number.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_pub_virtif_create(
    device: *const c_char,
    number: *mut c_int,
) -> c_int {
    let done = || {
        refuse_callbacks()?;
        // SAFETY: the caller's promise.
        let device = unsafe { raw::text(device) }?;
        // SAFETY: the caller's promise.
        unsafe { put_number(number, "virt", tap(device)?) }
    };
    error_number(done())
}

/// Adds an interface under the first free name of its kind.
unsafe fn put_number(number: *mut c_int, kind: &str, spec: InterfaceSpec) -> io::Result<()> {
    let machine = Machine::current()?;
    let taken = machine.inet()?.interfaces();
    let is_free = |n: &c_int| !taken.iter().any(|entry| entry.name == format!("{kind}{n}"));
    let free = (0..).find(is_free).ok_or_else(number::no_buffers)?;
    machine.add_interface(spec.name(format!("{kind}{free}")))?;
    if !number.is_null() {
        // SAFETY: the caller's promise.
        *unsafe { raw::at(number) }? = free;
    }
    Ok(())
}

fn bus(path: &str) -> io::Result<InterfaceSpec> {
    let bus = Shmif::create_or_attach(path, &BusConfig::default());
    Ok(bus.map_err(io::Error::from)?.into())
}

fn tap(device: &str) -> io::Result<InterfaceSpec> {
    Ok(Virtif::open(device).map_err(io::Error::from)?.into())
}

/// Plans an interface "shmifN" or "virtN"; rump_pub_netconfig_ifsetlinkstr gives it its link.
/// 0, or the error's number: EEXIST, EINVAL for a name that is neither.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_pub_netconfig_ifcreate(name: *const c_char) -> c_int {
    let done = || {
        refuse_callbacks()?;
        // SAFETY: the caller's promise.
        let name = unsafe { raw::text(name) }?;
        opener(name)?;
        let machine = Machine::current()?;
        if machine.interface(name).is_ok() {
            return Err(number::exists());
        }
        match lock(&machine.planned).insert(name.to_owned(), ()) {
            None => Ok(()),
            Some(()) => Err(number::exists()),
        }
    };
    error_number(done())
}

/// Gives a planned interface its link: a "shmifN" the bus in a file, a "virtN" a tap device. It is up
/// then. 0, or the error's number: ENXIO if it was not planned, EBUSY if it has one.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_pub_netconfig_ifsetlinkstr(
    name: *const c_char,
    link: *const c_char,
) -> c_int {
    let done = || {
        refuse_callbacks()?;
        // SAFETY: the caller's promise.
        let name = unsafe { raw::text(name) }?;
        // SAFETY: the caller's promise.
        let link = unsafe { raw::text(link) }?;
        let machine = Machine::current()?;
        if machine.interface(name).is_ok() {
            return Err(errno(libc::EBUSY));
        }
        if !lock(&machine.planned).contains_key(name) {
            return Err(errno(libc::ENXIO));
        }
        machine.add_interface(opener(name)?(link)?.name(name))?;
        lock(&machine.planned).remove(name);
        Ok(())
    };
    error_number(done())
}

/// What makes the link of an interface with such a name.
fn opener(name: &str) -> io::Result<fn(&str) -> io::Result<InterfaceSpec>> {
    let is = |kind: &str| {
        let rest = name.strip_prefix(kind).unwrap_or("");
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit())
    };
    match (is("shmif"), is("virt")) {
        (true, _) => Ok(bus),
        (_, true) => Ok(tap),
        _ => Err(number::invalid()),
    }
}

/// Calls with an interface of the calling thread's stack.
unsafe fn with_interface(
    name: *const c_char,
    call: impl FnOnce(&Machine, IfIndex) -> io::Result<()>,
) -> c_int {
    let done = || {
        // SAFETY: the caller's promise.
        let name = unsafe { raw::text(name) }?;
        let machine = Machine::current()?;
        let _call = machine.enter()?;
        call(&machine, machine.interface(name)?)
    };
    error_number(done())
}

/// Takes an interface up. 0, or the error's number: ENXIO if there is none of the name.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_pub_netconfig_ifup(name: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { with_interface(name, |machine, index| machine.inet()?.set_up(index, AdminState::Up)) }
}

/// Takes it down: nothing leaves by it, and what comes is dropped. 0, or the error's number.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_pub_netconfig_ifdown(name: *const c_char) -> c_int {
    let down = |machine: &Machine, index| machine.inet()?.set_up(index, AdminState::Down);
    // SAFETY: the caller's promise.
    unsafe { with_interface(name, down) }
}

/// Gives an interface an IPv4 address, with its network by a mask: "10.0.0.1", "255.255.255.0". 0, or
/// the error's number: EINVAL for text that is none, EEXIST if it has the address.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_pub_netconfig_ipv4_ifaddr(
    name: *const c_char,
    addr: *const c_char,
    mask: *const c_char,
) -> c_int {
    let bits = || {
        // SAFETY: the caller's promise.
        let mask: Ipv4Addr = parse(unsafe { raw::text(mask) }?)?;
        let bits = mask.to_bits().leading_ones();
        let is_mask = mask.to_bits().trailing_zeros() + bits >= 32;
        if is_mask { Ok(bits as c_int) } else { Err(number::invalid()) }
    };
    match bits() {
        // SAFETY: the caller's promise.
        Ok(bits) => unsafe { rump_pub_netconfig_ipv4_ifaddr_cidr(name, addr, bits) },
        Err(error) => error_number(Err(error)),
    }
}

/// The same, with the bits of its network's prefix.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_pub_netconfig_ipv4_ifaddr_cidr(
    name: *const c_char,
    addr: *const c_char,
    prefix_bits: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { give_address(name, addr, prefix_bits, IpAddr::is_ipv4) }
}

/// Gives an interface an IPv6 address. On Ethernet it is checked for duplicates first, which takes a
/// second. 0, or the error's number.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_pub_netconfig_ipv6_ifaddr(
    name: *const c_char,
    addr: *const c_char,
    prefix_bits: c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { give_address(name, addr, prefix_bits, IpAddr::is_ipv6) }
}

unsafe fn give_address(
    name: *const c_char,
    addr: *const c_char,
    prefix_bits: c_int,
    is_meant: fn(&IpAddr) -> bool,
) -> c_int {
    let cidr = || {
        // SAFETY: the caller's promise.
        let addr: IpAddr = parse(unsafe { raw::text(addr) }?)?;
        let bits = u8::try_from(prefix_bits).ok().filter(|_| is_meant(&addr));
        bits.and_then(|bits| IpCidr::new(addr, bits)).ok_or_else(number::invalid)
    };
    let give = |machine: &Machine, index| machine.inet()?.add_address(index, cidr()?);
    // SAFETY: the caller's promise.
    unsafe { with_interface(name, give) }
}

/// Adds the default route of IPv4 through a gateway, which is on a network of ours. 0, or the
/// error's number: ENETUNREACH if it is not.
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_pub_netconfig_ipv4_gw(gateway: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { add_gateway(gateway, IpAddr::is_ipv4) }
}

/// The same of IPv6; behind a link-local gateway its interface's name stands, as in "fe80::1%shmif0".
///
/// # Safety
/// See the module.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rump_pub_netconfig_ipv6_gw(gateway: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { add_gateway(gateway, IpAddr::is_ipv6) }
}

unsafe fn add_gateway(gateway: *const c_char, is_meant: fn(&IpAddr) -> bool) -> c_int {
    let done = || {
        // SAFETY: the caller's promise.
        let gateway = unsafe { raw::text(gateway) }?;
        let addr = gateway.split('%').next().unwrap_or(gateway);
        if !is_meant(&parse(addr)?) {
            return Err(number::invalid());
        }
        let machine = Machine::current()?;
        let _call = machine.enter()?;
        let route = format!("default@{gateway}").parse().map_err(|_| number::invalid())?;
        machine.inet()?.add_static_route(&route)
    };
    error_number(done())
}

fn parse<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| number::invalid())
}

//! What `/sys/class/net` shows: a directory an interface (sysfs-class-net of Linux's ABI documentation).

use alloc::format;
use alloc::string::String;

use super::interface::{ARPHRD_ETHER, ARPHRD_LOOPBACK, Interface};
use super::stack;
use crate::Errno;
use crate::fs::sysfs;

/// What a file says of an interface.
type Text = fn(&Interface) -> String;

/// The files.
const FILES: [(&str, Text); 6] = [
    ("address", |i| {
        let [a, b, c, d, e, f] = i.mac;
        format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}\n")
    }),
    ("flags", |i| format!("{:#x}\n", i.flags)),
    ("ifindex", |i| format!("{}\n", i.index)),
    ("mtu", |i| format!("{}\n", i.mtu)),
    ("operstate", |i| {
        let state = match i.device {
            None => "unknown",
            Some(d) if i.is_up() && d.is_link_up() => "up",
            Some(_) => "down",
        };
        format!("{state}\n")
    }),
    ("type", |i| {
        let kind = if i.device.is_some() {
            ARPHRD_ETHER
        } else {
            ARPHRD_LOOPBACK
        };
        format!("{kind}\n")
    }),
];

/// Shows the interface with this name.
pub(super) fn add(name: &'static str) {
    let tree = sysfs::tree();
    for (file, text) in FILES {
        tree.add_file(&format!("class/net/{name}/{file}"), move || {
            stack::with(|s| s.interface_named(name.as_bytes()).map(text))
                .map(String::into_bytes)
                .ok_or(Errno::ENODEV)
        });
    }
}

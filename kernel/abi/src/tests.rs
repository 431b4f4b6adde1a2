//! Every constant and every layout against the C headers, where there is a compiler for AArch64 and an emulator to run what it makes.

use std::{collections::BTreeMap, format, println, process::Command, string::String, vec::Vec};

use crate::{Errno, Layout, fs, ipc, layout::Described, mm, net, nr, poll, process, sigframe, system, time, tty};

/// Headers that can be included together, and what is in them.
struct Group {
    name: &'static str,
    includes: &'static [&'static str],
    constants: Vec<&'static [(&'static str, i64)]>,
    /// Those that are enumerators, so that the preprocessor does not know them.
    enumerators: Vec<&'static [(&'static str, i64)]>,
    structures: Vec<Described>,
}

fn groups() -> Vec<Group> {
    std::vec![
        Group {
            name: "files",
            includes: &[
                "linux/fcntl.h",
                "linux/stat.h",
                "linux/fs.h",
                "linux/falloc.h",
                "linux/memfd.h",
                "linux/magic.h",
                "asm/stat.h",
                "asm/statfs.h",
                "linux/openat2.h",
                "linux/uio.h",
            ],
            constants: std::vec![
                fs::OpenFlags::LIST,
                fs::AtFlags::LIST,
                fs::AT_LIST,
                fs::FdFlags::LIST,
                fs::SEEK_LIST,
                fs::FCNTL_LIST,
                fs::LOCK_LIST,
                fs::Seals::LIST,
                fs::MemfdFlags::LIST,
                fs::FLOCK_LIST,
                fs::RenameFlags::LIST,
                fs::FallocFlags::LIST,
                fs::MountFlags::LIST,
                fs::StatxMask::LIST,
                fs::PipeFlags::LIST,
                fs::RwFlags::LIST,
                fs::MAGIC_LIST,
                fs::ResolveFlags::LIST,
            ],
            enumerators: std::vec![],
            structures: std::vec![
                fs::Stat::DESCRIBED,
                fs::Statfs::DESCRIBED,
                fs::Statx::DESCRIBED,
                fs::StatxTimestamp::DESCRIBED,
                fs::Flock::DESCRIBED,
                fs::OpenHow::DESCRIBED,
                fs::Iovec::DESCRIBED,
            ],
        },
        Group {
            name: "libc files",
            includes: &[
                "unistd.h",
                "fcntl.h",
                "dirent.h",
                "sys/stat.h",
                "sys/mount.h",
                "linux/close_range.h"
            ],
            constants: std::vec![
                fs::AccessMode::LIST,
                fs::MODE_LIST,
                fs::UmountFlags::LIST,
                fs::SpliceFlags::LIST,
                fs::CloseRangeFlags::LIST,
                fs::DIRENT_LIST,
                fs::UTIME_LIST,
            ],
            enumerators: std::vec![],
            structures: std::vec![],
        },
        Group {
            name: "memory",
            includes: &["linux/mman.h", "linux/membarrier.h"],
            constants: std::vec![
                mm::Prot::LIST,
                mm::MapFlags::LIST,
                mm::MremapFlags::LIST,
                mm::MsyncFlags::LIST,
                mm::MlockallFlags::LIST,
                mm::MlockFlags::LIST,
                mm::MADV_LIST,
            ],
            enumerators: std::vec![mm::MembarrierCommands::LIST],
            structures: std::vec![],
        },
        Group {
            name: "System V",
            includes: &["linux/ipc.h", "linux/shm.h", "asm/ipcbuf.h", "asm/shmbuf.h"],
            constants: std::vec![ipc::IPC_LIST, ipc::ShmgetFlags::LIST, ipc::ShmatFlags::LIST,],
            enumerators: std::vec![],
            structures: std::vec![ipc::IpcPerm::DESCRIBED, ipc::ShmidDs::DESCRIBED],
        },
        Group {
            name: "polling",
            includes: &[
                "linux/poll.h",
                "sys/epoll.h",
                "sys/eventfd.h",
                "sys/inotify.h",
                "sys/timerfd.h",
                "sys/signalfd.h"
            ],
            constants: std::vec![
                poll::PollEvents::LIST,
                poll::EpollEvents::LIST,
                poll::EPOLL_LIST,
                poll::EpollFlags::LIST,
                poll::EventfdFlags::LIST,
                poll::InotifyFlags::LIST,
                time::TimerfdFlags::LIST,
                time::TimerfdSetFlags::LIST,
                poll::SignalfdFlags::LIST,
            ],
            enumerators: std::vec![],
            structures: std::vec![
                poll::PollFd::DESCRIBED,
                poll::EpollEvent::DESCRIBED,
                poll::SignalfdSiginfo::DESCRIBED,
            ],
        },
        Group {
            name: "processes",
            includes: &[
                "linux/sched.h",
                "linux/wait.h",
                "linux/resource.h",
                "linux/futex.h",
                "linux/prctl.h",
                "linux/capability.h",
                "linux/reboot.h",
                "linux/random.h",
                "asm/hwcap.h",
                "linux/sysinfo.h",
                "linux/utsname.h",
                "linux/sched/types.h"
            ],
            constants: std::vec![
                process::CloneFlags::LIST,
                process::WaitOptions::LIST,
                process::WAITID_LIST,
                process::SCHED_LIST,
                process::PRIO_LIST,
                process::RUSAGE_LIST,
                process::RLIMIT_LIST,
                process::FUTEX_LIST,
                process::PRCTL_LIST,
                process::CAPABILITY_LIST,
                system::REBOOT_LIST,
                system::GetrandomFlags::LIST,
                system::Hwcap::LIST,
            ],
            enumerators: std::vec![],
            structures: std::vec![
                process::CloneArgs::DESCRIBED,
                process::Rlimit::DESCRIBED,
                process::Rusage::DESCRIBED,
                process::Sysinfo::DESCRIBED,
                process::Utsname::DESCRIBED,
                process::SchedAttr::DESCRIBED,
                process::FutexWaitv::DESCRIBED,
                process::RobustListHead::DESCRIBED,
                process::CapHeader::DESCRIBED,
                process::CapData::DESCRIBED,
            ],
        },
        Group {
            name: "libc processes",
            includes: &["sched.h", "sys/auxv.h", "sys/statvfs.h"],
            constants: std::vec![system::AUXV_LIST],
            enumerators: std::vec![fs::StatfsFlags::LIST],
            structures: std::vec![process::SchedParam::DESCRIBED],
        },
        Group {
            name: "signals",
            includes: &["linux/signal.h", "asm/ptrace.h"],
            constants: std::vec![
                sigframe::HOW_LIST,
                sigframe::SigStackFlags::LIST,
                process::SIGEV_LIST,
                &[
                    ("MINSIGSTKSZ", sigframe::MINSIGSTKSZ as i64),
                    ("SIGSTKSZ", sigframe::SIGSTKSZ as i64)
                ],
            ],
            enumerators: std::vec![],
            structures: std::vec![
                sigframe::SigAltStack::DESCRIBED,
                sigframe::GeneralRegisters::DESCRIBED,
                sigframe::FpRegisters::DESCRIBED,
                process::Sigevent::DESCRIBED,
            ],
        },
        Group {
            name: "sockets",
            includes: &[
                "sys/socket.h",
                "netinet/in.h",
                "netinet/tcp.h",
                "netinet/udp.h",
                "sys/un.h",
                "net/if.h",
                "linux/sockios.h"
            ],
            constants: std::vec![
                net::FAMILY_LIST,
                net::SOCKET_LIST,
                net::IP_LIST,
                net::IPV6_LIST,
                net::TCP_LIST,
                net::SIOC_LIST,
            ],
            enumerators: std::vec![
                net::TYPE_LIST,
                net::LEVEL_LIST,
                net::SCM_LIST,
                net::MsgFlags::LIST,
                net::InterfaceFlags::LIST,
                net::SHUTDOWN_LIST,
            ],
            structures: std::vec![
                net::SockaddrIn::DESCRIBED,
                net::SockaddrIn6::DESCRIBED,
                net::SockaddrUn::DESCRIBED,
                net::Msghdr::DESCRIBED,
                net::Mmsghdr::DESCRIBED,
                net::Cmsghdr::DESCRIBED,
                net::Ucred::DESCRIBED,
                net::InPktinfo::DESCRIBED,
                net::In6Pktinfo::DESCRIBED,
                net::Linger::DESCRIBED,
            ],
        },
        Group {
            name: "datagrams",
            includes: &["linux/udp.h"],
            constants: std::vec![net::UDP_LIST],
            enumerators: std::vec![],
            structures: std::vec![],
        },
        Group {
            name: "terminals",
            includes: &["asm/termbits.h", "asm/ioctls.h", "linux/ioctl.h", "asm/termios.h"],
            constants: std::vec![
                tty::CC_LIST,
                tty::InputFlags::LIST,
                tty::OutputFlags::LIST,
                tty::LocalFlags::LIST,
                tty::CONTROL_LIST,
                tty::IOCTL_LIST,
                &[("NCCS", tty::NCCS as i64)],
            ],
            enumerators: std::vec![],
            structures: std::vec![
                tty::Termios::DESCRIBED,
                tty::Termios2::DESCRIBED,
                tty::Winsize::DESCRIBED
            ],
        },
        Group {
            name: "time",
            includes: &["sys/time.h", "sys/times.h", "sys/timerfd.h", "time.h"],
            constants: std::vec![time::CLOCK_LIST, time::TIMER_LIST, time::ITIMER_LIST],
            enumerators: std::vec![],
            structures: std::vec![
                time::Timespec::DESCRIBED,
                time::Timeval::DESCRIBED,
                time::Itimerspec::DESCRIBED,
                time::Itimerval::DESCRIBED,
                time::Timezone::DESCRIBED,
                time::Tms::DESCRIBED,
            ],
        },
    ]
}

/// Constants that no header defines as a macro under this name, or that are newer than the headers of Debian 12.
const UNKNOWN_TO_THE_HEADERS: &[&str] = &[
    "O__SYNC",
    "O_FASYNC",
    "EPOLLNVAL",
    "O__TMPFILE",
    "AT_RECURSIVE",
    "MREMAP_DONTUNMAP",
    "MS_NOSYMFOLLOW",
];

/// Runs a C program for AArch64 that prints `name value` lines; `None` where that is not possible.
fn run(name: &str, source: &str) -> Option<BTreeMap<String, i64>> {
    let base = std::env::temp_dir().join(format!("sis-abi-{}-{}", std::process::id(), name.replace(' ', "-")));
    let (c, program) = (base.with_extension("c"), base.with_extension("elf"));
    std::fs::write(&c, source).unwrap();
    let compiled = Command::new("aarch64-linux-gnu-gcc")
        .args(["-static", "-w", "-o"])
        .arg(&program)
        .arg(&c)
        .output();
    let output = match &compiled {
        Ok(compiled) if compiled.status.success() => Command::new("qemu-aarch64-static").arg(&program).output().ok(),
        Ok(compiled) => panic!("{name}: {}", String::from_utf8_lossy(&compiled.stderr)),
        Err(_) => None,
    };
    let _ = std::fs::remove_file(&c);
    let _ = std::fs::remove_file(&program);
    let output = output?;
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let pairs = text.lines().map(|line| line.rsplit_once(' ').unwrap());
    Some(
        pairs
            .map(|(name, value)| (name.into(), value.parse().unwrap()))
            .collect(),
    )
}

fn source(group: &Group) -> String {
    let mut out = String::from("#define _GNU_SOURCE\n#include <stdio.h>\n#include <stddef.h>\n");
    for include in group.includes {
        out += &format!("#include <{include}>\n");
    }
    out += "int main(void) {\n";
    for (name, _) in group.constants.iter().copied().flatten() {
        out += &format!("#ifdef {name}\nprintf(\"{name} %lld\\n\", (long long)({name}));\n#endif\n");
    }
    for (name, _) in group.enumerators.iter().copied().flatten() {
        out += &format!("printf(\"{name} %lld\\n\", (long long)({name}));\n");
    }
    for Described { c_name, fields, .. } in &group.structures {
        out += &format!("printf(\"{c_name} %zu\\n\", sizeof({c_name}));\n");
        for (field, ..) in *fields {
            out += &format!("printf(\"{c_name}.{field} %zu\\n\", offsetof({c_name}, {field}));\n");
            out += &format!("printf(\"{c_name}.{field}: %zu\\n\", sizeof((({c_name} *)0)->{field}));\n");
        }
    }
    out + "}\n"
}

#[test]
fn numbers_and_layouts_are_those_of_the_c_headers() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    let mut missing = Vec::new();
    for group in groups() {
        let Some(actual) = run(group.name, &source(&group)) else {
            println!("skipped: no aarch64-linux-gnu-gcc or no qemu-aarch64-static here");
            return;
        };
        let mut compare = |name: String, want: i64| match actual.get(&name) {
            Some(value) => {
                compared += 1;
                // Flags are compared as 32-bit numbers where C has them as int.
                if *value != want && *value as u32 != want as u32 {
                    wrong.push(format!("{name}: {want} here, {value} in C"));
                }
            }
            None if UNKNOWN_TO_THE_HEADERS.contains(&name.as_str()) => {}
            None => missing.push(name),
        };
        for (name, value) in group.constants.iter().chain(&group.enumerators).copied().flatten() {
            compare((*name).into(), *value);
        }
        for Described { c_name, size, fields } in &group.structures {
            compare((*c_name).into(), *size as i64);
            for (field, offset, size) in *fields {
                compare(format!("{c_name}.{field}"), *offset as i64);
                compare(format!("{c_name}.{field}:"), *size as i64);
            }
        }
    }
    println!("{compared} numbers compared");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(missing.is_empty(), "not in the headers: {missing:?}");
}

#[test]
fn error_and_system_call_numbers_are_those_of_the_c_headers() {
    let mut out = String::from("#include <stdio.h>\n#include <asm/unistd.h>\n#include <errno.h>\nint main(void) {\n");
    let errors: Vec<_> = (1..512)
        .filter_map(Errno::from_number)
        .filter(|errno| errno.name() != "E?")
        .collect();
    let names = nr::ALL
        .iter()
        .map(|(name, _)| *name)
        .chain(errors.iter().map(|errno| errno.name()));
    for name in names {
        out += &format!("#ifdef {name}\nprintf(\"{name} %lld\\n\", (long long)({name}));\n#endif\n");
    }
    let Some(actual) = run("numbers", &(out + "}\n")) else {
        println!("skipped: no aarch64-linux-gnu-gcc or no qemu-aarch64-static here");
        return;
    };
    for (name, number) in nr::ALL {
        match actual.get(*name) {
            Some(value) => assert_eq!(*value, *number as i64, "{name}"),
            None => assert!(*number > 450, "{name} is newer than the headers"),
        }
    }
    for errno in errors {
        assert_eq!(actual.get(errno.name()), Some(&i64::from(errno.number())), "{errno}");
    }
}

#[test]
fn system_calls_have_names() {
    assert_eq!(nr::name(63), Some("read"));
    assert_eq!(nr::name(nr::FACCESSAT2), Some("faccessat2"));
    assert_eq!(nr::name(244), None);
    assert_eq!(nr::name(usize::MAX), None);
    assert_eq!(nr::NAMES.iter().flatten().count(), nr::ALL.len());
    assert!(
        nr::ALL
            .iter()
            .all(|(name, number)| nr::name(*number) == name.strip_prefix("__NR_"))
    );
}

#[test]
fn layouts_read_what_they_write() {
    let value = time::Itimerspec {
        it_interval: time::Timespec { tv_sec: -1, tv_nsec: 2 },
        it_value: time::Timespec::from_ns(3_000_000_004),
    };
    let bytes = value.to_bytes();
    assert_eq!(time::Itimerspec::from_bytes(&bytes), value);
    assert_eq!(&bytes[16..24], &3u64.to_le_bytes());
    assert_eq!(time::Itimerspec::read(&bytes[..31]), None);
    let mut small = [7; 31];
    assert_eq!(value.write(&mut small), None);
    assert_eq!(small, [7; 31]);
    assert_eq!(<[u32; 2]>::read(&[1, 0, 0, 0, 2, 0, 0, 0, 9]), Some([1, 2]));
    assert_eq!(<[u32; 2]>::read(&[1, 0, 0, 0, 2, 0, 0]), None);
}

#[test]
fn times_are_checked() {
    let at = |tv_sec, tv_nsec| time::Timespec { tv_sec, tv_nsec }.to_ns();
    assert_eq!(at(1, 5), Some(1_000_000_005));
    assert_eq!(at(i64::MAX, 0), Some(u64::MAX));
    assert_eq!([at(-1, 0), at(0, -1), at(0, 1_000_000_000)], [None; 3]);
    assert_eq!(time::Timespec::from_ns(u64::MAX).to_ns(), Some(u64::MAX));
    assert_eq!(
        time::Timeval {
            tv_sec: 1,
            tv_usec: 1_000_000
        }
        .to_ns(),
        None
    );
    assert_eq!(time::Timeval::from_ns(1_999_999).to_ns(), Some(1_999_000));
}

#[test]
fn wait_statuses_and_device_numbers() {
    use process::WaitStatus;
    assert_eq!(WaitStatus::Exited(42).to_raw(), 42 << 8);
    assert_eq!(
        WaitStatus::Killed {
            signal: 11,
            has_core: true
        }
        .to_raw(),
        0x8b
    );
    assert_eq!(WaitStatus::Stopped(20).to_raw(), 0x147f);
    assert_eq!(WaitStatus::Continued.to_raw(), 0xffff);
    assert_eq!(fs::make_dev(5, 1), 0x501);
    for (major, minor) in [(0, 0), (8, 255), (259, 256), (0xfff, 0xf_ffff), (u32::MAX, u32::MAX)] {
        assert_eq!(fs::split_dev(fs::make_dev(major, minor)), (major, minor));
    }
    assert_eq!(fs::dirent_type(fs::S_IFSOCK | 0o777), fs::DT_SOCK);
}

/// The signal frame is made of several structures, of which the kernel's own is in no header.
#[test]
fn the_signal_frame_is_that_of_the_c_headers() {
    let out = run(
        "sigframe",
        r#"
        #include <stdio.h>
        #include <stddef.h>
        #include <linux/signal.h>
        #include <asm/sigcontext.h>
        #include <asm/ucontext.h>
        struct rt_sigframe { struct siginfo info; struct ucontext uc; };
        int main(void) {
            printf("frame %zu\n", sizeof(struct rt_sigframe));
            printf("uc %zu\n", offsetof(struct rt_sigframe, uc));
            printf("stack %zu\n", offsetof(struct ucontext, uc_stack));
            printf("mask %zu\n", offsetof(struct ucontext, uc_sigmask));
            printf("mcontext %zu\n", offsetof(struct ucontext, uc_mcontext));
            printf("regs %zu\n", offsetof(struct sigcontext, regs));
            printf("reserved %zu\n", offsetof(struct sigcontext, __reserved));
            printf("fpsimd %zu\n", sizeof(struct fpsimd_context));
            printf("vregs %zu\n", offsetof(struct fpsimd_context, vregs));
            printf("esr %zu\n", sizeof(struct esr_context));
            printf("magic %lld\n", (long long)FPSIMD_MAGIC);
            printf("esr_magic %lld\n", (long long)ESR_MAGIC);
        }"#,
    );
    let Some(out) = out else {
        println!("skipped: no aarch64-linux-gnu-gcc or no qemu-aarch64-static here");
        return;
    };
    let want = [
        ("frame", sigframe::FRAME_BYTES as i64),
        ("uc", sigframe::UCONTEXT_OFFSET as i64),
        ("stack", 16),
        ("mask", 40),
        ("mcontext", 176),
        ("regs", 8),
        ("reserved", 288),
        ("fpsimd", 528),
        ("vregs", 16),
        ("esr", 16),
        ("magic", 0x4650_8001),
        ("esr_magic", 0x4553_5201),
    ];
    assert_eq!(
        out,
        want.into_iter().map(|(name, value)| (name.into(), value)).collect()
    );
}

#[test]
fn directory_entries_are_padded_and_bounded() {
    let mut buffer = [0xff; 64];
    assert_eq!(fs::write_dirent64(&mut buffer, 7, 9, fs::DT_DIR, b"name1"), Some(32));
    assert_eq!(&buffer[..8], &7u64.to_le_bytes());
    assert_eq!(&buffer[8..16], &9u64.to_le_bytes());
    assert_eq!(&buffer[16..32], b"\x20\0\x04name1\0\0\0\0\0\0\0\0");
    assert_eq!(buffer[32], 0xff);
    assert_eq!(fs::write_dirent64(&mut buffer[..31], 7, 9, fs::DT_DIR, b"name1"), None);
    assert_eq!(fs::dirent64_bytes(4), 24);
    assert_eq!(fs::dirent64_bytes(5), 32);
    let name = process::uts_string(&[b'x'; 100]);
    assert_eq!((name[63], name[64]), (b'x', 0));
}

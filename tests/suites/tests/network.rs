//! The network card when it is busy before the kernel is ready for it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sis_harness::{Failure, Result, SECOND, free_udp_port};
use sis_suites::{power_off, to_shell, virt};

/// Restarts under fire.
const RESTARTS: usize = 3;

/// Sends datagrams without a pause until it is dropped.
struct Fire {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Fire {
    fn at(port: u16) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::new)?;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                // What does not arrive was lost on the way.
                let _ = socket.send_to(&[0; 64], to);
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Fire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn frames_that_come_before_the_kernel_listens_do_not_silence_the_card() -> Result<()> {
    let port = free_udp_port().map_err(Failure::new)?;
    let mut board = to_shell(virt()?.smp(2).reboots().agent_port(port))?;
    let has_address = "for n in $(seq 40); do ip addr show eth0 | grep -q 10.0.2.15 && break; sleep 0.5; done; \
                       ip addr show eth0 | grep -o 'inet 10.0.2.15'";
    // QEMU's network knows where the board is from now on, and delivers to it whatever it is doing.
    board.run_ok(has_address, 30 * SECOND)?;
    let _fire = Fire::at(port)?;
    for _ in 0..RESTARTS {
        board.type_text("reboot\n")?;
        board.expect("LAUNCHING SHELL", 60 * SECOND)?;
        board.wait_shell()?;
        let address = board.run_ok(has_address, 60 * SECOND)?;
        assert_eq!(address.trim(), "inet 10.0.2.15");
        board.run_ok("ping -c 1 -W 5 10.0.2.2", 20 * SECOND)?;
    }
    power_off(board)
}

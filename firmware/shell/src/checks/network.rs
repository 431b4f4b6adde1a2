//! Sockets on the loopback, and the agent.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Failed, during, ensure};
use crate::commands::AGENT_SOCKET;

const LIMIT: Option<Duration> = Some(Duration::from_secs(2));

fn datagram(any: SocketAddr) -> Result<(), Failed> {
    let one = during("bind", UdpSocket::bind(any))?;
    let two = during("bind", UdpSocket::bind(any))?;
    during(
        "time-out",
        one.set_read_timeout(LIMIT).and_then(|()| two.set_read_timeout(LIMIT)),
    )?;
    let to = during("getsockname", two.local_addr())?;
    let data: Vec<u8> = (0..1200_u32).map(|n| (n % 255) as u8).collect();
    during("send", one.send_to(&data, to))?;
    let mut buffer = [0; 2048];
    let (length, from) = during("receive", two.recv_from(&mut buffer))?;
    ensure(buffer[..length] == data[..], || {
        format!("{length} bytes arrived, or other ones")
    })?;
    ensure(Some(from) == one.local_addr().ok(), || format!("it came from {from}"))
}

pub(super) fn udp() -> Result<(), Failed> {
    datagram((Ipv4Addr::LOCALHOST, 0).into())
}

pub(super) fn udp_v6() -> Result<(), Failed> {
    datagram((Ipv6Addr::LOCALHOST, 0).into())
}

pub(super) fn tcp() -> Result<(), Failed> {
    const BYTES: usize = 512 * 1024;
    let listener = during("listen", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let to = during("getsockname", listener.local_addr())?;
    let server = thread::spawn(move || -> std::io::Result<usize> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(LIMIT)?;
        let mut data = Vec::new();
        stream.read_to_end(&mut data)?;
        let right = data
            .iter()
            .enumerate()
            .take_while(|(n, b)| **b == (*n % 249) as u8)
            .count();
        stream.write_all(b"done")?;
        Ok(right)
    });
    let mut stream = during("connect", TcpStream::connect(to))?;
    during(
        "time-out",
        stream
            .set_read_timeout(LIMIT)
            .and_then(|()| stream.set_write_timeout(LIMIT)),
    )?;
    let data: Vec<u8> = (0..BYTES).map(|n| (n % 249) as u8).collect();
    during("write", stream.write_all(&data))?;
    during("shutdown", stream.shutdown(std::net::Shutdown::Write))?;
    let mut answer = String::new();
    during("read the answer", stream.read_to_string(&mut answer))?;
    let right = during("server", server.join().map_err(|_| "the server broke off")?)?;
    ensure(right == BYTES, || format!("{right} of {BYTES} bytes arrived right"))?;
    ensure(answer == "done", || format!("the answer is {answer:?}"))
}

pub(super) fn tcp_refused() -> Result<(), Failed> {
    let listener = during("listen", TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let to = during("getsockname", listener.local_addr())?;
    drop(listener);
    let refused = TcpStream::connect(to).err().map(|e| e.kind());
    ensure(refused == Some(ErrorKind::ConnectionRefused), || {
        format!("a closed port gives {refused:?}")
    })
}

pub(super) fn unix() -> Result<(), Failed> {
    let (mut one, mut two) = during("socketpair", UnixStream::pair())?;
    during("time-out", two.set_read_timeout(LIMIT))?;
    during("write", one.write_all(b"over"))?;
    drop(one);
    let mut text = String::new();
    during("read", two.read_to_string(&mut text))?;
    ensure(text == "over", || format!("{text:?} arrived"))
}

pub(super) fn agent() -> Result<(), Failed> {
    ensure(Path::new("/sbin/sis-agent").exists(), || {
        "this image has no /sbin/sis-agent".to_owned()
    })?;
    during(AGENT_SOCKET, UnixStream::connect(AGENT_SOCKET)).map(|_| ())
}
